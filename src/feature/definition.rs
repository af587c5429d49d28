//! What is registered: entity types, features, groups and sets.

use super::{Dtype, Duration, EntityTypeId, FeatureId, RowId, Timestamp, Value, Window};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that a store needs to know of a group: a row's cells are in the order of `columns`, which only ever grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSchema {
    pub id: RowId,
    pub entity_type: EntityTypeId,
    /// Rows come from events alone: they are learned at log times, not at commits.
    pub windowed: bool,
    pub columns: Vec<ColumnSchema>,
}

/// One version of one feature of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSchema {
    /// `name@version`, unique within the group.
    pub name: String,
    pub dtype: Dtype,
}

/// A feature group as it is registered; its columns are its features, by `Feature::column`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub id: RowId,
    pub name: String,
    pub entity_type: EntityTypeId,
}

/// What features describe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityType {
    pub id: EntityTypeId,
    pub name: String,
    /// In order; one key of the type's own name unless declared otherwise.
    pub keys: Vec<String>,
}

/// How far a version of a feature has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionStatus {
    Draft,
    Active,
    Deprecated,
}

/// What may change in place, under a registry revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Describing {
    pub ttl: Option<Duration>,
    /// None = one hour.
    pub cache_ttl: Option<Duration>,
    pub description: String,
    pub owner: String,
    pub tags: BTreeMap<String, String>,
    pub default: Option<Value>,
}

/// A feature as a registration asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureDefinition {
    pub name: String,
    pub entity_type: String,
    pub dtype: Dtype,
    /// None = a group of its own, of the feature's name.
    pub group: Option<String>,
    /// None = the newest active version, or 1.
    pub version: Option<u32>,
    pub describing: Describing,
    pub allow_non_finite: bool,
    pub window: Option<Window>,
}

/// One version of a feature as it is registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    pub id: FeatureId,
    pub name: String,
    pub version: u32,
    pub group: RowId,
    pub group_name: String,
    pub entity_type: EntityTypeId,
    pub entity_type_name: String,
    pub dtype: Dtype,
    /// Position in the group's rows.
    pub column: u32,
    /// Registered together with its group: rows must give it.
    pub founding: bool,
    pub status: VersionStatus,
    pub describing: Describing,
    pub allow_non_finite: bool,
    pub window: Option<Window>,
    /// The registry revision that last changed it.
    pub revision: u64,
    pub created_at: Timestamp,
}

/// A named list of features with their versions pinned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureSet {
    pub name: String,
    pub version: u32,
    pub features: Vec<PinnedFeature>,
    pub created_at: Timestamp,
}

/// A member of a feature set: answers carry `name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedFeature {
    /// As the set was put.
    pub name: String,
    pub feature: FeatureId,
}
