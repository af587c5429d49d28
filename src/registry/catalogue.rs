//! One tenant's features, groups, entity types and sets, by every name they have.

use super::plan::{FeatureList, Plan, PlanCache};
use crate::{
    error::{Error, Result},
    feature::{
        FeatureId, GroupId, GroupSchema,
        definition::{ColumnSchema, EntityType, EntityTypeId, Feature, FeatureSet, Group, VersionStatus},
        name::{FeatureRef, FullRef, split_version},
    },
    store::RecordBody,
};
use hashbrown::HashMap;
use std::{collections::BTreeMap, sync::Arc};

/// What one tenant has registered, at one revision.
#[derive(Default)]
pub struct Catalogue {
    entity_types: BTreeMap<String, Arc<EntityType>>,
    entity_types_by_id: HashMap<EntityTypeId, Arc<EntityType>>,
    groups: BTreeMap<String, GroupEntry>,
    features: BTreeMap<FeatureId, Arc<Feature>>,
    /// A bare name belongs for ever to the first feature registered with it: its group.
    bare_names: HashMap<String, GroupId>,
    /// All versions of a feature, oldest first.
    versions: HashMap<(GroupId, String), Vec<Arc<Feature>>>,
    /// By event type, those whose windowed features take it.
    event_types: HashMap<String, Vec<EntityTypeId>>,
    /// By name, all versions, oldest first.
    sets: BTreeMap<String, Vec<Arc<FeatureSet>>>,
    plans: PlanCache,
}

/// A group and what is in it.
#[derive(Clone, Debug)]
pub struct GroupEntry {
    pub group: Group,
    pub schema: Arc<GroupSchema>,
    /// In the order of the schema's columns.
    pub features: Vec<Arc<Feature>>,
}

impl Catalogue {
    /// From one tenant's records, in the order they were first put.
    pub(super) fn new(records: &[&RecordBody]) -> Self {
        let mut this = Self::default();
        for record in records {
            match record {
                RecordBody::EntityType(entity_type) => {
                    let entity_type = Arc::new(entity_type.clone());
                    this.entity_types_by_id.insert(entity_type.id, entity_type.clone());
                    this.entity_types.insert(entity_type.name.clone(), entity_type);
                }
                RecordBody::Feature(feature) => {
                    this.features.insert(feature.id, Arc::new(Feature::clone(feature)));
                }
                RecordBody::FeatureSet(set) => {
                    this.sets.entry(set.name.clone()).or_default().push(Arc::new(set.clone()));
                }
                RecordBody::Tenant(_) | RecordBody::ApiKey(_) | RecordBody::Group(_) => {}
            }
        }
        for versions in this.sets.values_mut() {
            versions.sort_by_key(|set| set.version);
        }
        let mut members: HashMap<GroupId, Vec<Arc<Feature>>> = HashMap::new();
        for feature in this.features.values() {
            members.entry(feature.group).or_default().push(feature.clone());
        }
        for record in records {
            if let RecordBody::Group(group) = record {
                let mut features = members.remove(&group.id).unwrap_or_default();
                features.sort_by_key(|feature| feature.column);
                let columns = features.iter().map(|feature| ColumnSchema {
                    name: format!("{}@{}", feature.name, feature.version),
                    dtype: feature.dtype,
                });
                let schema = GroupSchema {
                    id: group.id,
                    entity_type: group.entity_type,
                    windowed: features.iter().any(|feature| feature.window.is_some()),
                    columns: columns.collect(),
                };
                let entry = GroupEntry { group: group.clone(), schema: Arc::new(schema), features };
                this.groups.insert(group.name.clone(), entry);
            }
        }
        for feature in this.features.values() {
            this.bare_names.entry(feature.name.clone()).or_insert(feature.group);
            this.versions.entry((feature.group, feature.name.clone())).or_default().push(feature.clone());
            if let Some(window) = &feature.window {
                let entity_types = this.event_types.entry(window.event_type.clone()).or_default();
                if !entity_types.contains(&feature.entity_type) {
                    entity_types.push(feature.entity_type);
                }
            }
        }
        for versions in this.versions.values_mut() {
            versions.sort_by_key(|feature| feature.version);
        }
        this
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

    pub fn group(&self, name: &str) -> Option<&GroupEntry> {
        self.groups.get(name)
    }

    /// The group that a feature of this catalogue is in.
    pub fn group_of(&self, feature: &Feature) -> &GroupEntry {
        self.groups.get(&feature.group_name).expect("a feature's group is in its catalogue")
    }

    /// Every group, by name.
    pub fn groups(&self) -> impl Iterator<Item = &GroupEntry> {
        self.groups.values()
    }

    pub fn feature_by_id(&self, id: FeatureId) -> Option<&Arc<Feature>> {
        self.features.get(&id)
    }

    /// Every version of every feature, in the order of registration.
    pub fn features(&self) -> impl Iterator<Item = &Arc<Feature>> {
        self.features.values()
    }

    /// All versions of a feature of a group, oldest first.
    pub fn versions(&self, group: GroupId, name: &str) -> &[Arc<Feature>] {
        self.versions.get(&(group, name.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The group that a bare name stands for.
    pub fn bare_name(&self, name: &str) -> Option<GroupId> {
        self.bare_names.get(name).copied()
    }

    /// The feature that a reference means: the version it says, else the newest active one.
    pub fn feature(&self, text: &str) -> Result<&Arc<Feature>> {
        let unknown = || Error::not_found(format!("no feature {text:?} is registered"));
        let reference = FeatureRef::parse(text)
            .map_err(|why| Error::not_found(format!("no feature {text:?} is registered: {why}")))?;
        let group = match reference.group {
            Some(group) => self.groups.get(group).ok_or_else(unknown)?.group.id,
            None => self.bare_name(reference.name).ok_or_else(unknown)?,
        };
        let versions = self.versions(group, reference.name);
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

    /// How to answer a request for a feature set.
    pub fn plan_for_set(&self, set: &str) -> Result<Arc<Plan>> {
        self.plan_of(&FeatureList::Set(set), usize::MAX)
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
