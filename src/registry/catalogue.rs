//! One tenant's features, groups, entity types and sets, by every name they have.

use super::plan::{FeatureList, Plan, PlanCache};
use crate::{
    error::{Error, Result},
    feature::{
        EntityTypeId, FeatureId, RowId, RowSchema,
        definition::{ColumnSchema, EntityType, Feature, FeatureSet, Group, VersionStatus},
        name::{FeatureRef, FullRef, split_version},
    },
    store::RecordBody,
};
use hashbrown::{DefaultHashBuilder, HashMap};
use rpds::RedBlackTreeMapSync as SortedMap;
use std::sync::Arc;

/// A persistent hash map.
pub(super) type Map<K, V> = rpds::HashTrieMapSync<K, V, DefaultHashBuilder>;
/// Groups that get features, with what they have by now.
type Touched = HashMap<RowId, (Group, Vec<Arc<Feature>>)>;

/// What one tenant has registered, at one revision.
///
/// Its maps are persistent: a change makes the next catalogue from this one, shares what it does not touch, and costs the
/// same however much is registered.
#[derive(Default)]
pub struct Catalogue {
    entity_types: SortedMap<String, Arc<EntityType>>,
    entity_types_by_id: Map<EntityTypeId, Arc<EntityType>>,
    groups: SortedMap<String, Arc<GroupEntry>>,
    groups_by_id: Map<RowId, Arc<GroupEntry>>,
    features: Map<FeatureId, Arc<Feature>>,
    /// A bare name belongs for ever to the first feature registered with it: its group.
    bare_names: Map<String, RowId>,
    /// By event type, those whose windowed features take it.
    event_types: Map<String, Vec<EntityTypeId>>,
    /// By name, all versions, oldest first.
    sets: SortedMap<String, Vec<Arc<FeatureSet>>>,
    plans: PlanCache,
}

/// A group and what is in it.
#[derive(Clone, Debug)]
pub struct GroupEntry {
    pub group: Group,
    pub schema: Arc<RowSchema>,
    /// In the order of the schema's columns.
    pub features: Vec<Arc<Feature>>,
    /// By name, all versions, oldest first.
    versions: HashMap<String, Vec<Arc<Feature>>>,
}

impl Catalogue {
    /// The next catalogue, with these records put: new ones in the order they were first put.
    pub(super) fn with(&self, records: Vec<RecordBody>) -> Self {
        let mut next = Self {
            entity_types: self.entity_types.clone(),
            entity_types_by_id: self.entity_types_by_id.clone(),
            groups: self.groups.clone(),
            groups_by_id: self.groups_by_id.clone(),
            features: self.features.clone(),
            bare_names: self.bare_names.clone(),
            event_types: self.event_types.clone(),
            sets: self.sets.clone(),
            plans: PlanCache::default(),
        };
        let mut touched = Touched::default();
        for record in records {
            match record {
                RecordBody::EntityType(entity_type) => {
                    let entity_type = Arc::new(entity_type);
                    next.entity_types_by_id.insert_mut(entity_type.id, entity_type.clone());
                    next.entity_types.insert_mut(entity_type.name.clone(), entity_type);
                }
                RecordBody::Group(group) => {
                    touched.entry(group.id).or_insert((group, Vec::new()));
                }
                RecordBody::Feature(feature) => next.put(Arc::new(*feature), &mut touched),
                RecordBody::FeatureSet(set) => {
                    let mut versions = next.sets.get(&set.name).cloned().unwrap_or_default();
                    put_version(&mut versions, Arc::new(set), |set| set.version);
                    next.sets.insert_mut(versions[0].name.clone(), versions);
                }
                RecordBody::Tenant(_) | RecordBody::ApiKey(_) => {}
            }
        }
        for (id, (group, features)) in touched {
            let entry = Arc::new(GroupEntry::new(group, features));
            next.groups.insert_mut(entry.group.name.clone(), entry.clone());
            next.groups_by_id.insert_mut(id, entry);
        }
        next
    }
    fn put(&mut self, feature: Arc<Feature>, touched: &mut Touched) {
        let (_, columns) = touched.entry(feature.group).or_insert_with(|| {
            let known = self.groups_by_id.get(&feature.group).expect("a group is put before its features");
            (known.group.clone(), known.features.clone())
        });
        match columns.get_mut(feature.column as usize) {
            Some(known) => *known = feature.clone(),
            None => columns.push(feature.clone()),
        }
        if !self.bare_names.contains_key(&feature.name) {
            self.bare_names.insert_mut(feature.name.clone(), feature.group);
        }
        if let Some(window) = &feature.window {
            let known = self.event_types.get(&window.event_type).map_or(&[][..], Vec::as_slice);
            if !known.contains(&feature.entity_type) {
                let entity_types = known.iter().copied().chain([feature.entity_type]).collect();
                self.event_types.insert_mut(window.event_type.clone(), entity_types);
            }
        }
        self.features.insert_mut(feature.id, feature);
    }

    pub fn entity_type(&self, name: &str) -> Option<&Arc<EntityType>> {
        self.entity_types.get(name)
    }

    pub fn entity_type_by_id(&self, id: EntityTypeId) -> Option<&Arc<EntityType>> {
        self.entity_types_by_id.get(&id)
    }

    /// Every entity type, by name.
    pub fn entity_types(&self) -> impl Iterator<Item = &Arc<EntityType>> {
        self.entity_types.values()
    }

