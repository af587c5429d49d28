//! The partitions that this process reads: readers begin when one is assigned, and end when it is revoked or lost.

use super::{
    Shared,
    failure::{Failure, Result},
    feed::Feed,
    reader::Reader,
};
use crate::{
    error::{self, Error},
    serving::streams::ReaderStatus,
    store::{
        log::{Assignment, Assignments, PartitionReader},
        readers::{Purpose, ReaderId, ReaderState},
    },
};
use std::{
    collections::HashMap,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// How long a reader waits before it begins again after a failure; doubled each time up to the maximum.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// All partitions that are assigned now.
pub struct Partitions {
    shared: Arc<Shared>,
    running: HashMap<u32, Running>,
    /// Partitions whose readers are ending.
    ending: JoinSet<()>,
}

/// An assigned partition, and the end of its readers: the receiver ends when the last of them did.
struct Running {
    assigned: Assigned,
    ended: mpsc::Receiver<Infallible>,
}

/// What the readers of one assigned partition share.
#[derive(Clone)]
pub struct Assigned {
    pub shared: Arc<Shared>,
    pub partition: u32,
    pub stop: Stop,
    /// Held by each reader until it ended.
    _alive: mpsc::Sender<Infallible>,
}

/// Tells the readers of a partition to end.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Commit what was judged, then end.
    pub hand_over: CancellationToken,
    /// End at once: somebody else reads the partition already.
    pub lost: CancellationToken,
}

impl Stop {
    fn is_asked(&self) -> bool {
        self.hand_over.is_cancelled() || self.lost.is_cancelled()
    }

    async fn asked(&self) {
        tokio::select! {
            () = self.hand_over.cancelled() => {}
            () = self.lost.cancelled() => {}
        }
    }
}

impl Partitions {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, running: HashMap::new(), ending: JoinSet::new() }
    }

    /// Follows the assignments until the process stops, then ends all readers.
    pub async fn follow(mut self, mut assignments: Box<dyn Assignments>) {
        loop {
            let next = tokio::select! {
                () = self.shared.stop.cancelled() => break,
                next = assignments.next() => next,
            };
            let taken = match next {
                Ok(assignment) => self.take(assignment).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = taken {
                tracing::error!(%error, "partitions of the event log cannot be taken up; it is tried again");
                tokio::time::sleep(RETRY_MIN).await;
            }
        }
        let partitions: Vec<u32> = self.running.keys().copied().collect();
        partitions.into_iter().for_each(|partition| self.end(partition, None));
        while self.ending.join_next().await.is_some() {}
    }

    /// Does what an assignment says.
    pub async fn take(&mut self, assignment: Assignment) -> error::Result<()> {
        match assignment {
            Assignment::Assigned { partition, reader } => self.begin(partition, reader).await?,
            Assignment::Revoked { partition, done } => {
                if let Some(running) = self.running.get(&partition) {
                    running.assigned.stop.hand_over.cancel();
                }
                self.end(partition, Some(done));
            }
            Assignment::Lost { partition } => {
                if let Some(running) = self.running.get(&partition) {
                    running.assigned.stop.lost.cancel();
                }
                self.end(partition, None);
            }
        }
        Ok(())
    }

    /// Starts the live reader of a partition, and goes on with the backfills that are under way.
    async fn begin(&mut self, partition: u32, log: Box<dyn PartitionReader>) -> error::Result<()> {
        let shared = self.shared.clone();
        let stop = Stop { hand_over: shared.stop.child_token(), lost: CancellationToken::new() };
        let (alive, ended) = mpsc::channel(1);
        let assigned = Assigned { shared: shared.clone(), partition, stop, _alive: alive };
        let live = ReaderId { partition, purpose: Purpose::Live };
        let mut states = shared.progress.readers().await?;
        states.retain(|state| state.reader.partition == partition);
        shared.streams.begin(partition);
        let committed = states.iter().find(|state| state.reader == live).cloned();
        let end_offset = shared.source.extent(partition).await?.end;
        // So that nobody takes a reader that is still loading for one that has caught up.
        let committed = committed.unwrap_or_else(|| ReaderState::new(live));
        shared.streams.set_status(ReaderStatus::of(&committed, end_offset));
        assigned.spawn(live, Some(log))?;
        for state in states.iter().filter(|state| state.reader != live && !state.done) {
            assigned.spawn(state.reader, None)?;
        }
        self.running.insert(partition, Running { assigned, ended });
        Ok(())
    }

    /// Forgets a partition, and says so once its readers have ended.
    fn end(&mut self, partition: u32, done: Option<oneshot::Sender<()>>) {
        let streams = self.shared.streams.clone();
        let running = self.running.remove(&partition);
        self.ending.spawn(async move {
            if let Some(Running { assigned, mut ended }) = running {
                drop(assigned);
                let _ = ended.recv().await;
                streams.end(partition);
            }
            if let Some(done) = done {
                let _ = done.send(());
            }
        });
    }
}

