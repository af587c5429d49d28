//! The embedded store: no server, one directory (or memory), one process.
//!
//! ```text
//! DIR/lock               held by the process that has the store open (see `directory`)
//! DIR/larder.redb        the engine: registry, recent rows (the write-ahead tail), idempotency keys, and the manifest
//! DIR/events/*.redb      the event log, in volumes (see `log`)
//! DIR/segments/*.arrow   immutable history, one group each, named by the manifest (see `segment`)
//!
//! write ─> queue ─> writer ─┬─ small: tail record ──> memtable ──(flusher)──> segment ──(compactor)──> larger segment
//!                           └─ large: segment
//! read  <─ latest rows in use (`latest`) <─ memtables and segments (`state`), newest first
//! ```
//!
//! Both formats are kept by others: redb, and Arrow IPC files that pandas, Polars and DuckDB read as they lie there. A
//! segment is written, synced and only then named, in one transaction of the engine; a finished one that is not named moves
//! to `DIR/lost` at the next start. So a crash at any byte leaves either all of a commit or nothing, and acknowledged means
//! on disk.

mod as_of;
mod background;
mod compact;
mod directory;
mod engine;
mod flush;
mod gather;
mod judge;
mod latest;
mod log;
mod manifest;
mod medium;
mod memtable;
mod merge;
mod options;
mod packing;
#[cfg(test)]
mod power_loss;
mod prepare;
mod progress;
mod readers;
mod registry;
mod segment;
mod segment_writer;
mod shared;
mod sides;
mod snapshot;
mod stage;
mod state;
mod statistics;
mod tail;
mod timeline;
mod upgrade;
mod writer;

pub use options::Options;

use self::{
    background::Handle,
    directory::Directory,
    log::{PartitionedLog, VolumeFiles},
    manifest::Manifest,
    medium::Medium,
    prepare::PreparedBatch,
    shared::Shared,
    snapshot::EmbeddedSnapshot,
    state::State,
    writer::{Coming, CommitRequest, Request},
};
use crate::{
    feature::{EntityTypeId, RowId, RowSchema, Timestamp},
    store::{
        Commit, Commits, Committed, DurableStore, EntityRows, LatestRead, LatestReads, Result, Snapshot,
        StoreError, Views,
    },
};
use async_trait::async_trait;
use std::{
    error::Error,
    fmt,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Requests that may wait for the writer.
const QUEUE_MAX: usize = 4_096;
/// Bytes of rows that may wait for the writer; callers wait for room.
const QUEUE_KIB_MAX: usize = 512 * 1024;
/// Batches up to this size are sorted where they arrive.
const SORT_INLINE_BYTES: usize = 64 * 1024;
/// How often the flusher looks by itself, after an attempt that failed.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// The store. Dropping it waits for commits under way.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Request>>,
    room: Arc<Semaphore>,
    flusher: Arc<Handle>,
    threads: Vec<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is made if it is not there.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self> {
        let directory = Directory::open(directory.as_ref())?;
        let medium = Medium::directory(&directory.segments(), &directory.lost())?;
        let manifest = Manifest::open(&directory)?;
        let events = Box::new(log::Directory::open(&directory.events())?);
        directory.sync()?;
        Self::start(manifest, events, medium, Some(directory), options)
    }

    /// A store that is gone when it is dropped.
    pub fn in_memory(options: Options) -> Result<Self> {
        Self::start(Manifest::in_memory()?, Box::new(log::Memory::default()), Medium::Memory, None, options)
    }

    fn start(
        manifest: Manifest,
        events: Box<dyn VolumeFiles>,
        medium: Medium,
        directory: Option<Directory>,
        options: Options,
    ) -> Result<Self> {
        let log = PartitionedLog::open(events, &options)?;
        let shared = Arc::new(Shared::recover(manifest, log, medium, directory, options)?);
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let flusher = Arc::new(Handle::default());
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(body)
                .map_err(|error| storage_error("start", "a thread", error))
        };
        let writer = {
            let (shared, flusher) = (shared.clone(), flusher.clone());
            move || writer::run(&shared, requests, &flusher)
        };
        let flush = {
            let (shared, flusher) = (shared.clone(), flusher.clone());
            move || flusher.run(FLUSH_EVERY, |_| flush::flush_all(&shared, &flusher))
        };
        let compact = {
            let shared = shared.clone();
            move || {
                let mut sides_at = Instant::now();
                shared.compactor.run(compact::EVERY, |whole| {
                    compact::compact_all(&shared, whole)?;
                    if whole || Instant::now() >= sides_at {
                        sides_at = Instant::now() + sides::REMOVE_EVERY;
                        sides::remove_outdated(&shared)?;
                    }
                    Ok(())
                })
            }
        };
        let append = {
            let shared = shared.clone();
            move || log::run(&shared)
        };
        let threads = vec![
            spawn("larder-writer", Box::new(writer))?,
            spawn("larder-flusher", Box::new(flush))?,
            spawn("larder-compactor", Box::new(compact))?,
            spawn("larder-events", Box::new(append))?,
        ];
        Ok(Self {
            shared,
            queue: Some(queue),
            room: Arc::new(Semaphore::new(QUEUE_KIB_MAX)),
            flusher,
            threads,
        })
    }

    /// Moves all recent rows to segments. Happens by itself; for tests and before copying the directory.
    pub async fn flush(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Flush(reply)).await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Merges all segments of each group into one and drops what retention drops. Happens by itself, in steps.
    pub async fn compact(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.shared.compactor.ask([reply]);
        let (removed_reply, removed) = oneshot::channel();
        self.shared.log.remove_outdated(removed_reply)?;
        answer.await.map_err(|_| stopped())??;
        removed.await.map_err(|_| stopped())?
    }

    async fn send(&self, request: Request) -> Result<()> {
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(request).await.map_err(|_| stopped())
    }

    /// Waits until so many bytes may wait for the writer.
    async fn writer_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let kib = (1 + bytes / 1024).min(QUEUE_KIB_MAX) as u32;
        self.room.clone().acquire_many_owned(kib).await.map_err(|_| stopped())
    }

    /// Runs `body` where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.shared.clone();
        blocking(move || body(&shared)).await
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.queue = None;
        self.shared.log.stop();
        let mut threads = self.threads.drain(..);
        if let Some(writer) = threads.next() {
            let _ = writer.join();
        }
        self.flusher.stop();
        self.shared.compactor.stop();
        threads.for_each(|thread| drop(thread.join()));
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("medium", &self.shared.medium).finish_non_exhaustive()
    }
}

