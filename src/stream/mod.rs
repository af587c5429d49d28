//! Drives aggregators over any event log: each event becomes rows exactly once.
//!
//! ```text
//!   partition 0 ── reader (live) ───────────── aggregator ─> rows, state, late, dead, next offset: one commit
//!               ├─ reader (backfill of group 7) ─ aggregator ─> …      up to the first live window, then done
//!   partition 1 ── reader (live) …                                     a thread each, nothing shared
//! ```
//!
//! A reader claims its place in the store, which fences whoever held it before, loads what was committed, and reads on from
//! there. Whatever goes wrong, it begins again from the last commit: nothing is lost or counted twice, because results and
//! progress are one transaction, and results depend on the log alone.
//!
//! The live reader also loads groups of windowed features as they are registered. Where the partition had events before, it
//! opens a backfill in the same commit: the same reader code over the retained log, for the windows before the first live
//! one.

mod commit;
mod reader;
mod registration;
mod saves;

use crate::{
    clock::Clock,
    error::{Error, Result},
    registry::Registry,
    serving::{
        LastWritten, Service,
        streams::{ReaderStatus, Streams},
    },
    store::{
        DurableStore,
        events::{EventLog, Purpose, ReaderId, ReaderState, StreamStore},
    },
    window::Options,
};
use reader::Reader;
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::runtime;
use tokio_util::sync::CancellationToken;

/// How long a reader waits before it begins again after a failure; doubled each time up to the maximum.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What all readers of this process share.
pub(crate) struct Shared {
    registry: Arc<Registry>,
    store: Arc<dyn DurableStore>,
    log: Arc<dyn EventLog>,
    stream_store: Arc<dyn StreamStore>,
    streams: Arc<Streams>,
    last_written: Arc<LastWritten>,
    clock: Clock,
    options: Options,
    stop: CancellationToken,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The readers of all partitions. They stop when [`Aggregation::stop`] is called.
pub struct Aggregation(Arc<Shared>);

impl Aggregation {
    /// Starts a live reader for every partition, and goes on with the backfills that were under way.
    pub async fn start(service: &Service, options: Options) -> Result<Self> {
        let shared = Arc::new(Shared {
            registry: service.registry.clone(),
            store: service.store.clone(),
            log: service.events.log.clone(),
            stream_store: service.events.store.clone(),
            streams: service.events.streams.clone(),
            last_written: service.last_written.clone(),
            clock: service.clock.clone(),
            options,
            stop: CancellationToken::new(),
            threads: Mutex::default(),
        });
        let states = shared.stream_store.readers().await?;
        for state in &states {
            if state.reader.purpose != Purpose::Live && !state.done {
                shared.spawn(state.reader)?;
            }
        }
        for partition in 0..shared.log.partitions() {
            shared.streams.begin(partition);
            let reader = ReaderId { partition, purpose: Purpose::Live };
            let committed = states.iter().find(|state| state.reader == reader);
            let state = committed.cloned().unwrap_or_else(|| ReaderState::new(reader));
            // So that nobody takes a reader that is still loading for one that has caught up.
            shared.streams.set_status(ReaderStatus {
                partition,
                committed_offset: state.next_offset,
                next_offset: state.next_offset,
                end_offset: shared.log.bounds(partition).await?.end,
                log_time: state.log_time,
                ledger: state.summary.ledger,
                ..ReaderStatus::default()
            });
            shared.spawn(reader)?;
        }
        Ok(Self(shared))
    }

    /// Lets every reader commit what it has, and waits for them.
    pub async fn stop(self) -> Result<()> {
        self.0.stop.cancel();
        let shared = self.0.clone();
        let joined = tokio::task::spawn_blocking(move || {
            // Readers may open others until they have stopped.
            while let Some(thread) = shared.threads().pop() {
                let _ = thread.join();
            }
        });
        joined.await.map_err(Error::internal)
    }
}

impl Drop for Aggregation {
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}

impl Shared {
    /// Runs a reader on a thread and a runtime of its own: it computes more than it waits, and must not hold up calls.
    fn spawn(self: &Arc<Self>, id: ReaderId) -> Result<()> {
        let shared = self.clone();
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::internal)?;
        let name = match id.purpose {
            Purpose::Live => format!("larder-windows-{}", id.partition),
            Purpose::Backfill(group) => format!("larder-fill-{}-{}", id.partition, group),
        };
        let body = move || runtime.block_on(read_until_stopped(&shared, id));
        let thread = thread::Builder::new().name(name).spawn(body).map_err(Error::internal)?;
        self.threads().push(thread);
        Ok(())
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads on until told to stop or done; begins again from the last commit after a failure.
async fn read_until_stopped(shared: &Arc<Shared>, id: ReaderId) {
    let mut retry = RETRY_MIN;
    let mut noted = String::new();
    loop {
        let mut epoch = None;
        let reading = async {
            let claim = shared.stream_store.claim(id).await?;
            epoch = Some(claim.epoch);
            let mut reader = Reader::load(shared.clone(), id, claim)?;
            retry = RETRY_MIN;
            reader.run().await
        };
        let Err(error) = reading.await else { return };
        if shared.stop.is_cancelled() {
            tracing::warn!(partition = id.partition, %error, "a reader of the event log stopped without its last commit");
            return;
        }
        tracing::error!(
            partition = id.partition,
            purpose = ?id.purpose,
            %error,
            "a reader of the event log failed; it begins again from its last commit"
        );
        let why = error.to_string();
        if let Some(epoch) = epoch
            && noted != why
        {
            match shared.stream_store.note_stalled(id, epoch, &why).await {
                Ok(()) => noted = why,
                Err(error) => {
                    tracing::warn!(partition = id.partition, %error, "cannot note that a reader stalls")
                }
            }
        }
        if id.purpose == Purpose::Live {
            shared.streams.stalled(id.partition, error);
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(retry) => {}
        }
        retry = (retry * 2).min(RETRY_MAX);
    }
}
