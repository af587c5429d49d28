//! When each group was last written, since this server started: what the catalogue shows.

use crate::feature::{RowId, Timestamp};
use hashbrown::HashMap;
use std::sync::{PoisonError, RwLock};

/// By group, the `created` of the newest commit.
#[derive(Debug, Default)]
pub struct LastWritten(RwLock<HashMap<RowId, Timestamp>>);

impl LastWritten {
    /// None = not since the start.
    pub fn get(&self, group: RowId) -> Option<Timestamp> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&group).copied()
    }

    /// Rows of these groups were committed.
    pub fn note(&self, groups: impl Iterator<Item = RowId>, created: Timestamp) {
        let mut newest = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for group in groups {
            let at = newest.entry(group).or_insert(created);
            *at = created.max(*at);
        }
    }
}