impl DurableStore for EmbeddedStore {}

#[async_trait]
impl Commits for EmbeddedStore {
    async fn commit(&self, commit: Commit) -> Result<Committed> {
        let bytes = commit.batches.iter().map(|batch| prepare::bytes(&batch.keys, &batch.columns)).sum();
        let room = self.writer_room(bytes).await?;
        let Commit { tenant, batches, idempotency } = commit;
        let sort = || batches.into_iter().map(PreparedBatch::new).collect();
        let batches = coming(bytes, sort);
        let (reply, answer) = oneshot::channel();
        self.send(Request::Commit(Box::new(CommitRequest { tenant, batches, idempotency, reply, room })))
            .await?;
        answer.await.map_err(|_| stopped())?
    }

    fn retention_bound(&self) -> Option<Timestamp> {
        self.shared.retention_bound().map(Timestamp::from_stored)
    }
}

#[async_trait]
impl LatestReads for EmbeddedStore {
    async fn latest(&self, read: LatestRead<'_>) -> Result<Vec<EntityRows>> {
        let (mut rows, misses) = self.shared.latest.get(read.entity_type, read.groups, read.keys);
        if !misses.is_empty() {
            let entity_type = read.entity_type;
            let mut groups: Vec<RowId> = read.groups.iter().map(|group| group.id).collect();
            groups.sort_unstable();
            let missed: Vec<_> =
                misses.into_iter().map(|miss| (miss, read.keys[miss.key].to_owned())).collect();
            let found = self.blocking(move |shared| Ok(shared.read_latest(entity_type, &groups, missed)));
            for (key, found) in found.await? {
                rows[key] = Some(found);
            }
        }
        Ok(rows.into_iter().map(|rows| rows.expect("every miss was read")).collect())
    }

    fn invalidate(&self, entity_type: EntityTypeId, key: &str) {
        self.shared.latest.invalidate(entity_type, key);
    }
}

#[async_trait]
impl Views for EmbeddedStore {
    async fn snapshot(&self, groups: &[Arc<RowSchema>]) -> Result<Arc<dyn Snapshot>> {
        let snapshot = EmbeddedSnapshot::take(&self.shared, groups);
        if self.shared.published.timeline().settled_reserved < snapshot.settled_at().micros() {
            let settled = snapshot.settled_at().micros();
            self.blocking(move |shared| shared.reserve_settled(settled)).await?;
        }
        Ok(Arc::new(snapshot))
    }

    async fn last_written(&self, groups: &[RowId]) -> Result<Vec<Option<Timestamp>>> {
        let timeline = self.shared.published.timeline();
        Ok(groups.iter().map(|group| timeline.newest(*group).map(Timestamp::from_stored)).collect())
    }
}

/// Prepares what the writer needs. It takes its place in the queue now: commits that a caller has under way at once keep
/// their order, which decides between rows of one moment.
fn coming<T: Send + 'static>(bytes: usize, prepare: impl FnOnce() -> T + Send + 'static) -> Coming<T> {
    if bytes <= SORT_INLINE_BYTES {
        // Sooner done than another thread wakes up.
        return Coming::Ready(prepare());
    }
    let (done, prepared) = oneshot::channel();
    tokio::task::spawn_blocking(move || drop(done.send(prepare())));
    Coming::Promised(prepared)
}

async fn blocking<T: Send + 'static>(body: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(body)
        .await
        .unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
}

fn stopped() -> StoreError {
    StoreError::Stopped
}

/// An I/O error with what was being done.
fn storage_error(
    verb: &str,
    what: impl fmt::Display,
    error: impl Into<Box<dyn Error + Send + Sync>>,
) -> StoreError {
    StoreError::unavailable(format!("{verb} {what}"), error)
}
