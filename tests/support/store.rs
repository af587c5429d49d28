//! The embedded store with an ear to the door: counts reads, and makes them slow or panic on demand.

use async_trait::async_trait;
use larder::{
    feature::{EntityTypeId, RowId, RowSchema, Timestamp},
    store::{
        Commit, Commits, Committed, DurableStore, EntityRows, LatestRead, LatestReads, Result, Snapshot,
        Views,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// What tests see and change.
#[derive(Default)]
pub struct Door {
    pub reads: AtomicU64,
    pub delay_ms: AtomicU64,
    pub panics: AtomicBool,
}

/// A store behind a door.
pub struct WatchedStore {
    pub inner: Arc<dyn DurableStore>,
    pub door: Arc<Door>,
}

impl WatchedStore {
    async fn pass(&self) {
        self.door.reads.fetch_add(1, Relaxed);
        assert!(!self.door.panics.load(Relaxed), "a test asked for this panic");
        let delay_ms = self.door.delay_ms.load(Relaxed);
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
    }
}

impl DurableStore for WatchedStore {}

#[async_trait]
impl Commits for WatchedStore {
    async fn commit(&self, commit: Commit) -> Result<Committed> {
        self.inner.commit(commit).await
    }

    fn retention_bound(&self) -> Option<Timestamp> {
        self.inner.retention_bound()
    }
}

#[async_trait]
impl LatestReads for WatchedStore {
    async fn latest(&self, read: LatestRead<'_>) -> Result<Vec<EntityRows>> {
        self.pass().await;
        self.inner.latest(read).await
    }

    fn invalidate(&self, entity_type: EntityTypeId, key: &str) {
        self.inner.invalidate(entity_type, key);
    }
}

#[async_trait]
impl Views for WatchedStore {
    async fn snapshot(&self, groups: &[Arc<RowSchema>]) -> Result<Arc<dyn Snapshot>> {
        self.pass().await;
        self.inner.snapshot(groups).await
    }

    async fn last_written(&self, groups: &[RowId]) -> Result<Vec<Option<Timestamp>>> {
        self.inner.last_written(groups).await
    }
}