    /// The entity types whose windowed features take events of this type.
    pub fn entity_types_of_events(&self, event_type: &str) -> impl Iterator<Item = &Arc<EntityType>> {
        let ids = self.event_types.get(event_type).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.entity_types_by_id.get(id))
    }

    pub fn group(&self, name: &str) -> Option<&Arc<GroupEntry>> {
        self.groups.get(name)
    }

    pub fn group_by_id(&self, id: RowId) -> Option<&Arc<GroupEntry>> {
        self.groups_by_id.get(&id)
    }

    /// The group that a feature of this catalogue is in.
    pub fn group_of(&self, feature: &Feature) -> &Arc<GroupEntry> {
        self.groups_by_id.get(&feature.group).expect("a feature's group is in its catalogue")
    }

    /// Every group, by name.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<GroupEntry>> {
        self.groups.values()
    }

    pub fn feature_by_id(&self, id: FeatureId) -> Option<&Arc<Feature>> {
        self.features.get(&id)
    }

    /// Every version of every feature, by group and column.
    pub fn features(&self) -> impl Iterator<Item = &Arc<Feature>> {
        self.groups.values().flat_map(|entry| &entry.features)
    }

    /// All versions of a feature of a group, oldest first.
    pub fn versions(&self, group: RowId, name: &str) -> &[Arc<Feature>] {
        self.groups_by_id.get(&group).map_or(&[], |entry| entry.versions(name))
    }

    /// The group that a bare name stands for.
    pub fn bare_name(&self, name: &str) -> Option<RowId> {
        self.bare_names.get(name).copied()
    }

    /// The feature that a reference means: the version it says, else the newest active one.
    pub fn feature(&self, text: &str) -> Result<&Arc<Feature>> {
        let unknown = || Error::not_found(format!("no feature {text:?} is registered"));
        let reference = FeatureRef::parse(text)
            .map_err(|why| Error::not_found(format!("no feature {text:?} is registered: {why}")))?;
        let group = match reference.group {
            Some(group) => self.groups.get(group),
            None => self.bare_name(reference.name).and_then(|group| self.groups_by_id.get(&group)),
        };
        let versions = group.ok_or_else(unknown)?.versions(reference.name);
        let newest = versions.last().ok_or_else(unknown)?;
        match reference.version {
            Some(version) => versions.iter().find(|feature| feature.version == version).ok_or_else(|| {
                Error::not_found(format!(
                    "no feature {text:?} is registered; its newest version is {}",
                    newest.version
                ))
            }),
            None => newest_active(versions).ok_or_else(|| {
                Error::not_found(format!(
                    "no version of {text:?} is active; ask for the deprecated one as {}",
                    newest.full_ref()
                ))
            }),
        }
    }

    /// A feature set: `fraud` (newest) or `fraud@3`.
    pub fn feature_set(&self, text: &str) -> Result<&Arc<FeatureSet>> {
        let unknown = || Error::not_found(format!("no feature set {text:?} exists"));
        let (name, version) = split_version(text).map_err(Error::not_found)?;
        let versions = self.sets.get(name).ok_or_else(unknown)?;
        match version {
            Some(version) => versions.iter().find(|set| set.version == version),
            None => versions.last(),
        }
        .ok_or_else(unknown)
    }

    /// The newest version of every set, by name.
    pub fn feature_sets(&self) -> impl Iterator<Item = &Arc<FeatureSet>> {
        self.sets.values().filter_map(|versions| versions.last())
    }

    /// How to answer a request for these features, in this order; at most `features_max`.
    pub fn plan_of(&self, features: &FeatureList<'_>, features_max: usize) -> Result<Arc<Plan>> {
        self.plans.get_or_make(self, features, features_max)
    }

    /// How to answer a request for these features, in this order.
    pub fn plan(&self, features: &[impl AsRef<str>]) -> Result<Arc<Plan>> {
        let names: Vec<&str> = features.iter().map(AsRef::as_ref).collect();
        self.plan_of(&FeatureList::Names(&names), usize::MAX)
    }
}

impl GroupEntry {
    fn new(group: Group, mut features: Vec<Arc<Feature>>) -> Self {
        features.sort_by_key(|feature| feature.column);
        let columns = features.iter().map(|feature| ColumnSchema {
            name: format!("{}@{}", feature.name, feature.version),
            dtype: feature.dtype,
        });
        let schema = RowSchema {
            id: group.id,
            entity_type: group.entity_type,
            windowed: features.iter().any(|feature| feature.window.is_some()),
            columns: columns.collect(),
        };
        let mut versions: HashMap<String, Vec<Arc<Feature>>> = HashMap::with_capacity(features.len());
        for feature in &features {
            let of_name = versions.entry_ref(feature.name.as_str()).or_default();
            put_version(of_name, feature.clone(), |feature| feature.version);
        }
        Self { group, schema: Arc::new(schema), features, versions }
    }

    /// All versions of a feature, oldest first.
    pub fn versions(&self, name: &str) -> &[Arc<Feature>] {
        self.versions.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Puts one version among all of its name, oldest first.
fn put_version<T>(versions: &mut Vec<Arc<T>>, new: Arc<T>, version: impl Fn(&T) -> u32) {
    match versions.binary_search_by_key(&version(&new), |known| version(known)) {
        Ok(place) => versions[place] = new,
        Err(place) => versions.insert(place, new),
    }
}

/// The newest active of all versions of a feature, oldest first.
pub fn newest_active(versions: &[Arc<Feature>]) -> Option<&Arc<Feature>> {
    versions.iter().rev().find(|feature| feature.status == VersionStatus::Active)
}

impl Feature {
    /// `group.name@version`, or `name@version` where the group bears the feature's name.
    pub fn full_ref(&self) -> FullRef<'_> {
        FullRef { group: &self.group_name, name: &self.name, version: self.version }
    }
}
