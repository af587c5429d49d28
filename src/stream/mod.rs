//! Drives aggregators over any event log: each event becomes rows exactly once.
//!
//! ```text
//!   partition 0 ── reader (live) ───────────── aggregator ─> rows, state, late, dead, next offset: one commit
//!               ├─ reader (backfill of group 7) ─ aggregator ─> …      up to the first live window, then done
//!   partition 1 ── reader (live) …                                     a thread each, nothing shared
//! ```
//!
//! The log says which partitions are ours (see `partitions`). A reader claims its partition in the store, which fences
//! whoever read it before, loads what was committed, and reads on from there. Whatever goes wrong, it begins again from the
//! last commit: nothing is lost or counted twice, because results and progress are one transaction, and results depend on
//! the log alone. Only a reader that was fenced itself ends: somebody else goes on.
//!
//! The live reader also loads groups of windowed features as they are registered. Where the partition had events before, it
//! opens a backfill in the same commit: the same reader code over the retained log, for the windows before the first live
//! one.

mod commit;
mod failure;
mod feed;
mod partitions;
mod reader;
mod records;
mod registration;
mod saves;
mod ticks;

use crate::{
    clock::Clock,
    error::{Error, Result},
    registry::Registry,
    serving::{Service, streams::Streams},
    store::{
        DurableStore,
        log::{EventSource, Ticks},
        readers::Progress,
    },
    window::Options,
};
use failure::Failure;
use futures_util::FutureExt;
use partitions::Partitions;
use std::sync::Arc;
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// What all readers of this process share.
pub(crate) struct Shared {
    registry: Arc<Registry>,
    store: Arc<dyn DurableStore>,
    source: Arc<dyn EventSource>,
    ticks: Arc<dyn Ticks>,
    progress: Arc<dyn Progress>,
    streams: Arc<Streams>,
    clock: Clock,
    options: Options,
    stop: CancellationToken,
    /// The main runtime: everything that reads or writes runs there.
    runtime: Handle,
}

/// The readers of all partitions. They stop when [`Aggregation::stop`] is called.
pub struct Aggregation {
    shared: Arc<Shared>,
    following: Option<JoinHandle<()>>,
}

impl Aggregation {
    /// Begins to read what the log assigns. What it assigns at once is begun when this returns.
    pub async fn start(service: &Service, options: Options) -> Result<Self> {
        let shared = Arc::new(Shared {
            registry: service.registry.clone(),
            store: service.store.clone(),
            source: service.events.log.source.clone(),
            ticks: service.events.log.ticks.clone(),
            progress: service.events.progress.clone(),
            streams: service.events.streams.clone(),
            clock: service.clock.clone(),
            options,
            stop: CancellationToken::new(),
            runtime: Handle::current(),
        });
        let mut assignments = shared.source.assignments().await?;
        let mut partitions = Partitions::new(shared.clone());
        while let Some(assignment) = assignments.next().now_or_never() {
            partitions.take(assignment?).await?;
        }
        let following = tokio::spawn(partitions.follow(assignments));
        Ok(Self { shared, following: Some(following) })
    }

    /// Lets every reader commit what it has, and waits for them.
    pub async fn stop(mut self) -> Result<()> {
        self.shared.stop.cancel();
        match self.following.take() {
            Some(following) => following.await.map_err(Error::internal),
            None => Ok(()),
        }
    }
}

impl Drop for Aggregation {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    /// Runs what reads or writes on the main runtime, for a reader's thread.
    async fn run<T, E>(&self, work: impl Future<Output = Result<T, E>> + Send + 'static) -> failure::Result<T>
    where
        T: Send + 'static,
        E: Send + 'static,
        Failure: From<E>,
    {
        Ok(self.runtime.spawn(work).await.map_err(Error::internal)??)
    }
}
