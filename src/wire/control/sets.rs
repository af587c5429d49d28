//! Feature sets.

use super::forms::{PageSize, Time, from_message, list, time};
use crate::wire::proto;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to pin under a name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureSetContent {
    /// Features by name, reference or version.
    pub features: Vec<String>,
}

/// Which page of the sets.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FeatureSetsQuery {
    pub page_size: PageSize,
    /// The `next_page_token` of the page before.
    pub page_token: String,
}

/// A page of the newest version of every set, by name.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FeatureSetList {
    pub feature_sets: Vec<FeatureSet>,
    /// Empty = this was the last page.
    pub next_page_token: String,
}

/// A named, versioned list of features. `set@1` never changes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FeatureSet {
    pub name: String,
    pub version: u32,
    /// `name@version`.
    pub r#ref: String,
    /// Full references, with the versions pinned when the set was put.
    pub features: Vec<String>,
    /// By position, what answers call each feature: the names that the set was put with.
    pub names: Vec<String>,
    #[schemars(required)]
    pub created_at: Option<Time>,
}

impl From<FeatureSetsQuery> for proto::ListFeatureSetsRequest {
    fn from(query: FeatureSetsQuery) -> Self {
        Self { page_size: query.page_size.0, page_token: query.page_token }
    }
}

from_message!(ListFeatureSetsResponse => FeatureSetList { feature_sets: list, next_page_token });

impl From<proto::FeatureSet> for FeatureSet {
    fn from(set: proto::FeatureSet) -> Self {
        Self {
            r#ref: format!("{}@{}", set.name, set.version),
            name: set.name,
            version: set.version,
            features: set.features,
            names: set.names,
            created_at: time(set.created_at),
        }
    }
}
