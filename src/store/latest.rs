//! The newest rows of entities: what an online answer is made of.

use super::{EntityRows, Result};
use crate::feature::{EntityTypeId, RowSchema};
use async_trait::async_trait;
use std::sync::Arc;

/// Where newest rows are read.
#[async_trait]
pub trait LatestReads: Send + Sync + 'static {
    /// The newest rows of every key, by its position. Each answer knows every group that was asked for, and may know
    /// others.
    async fn latest(&self, read: LatestRead<'_>) -> Result<Vec<EntityRows>>;

    /// Drops an entity from what the store holds in memory: the next read takes it from where it is durable.
    fn invalidate(&self, _entity_type: EntityTypeId, _key: &str) {}
}

/// Which newest rows to read.
#[derive(Clone, Copy, Debug)]
pub struct LatestRead<'a> {
    /// All groups are of this entity type.
    pub entity_type: EntityTypeId,
    pub groups: &'a [Arc<RowSchema>],
    /// Storage keys.
    pub keys: &'a [&'a str],
}
