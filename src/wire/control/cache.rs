//! What is dropped from caches.

use super::forms::{Id, from_message};
use crate::wire::proto;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What to drop. Either `entity_id` or `entities`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Invalidation {
    /// The id, for an entity type with one key.
    pub entity_id: Id,
    /// Ids by key.
    pub entities: BTreeMap<String, Id>,
    /// Empty = every entity type that the ids can name.
    pub entity_type: String,
    /// Empty = every feature.
    pub features: Vec<String>,
}

/// What to drop of the entity that the path names.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EntityInvalidationQuery {
    /// Empty = every entity type that the id can name.
    pub entity_type: String,
    /// Empty = every feature.
    pub feature: String,
}

/// Whether the caches no longer hold it.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Invalidated {
    pub invalidated: bool,
}

impl From<Invalidation> for proto::InvalidateCacheRequest {
    fn from(body: Invalidation) -> Self {
        Self {
            entity_id: body.entity_id.0,
            entities: body.entities.into_iter().map(|(key, id)| (key, id.0)).collect(),
            entity_type: body.entity_type,
            features: body.features,
        }
    }
}

impl EntityInvalidationQuery {
    pub fn of(self, entity_id: String) -> proto::InvalidateCacheRequest {
        proto::InvalidateCacheRequest {
            entity_id,
            entities: [].into(),
            entity_type: self.entity_type,
            features: Some(self.feature).into_iter().filter(|name| !name.is_empty()).collect(),
        }
    }
}

from_message!(InvalidateCacheResponse => Invalidated { invalidated });
