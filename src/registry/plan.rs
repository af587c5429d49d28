//! How to answer a request for a list of features: resolved once, then found by the list.
//!
//! A plan belongs to one catalogue and goes with it, so it never outlives a registry revision.

use super::catalogue::Catalogue;
use crate::{
    error::{Error, Kind, Result},
    feature::{AgeLimit, Dtype, EntityTypeId, RowSchema, definition::Feature},
};
use hashbrown::{DefaultHashBuilder, HashMap, HashSet};
use quick_cache::{
    Equivalent, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use sha2::{Digest, Sha256};
use std::{
    any::Any,
    borrow::Cow,
    fmt, mem,
    sync::{Arc, OnceLock},
};

/// Features in all plans kept for one tenant: some 500 bytes each.
const PLANNED_FEATURES_MAX: u64 = 50_000;
const PLANS_EXPECTED: usize = 256;

/// The features of a request, in any of the forms in which a request can name them.
#[derive(Clone, Copy, Debug)]
pub enum FeatureList<'a> {
    Names(&'a [&'a str]),
    /// The names as a transport wrote them. Equal bytes in one encoding are equal lists, so a list that was seen before
    /// is found without being read.
    Encoded {
        encoding: ListEncoding,
        bytes: &'a [u8],
        names: fn(&'a [u8]) -> Result<Vec<Cow<'a, str>>>,
    },
    /// `fraud` or `fraud@3`.
    Set(&'a str),
}

impl FeatureList<'_> {
    /// Where a request names its features.
    fn field(&self) -> &'static str {
        match self {
            Self::Set(_) => "feature_set",
            Self::Names(_) | Self::Encoded { .. } => "features",
        }
    }
}

/// Whose bytes a [`FeatureList::Encoded`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListEncoding {
    Names,
    Set,
    Protobuf,
    Json,
}

/// Everything about a list of features that does not depend on entities or time.
#[derive(Debug)]
pub struct Plan {
    /// `name@version` when a set was asked for.
    pub feature_set: Option<String>,
    /// In the order of the request.
    pub features: Vec<PlanFeature>,
    /// Distinct, in the order of first use.
    pub groups: Vec<PlanGroup>,
    /// Distinct, in the order of first use.
    pub entity_types: Vec<PlanEntityType>,
    /// The key names of all entity types, distinct, in the order of first use.
    pub keys: Vec<String>,
    /// Names the schema of the answer. Never 0.
    pub schema_id: u64,
    /// What the wire made of this plan.
    pub derived: Derived,
}

/// What a layer above makes of a plan once, and keeps with it.
#[derive(Default)]
pub struct Derived(OnceLock<Box<dyn Any + Send + Sync>>);

impl Derived {
    /// What was made before, or now. There is one maker for each plan, so the type is always the same.
    pub fn get_or_make<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(|| Box::new(make())).downcast_ref().expect("a plan has one maker of derived data")
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Derived(made)" } else { "Derived(not yet)" })
    }
}

/// One feature of a request.
#[derive(Debug)]
pub struct PlanFeature {
    /// As the request wrote it.
    pub name: String,
    /// `group.name@version`.
    pub reference: String,
    pub feature: Arc<Feature>,
    /// Position in `Plan::groups`.
    pub group: usize,
    /// Position among the answer's values of the same array: lists of every element type share one.
    pub slot: u32,
    /// From the feature's ttl.
    pub age_limit: AgeLimit,
}

/// One group that is read.
#[derive(Debug)]
pub struct PlanGroup {
    pub schema: Arc<RowSchema>,
    /// Position in `Plan::entity_types`.
    pub entity_type: usize,
    /// Position in `PlanEntityType::groups`.
    pub position: usize,
    /// Positions in `Plan::features`.
    pub features: Vec<usize>,
    /// A row with so many columns knows every feature asked for.
    pub columns_asked: usize,
    /// The least of its features' limits: a row within it is fresh for all of them.
    pub age_limit_least: AgeLimit,
}

