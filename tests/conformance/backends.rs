//! The backends under test.

use super::{Backend, TestTime};
use larder::{
    feature::Duration,
    store::embedded::{EmbeddedStore, Options},
};
use tempfile::TempDir;

fn options(time: &TestTime, retention: Option<Duration>) -> Options {
    Options {
        clock: time.clock(),
        retention,
        memtable_bytes_max: 4_000,
        segment_bytes_min: 400,
        latest_bytes_max: 64 * 2_000,
        partitions: 3,
        event_volume_bytes_max: 10_000,
        ..Options::default()
    }
}

async fn flush_or_compact(store: &EmbeddedStore, how: u8) {
    match how % 3 {
        0 => store.flush().await.unwrap(),
        1 => store.compact().await.unwrap(),
        _ => {
            store.flush().await.unwrap();
            store.compact().await.unwrap();
        }
    }
}

/// The embedded store in a directory.
pub struct OnDisk {
    store: Option<EmbeddedStore>,
    options: Options,
    directory: TempDir,
}

impl Backend for OnDisk {
    type Store = EmbeddedStore;

    async fn start(time: TestTime, retention: Option<Duration>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&time, retention);
        let store = Some(EmbeddedStore::open(directory.path(), options.clone()).unwrap());
        Self { store, options, directory }
    }

    fn store(&self) -> &EmbeddedStore {
        self.store.as_ref().unwrap()
    }

    async fn disturb(&mut self, how: u8) {
        if how % 4 == 3 {
            self.restart().await;
        } else {
            flush_or_compact(self.store(), how % 4).await;
        }
    }

    async fn restart(&mut self) -> bool {
        self.store = None;
        self.store = Some(EmbeddedStore::open(self.directory.path(), self.options.clone()).unwrap());
        true
    }
}

/// The embedded store in memory.
pub struct InMemory(EmbeddedStore);

impl Backend for InMemory {
    type Store = EmbeddedStore;

    async fn start(time: TestTime, retention: Option<Duration>) -> Self {
        Self(EmbeddedStore::in_memory(options(&time, retention)).unwrap())
    }

    fn store(&self) -> &EmbeddedStore {
        &self.0
    }

    async fn disturb(&mut self, how: u8) {
        flush_or_compact(&self.0, how).await;
    }

    async fn restart(&mut self) -> bool {
        false
    }
}
