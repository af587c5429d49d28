//! How to answer a request for a list of features: resolved once, then found by the list.
//!
//! A plan belongs to one catalogue and goes with it, so it never outlives a registry revision.

use super::catalogue::Catalogue;
use crate::{
    error::{Error, Kind, Result},
    feature::{
        Dtype, GroupSchema,
        definition::{EntityTypeId, Feature},
    },
};
use hashbrown::{HashMap, HashSet};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Plans kept per tenant.
const PLANS_MAX: usize = 1_024;

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
}

/// One group that is read.
#[derive(Debug)]
pub struct PlanGroup {
    pub schema: Arc<GroupSchema>,
    /// Position in `Plan::entity_types`.
    pub entity_type: usize,
    /// Positions in `Plan::features`.
    pub features: Vec<usize>,
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
        };
        let mut seen = HashSet::new();
        let mut slots: HashMap<Dtype, u32> = HashMap::new();
        for (position, (name, feature)) in named.into_iter().enumerate() {
            let reference = feature.full_ref().to_string();
            if !seen.insert(feature.id) {
                let message = format!("{name:?} asks for {reference} a second time; name each feature once");
                return Err(Error::invalid(format!("features[{position}]"), message));
            }
            let array = match feature.dtype {
                Dtype::List(_) => Dtype::List(crate::feature::Element::Bool),
                dtype => dtype,
            };
            let slot = slots.entry(array).or_default();
            let group = plan.group_position(catalogue, &feature);
            plan.groups[group].features.push(position);
            plan.features.push(PlanFeature { name, reference, feature, group, slot: *slot });
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
        self.entity_types[entity_type].groups.push(self.groups.len());
        let schema = catalogue.group_of(feature).schema.clone();
        self.groups.push(PlanGroup { schema, entity_type, features: Vec::new() });
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
        });
        self.entity_types.len() - 1
    }

    /// The first eight bytes of a SHA-256 over all that the schema of an answer tells of its features, in order.
    fn hash(&self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.feature_set.as_deref().unwrap_or_default());
        for feature in &self.features {
            for part in [&feature.name, &feature.reference, feature.feature.dtype.name()] {
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
pub(super) struct PlanCache(Cache<String, Arc<Plan>>);

impl Default for PlanCache {
    fn default() -> Self {
        Self(Cache::new(PLANS_MAX))
    }
}

impl PlanCache {
    pub(super) fn get_or_make(
        &self,
        catalogue: &Catalogue,
        features: &[impl AsRef<str>],
    ) -> Result<Arc<Plan>> {
        let mut key = String::with_capacity(features.iter().map(|name| name.as_ref().len() + 1).sum());
        for name in features {
            key.push_str(name.as_ref());
            key.push('\0');
        }
        if let Some(plan) = self.0.get(&key) {
            return Ok(plan);
        }
        let named = features.iter().enumerate().map(|(position, name)| {
            let feature = catalogue
                .feature(name.as_ref())
                .map_err(|error| error.at(format!("features[{position}]")))?;
            Ok((name.as_ref().to_owned(), feature.clone()))
        });
        let plan = Arc::new(Plan::new(catalogue, None, named.collect::<Result<_>>()?)?);
        self.0.insert(key, plan.clone());
        Ok(plan)
    }

    pub(super) fn get_or_make_for_set(&self, catalogue: &Catalogue, name: &str) -> Result<Arc<Plan>> {
        let key = format!("\0{name}");
        if let Some(plan) = self.0.get(&key) {
            return Ok(plan);
        }
        let set = catalogue.feature_set(name).map_err(|error| error.at("feature_set"))?;
        let named = set.features.iter().map(|pinned| {
            let feature = catalogue.feature_by_id(pinned.feature).ok_or_else(|| {
                Error::new(Kind::Internal, format!("the feature set {name:?} pins a feature that is gone"))
            })?;
            Ok((pinned.name.clone(), feature.clone()))
        });
        let reference = format!("{}@{}", set.name, set.version);
        let plan = Arc::new(Plan::new(catalogue, Some(reference), named.collect::<Result<_>>()?)?);
        self.0.insert(key, plan.clone());
        Ok(plan)
    }
}