impl Assigned {
    /// Runs a reader on a thread of its own, with a runtime that only knows the time: it computes more than it waits, and
    /// must not hold up calls. What it reads and writes runs on the main runtime. Without a `log` it asks for one.
    pub fn spawn(&self, id: ReaderId, log: Option<Box<dyn PartitionReader>>) -> error::Result<()> {
        let assigned = self.clone();
        let runtime =
            runtime::Builder::new_current_thread().enable_time().build().map_err(Error::internal)?;
        let name = match id.purpose {
            Purpose::Live => format!("larder-windows-{}", id.partition),
            Purpose::Backfill(group) => format!("larder-fill-{}-{}", id.partition, group),
        };
        let body = move || {
            let reading = AssertUnwindSafe(|| runtime.block_on(read_until_ended(&assigned, id, log)));
            if catch_unwind(reading).is_err() && id.purpose == Purpose::Live {
                let error = Error::internal(
                    "the reader of the partition failed; its log says where: restart the server",
                );
                assigned.shared.streams.stalled(id.partition, error);
            }
        };
        thread::Builder::new().name(name).spawn(body).map_err(Error::internal)?;
        Ok(())
    }
}

/// Reads until told to end, until done, or until fenced; begins again from the last commit after any other failure.
async fn read_until_ended(assigned: &Assigned, id: ReaderId, mut log: Option<Box<dyn PartitionReader>>) {
    let (shared, partition) = (&assigned.shared, assigned.partition);
    let mut retry = RETRY_MIN;
    let mut noted = String::new();
    while !assigned.stop.is_asked() {
        let mut attempt = Attempt { assigned, id, epoch: None, has_read: false };
        let error = match attempt.run(&mut log).await {
            Ok(()) => return,
            Err(Failure::Fenced) => {
                tracing::warn!(
                    partition,
                    purpose = ?id.purpose,
                    "another reader has taken over; this one ends, and reads the partition again when it is assigned anew"
                );
                if id.purpose == Purpose::Live {
                    shared.streams.fenced(partition);
                }
                return;
            }
            Err(Failure::Error(error)) => error,
        };
        if assigned.stop.is_asked() {
            tracing::warn!(partition, %error, "a reader of the event log stopped without its last commit");
            return;
        }
        tracing::error!(
            partition,
            purpose = ?id.purpose,
            %error,
            "a reader of the event log failed; it begins again from its last commit"
        );
        if attempt.has_read {
            retry = RETRY_MIN;
        }
        let why = error.to_string();
        if let Some(epoch) = attempt.epoch
            && noted != why
        {
            let (progress, text) = (shared.progress.clone(), why.clone());
            let note = shared.run(async move { progress.note_stalled(id, epoch, &text).await });
            match note.await {
                Ok(()) => noted = why,
                Err(error) => tracing::warn!(partition, ?error, "cannot note that a reader stalls"),
            }
        }
        if id.purpose == Purpose::Live {
            shared.streams.stalled(partition, error);
        }
        tokio::select! {
            () = assigned.stop.asked() => return,
            () = tokio::time::sleep(retry) => {}
        }
        retry = (retry * 2).min(RETRY_MAX);
    }
}

/// One life of a reader: from its claim to its end, or a failure.
struct Attempt<'a> {
    assigned: &'a Assigned,
    id: ReaderId,
    epoch: Option<u64>,
    /// It came so far that it read records.
    has_read: bool,
}

impl Attempt<'_> {
    async fn run(&mut self, log: &mut Option<Box<dyn PartitionReader>>) -> Result<()> {
        let shared = &self.assigned.shared;
        let (id, partition) = (self.id, self.assigned.partition);
        let progress = shared.progress.clone();
        let claim = shared.run(async move { progress.claim(id).await }).await?;
        self.epoch = Some(claim.epoch);
        let mut reader = Reader::load(self.assigned.clone(), id, claim)?;
        let taken = match log.take() {
            Some(log) => log,
            None => {
                let source = shared.source.clone();
                shared.run(async move { source.reader(partition).await }).await?
            }
        };
        let mut feed = Feed::start(&shared.runtime, taken, reader.next_offset());
        self.has_read = true;
        let ended = reader.run(&mut feed).await;
        *log = feed.stop().await;
        ended
    }
}