/// One entity type that is read.
#[derive(Debug)]
pub struct PlanEntityType {
    pub id: EntityTypeId,
    pub name: String,
    /// Positions in `Plan::keys`, in the order of the type's keys.
    pub keys: Vec<usize>,
    /// Positions in `Plan::groups`.
    pub groups: Vec<usize>,
    /// The schemas of these groups, as a store is asked for them.
    pub schemas: Vec<Arc<RowSchema>>,
}

impl Plan {
    fn new(
        catalogue: &Catalogue,
        feature_set: Option<String>,
        named: Vec<(String, Arc<Feature>)>,
    ) -> Result<Self> {
        let mut plan = Plan {
            feature_set,
            features: Vec::with_capacity(named.len()),
            groups: Vec::new(),
            entity_types: Vec::new(),
            keys: Vec::new(),
            schema_id: 0,
            derived: Derived::default(),
        };
        let mut seen = HashSet::new();
        let mut slots: HashMap<mem::Discriminant<Dtype>, u32> = HashMap::new();
        for (position, (name, feature)) in named.into_iter().enumerate() {
            let reference = feature.full_ref().to_string();
            if !seen.insert(feature.id) {
                let message = format!("{name:?} asks for {reference} a second time; name each feature once");
                return Err(Error::invalid(format!("features[{position}]"), message));
            }
            // Lists share an array whatever they hold, and decimals whatever their digits.
            let slot = slots.entry(mem::discriminant(&feature.dtype)).or_default();
            let age_limit = AgeLimit::new(feature.describing.ttl);
            let group = plan.group_position(catalogue, &feature);
            let in_group = &mut plan.groups[group];
            in_group.features.push(position);
            in_group.columns_asked = in_group.columns_asked.max(feature.column as usize + 1);
            in_group.age_limit_least = in_group.age_limit_least.min(age_limit);
            plan.features.push(PlanFeature { name, reference, feature, group, slot: *slot, age_limit });
            *slot += 1;
        }
        plan.schema_id = plan.hash();
        Ok(plan)
    }

    fn group_position(&mut self, catalogue: &Catalogue, feature: &Feature) -> usize {
        if let Some(known) = self.groups.iter().position(|group| group.schema.id == feature.group) {
            return known;
        }
        let entity_type = self.entity_type_position(catalogue, feature.entity_type);
        let schema = catalogue.group_of(feature).schema.clone();
        let of_type = &mut self.entity_types[entity_type];
        let position = of_type.groups.len();
        of_type.groups.push(self.groups.len());
        of_type.schemas.push(schema.clone());
        self.groups.push(PlanGroup {
            schema,
            entity_type,
            position,
            features: Vec::new(),
            columns_asked: 0,
            age_limit_least: AgeLimit::UNBOUNDED,
        });
        self.groups.len() - 1
    }

    fn entity_type_position(&mut self, catalogue: &Catalogue, id: EntityTypeId) -> usize {
        if let Some(known) = self.entity_types.iter().position(|entity_type| entity_type.id == id) {
            return known;
        }
        let entity_type =
            catalogue.entity_type_by_id(id).expect("a feature's entity type is in its catalogue");
        let keys = entity_type.keys.iter().map(|key| {
            self.keys.iter().position(|known| known == key).unwrap_or_else(|| {
                self.keys.push(key.clone());
                self.keys.len() - 1
            })
        });
        let keys = keys.collect();
        self.entity_types.push(PlanEntityType {
            id,
            name: entity_type.name.clone(),
            keys,
            groups: Vec::new(),
            schemas: Vec::new(),
        });
        self.entity_types.len() - 1
    }

    /// The first eight bytes of a SHA-256 over all that the schema of an answer tells of its features, in order.
    fn hash(&self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.feature_set.as_deref().unwrap_or_default());
        for feature in &self.features {
            for part in [&*feature.name, &*feature.reference, &*feature.feature.dtype.name()] {
                hash.update(part);
                hash.update([0]);
            }
            hash.update([u8::from(feature.feature.describing.default.is_some())]);
        }
        let digest = hash.finalize();
        u64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes")).max(1)
    }
}

/// The plans of one catalogue, by the list of features as the request wrote it.
pub(super) struct PlanCache(Cache<ListKey, Arc<Plan>, FeatureCount, DefaultHashBuilder>);

#[derive(PartialEq, Eq, Hash)]
struct ListKey(ListEncoding, Box<[u8]>);

/// A key that is only looked up.
#[derive(Hash)]
struct ListKeyRef<'a>(ListEncoding, &'a [u8]);

impl Equivalent<ListKey> for ListKeyRef<'_> {
    fn equivalent(&self, key: &ListKey) -> bool {
        self.0 == key.0 && self.1 == &*key.1
    }
}

#[derive(Clone)]
struct FeatureCount;

impl Weighter<ListKey, Arc<Plan>> for FeatureCount {
    fn weight(&self, _: &ListKey, plan: &Arc<Plan>) -> u64 {
        plan.features.len() as u64 + 1
    }
}

impl Default for PlanCache {
    fn default() -> Self {
        // A list of 250 names is 7 KB: with std's SipHash, hashing it took a sixth of a request.
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self(Cache::with(PLANS_EXPECTED, PLANNED_FEATURES_MAX, FeatureCount, hasher, lifecycle))
    }
}

impl PlanCache {
    pub(super) fn get_or_make(
        &self,
        catalogue: &Catalogue,
        list: &FeatureList<'_>,
        features_max: usize,
    ) -> Result<Arc<Plan>> {
        let (encoding, bytes) = match list {
            FeatureList::Encoded { encoding, bytes, .. } => (*encoding, Cow::Borrowed(*bytes)),
            FeatureList::Set(name) => (ListEncoding::Set, Cow::Borrowed(name.as_bytes())),
            FeatureList::Names(names) => {
                let written = names.iter().flat_map(|name| name.bytes().chain([0])).collect();
                (ListEncoding::Names, Cow::Owned(written))
            }
        };
        if let Some(plan) = self.0.get(&ListKeyRef(encoding, &bytes)) {
            check_count(plan.features.len(), list.field(), features_max)?;
            return Ok(plan);
        }
        let plan = Arc::new(match list {
            FeatureList::Encoded { bytes, names, .. } => by_names(catalogue, &names(bytes)?, features_max)?,
            FeatureList::Names(names) => by_names(catalogue, names, features_max)?,
            FeatureList::Set(name) => by_set(catalogue, name, features_max)?,
        });
        self.0.insert(ListKey(encoding, bytes.into()), plan.clone());
        Ok(plan)
    }
}

fn by_names(catalogue: &Catalogue, names: &[impl AsRef<str>], features_max: usize) -> Result<Plan> {
    if names.is_empty() {
        return Err(Error::invalid(
            "features",
            "no features are asked for; name at least one, or a feature_set",
        ));
    }
    check_count(names.len(), "features", features_max)?;
    let named = names.iter().enumerate().map(|(position, name)| {
        let feature =
            catalogue.feature(name.as_ref()).map_err(|error| error.at(format!("features[{position}]")))?;
        Ok((name.as_ref().to_owned(), feature.clone()))
    });
    Plan::new(catalogue, None, named.collect::<Result<_>>()?)
}

fn by_set(catalogue: &Catalogue, name: &str, features_max: usize) -> Result<Plan> {
    let set = catalogue.feature_set(name).map_err(|error| error.at("feature_set"))?;
    check_count(set.features.len(), "feature_set", features_max)?;
    let named = set.features.iter().map(|pinned| {
        let feature = catalogue.feature_by_id(pinned.feature).ok_or_else(|| {
            Error::new(Kind::Internal, format!("the feature set {name:?} pins a feature that is gone"))
        })?;
        Ok((pinned.name.clone(), feature.clone()))
    });
    let reference = format!("{}@{}", set.name, set.version);
    Plan::new(catalogue, Some(reference), named.collect::<Result<_>>()?)
}

fn check_count(features: usize, field: &str, features_max: usize) -> Result<()> {
    if features > features_max {
        let message = format!("{features} features are over the limit of {features_max}; split the request");
        return Err(Error::invalid(field, message));
    }
    Ok(())
}
