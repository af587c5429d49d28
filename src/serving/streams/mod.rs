//! The partitions of the event log that this process reads: producers wait here until their events are judged, readers are
//! asked to commit, and metrics are sampled. How partitions are for everybody is in the store (see `serving::admin`).
//!
//! ```text
//!   producer: subscribe ─> append ─> wait until judged ─> count the outcomes ─> drop the subscription
//!   reader:                          … judges records in order; outcomes are kept while a producer may ask for them
//! ```
//!
//! Nobody waits for a partition that is read elsewhere: its events are durable, and that is all this process knows.

mod verdicts;

pub use verdicts::{JudgedCounts, RecordOutcome};

use self::verdicts::Verdicts;
use crate::{
    error::{Error, Result},
    feature::Timestamp,
    store::{log::RecordId, readers::ReaderState},
    telemetry::StreamSample,
    window::{Ledger, Memory},
};
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// The partitions that are read here.
#[derive(Debug, Default)]
pub struct Streams(RwLock<BTreeMap<u32, Arc<Partition>>>);

#[derive(Debug)]
struct Partition {
    verdicts: Verdicts,
    status: Mutex<ReaderStatus>,
    /// Tells the reader to commit what it has judged.
    commit_asked: Arc<Notify>,
    /// Everything before this offset is durable.
    committed: watch::Sender<u64>,
}

/// How a live reader of this process is doing, for metrics and health.
#[derive(Clone, Debug, Default)]
pub struct ReaderStatus {
    pub partition: u32,
    /// Everything before it is judged.
    pub next_offset: u64,
    /// Everything before it is durable.
    pub committed_offset: u64,
    /// The offset that the next record will get, when the reader last looked.
    pub end_offset: u64,
    pub log_time: Option<Timestamp>,
    pub ledger: Ledger,
    pub memory: Memory,
    /// Since the start of this process: rows made durable, and rows older than what is kept.
    pub rows_committed: u64,
    pub rows_dropped: u64,
    /// Counted events whose field a feature could not take, by feature; cells that are null because their dtype cannot hold
    /// them. Of the groups that are loaded.
    pub values_skipped: u64,
    pub cells_overflowed: u64,
    /// Since the start of this process: commits, and how long they took together.
    pub commits: u64,
    pub commit_time: Duration,
    /// Why it cannot go on; it tries again.
    pub stalled: Option<String>,
    /// Another process took the partition over, and this reader ended.
    pub is_fenced: bool,
}

/// Keeps the outcomes of records to come, in some partitions, until it is dropped.
#[derive(Debug)]
pub struct VerdictSubscription(Vec<Subscribed>);

#[derive(Debug)]
struct Subscribed {
    number: u32,
    partition: Arc<Partition>,
    /// The first offset that may be asked for.
    from: u64,
}

impl Streams {
    /// This process begins to read a partition.
    pub fn begin(&self, number: u32) {
        let partition = Partition {
            verdicts: Verdicts::new(),
            status: Mutex::new(ReaderStatus { partition: number, ..ReaderStatus::default() }),
            commit_asked: Arc::default(),
            committed: watch::Sender::new(0),
        };
        let mut partitions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(number, Arc::new(partition));
    }

    /// This process does not read a partition any more.
    pub fn end(&self, number: u32) {
        let ended = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some(partition) = ended {
            partition.end();
        }
    }

    /// Another process took a partition over. It stays among the statuses, which say so.
    pub fn fenced(&self, number: u32) {
        if let Some(partition) = self.partition(number) {
            partition.status().is_fenced = true;
            partition.end();
        }
    }

    /// From now on the outcomes of records in these partitions are kept, as far as they are read here. Refused while one
    /// of them is stalled.
    pub fn subscribe(&self, numbers: impl IntoIterator<Item = u32>) -> Result<VerdictSubscription> {
        let mut subscription = VerdictSubscription(Vec::new());
        for number in numbers {
            let Some(partition) = self.partition(number) else { continue };
            if let Some(from) = partition.verdicts.subscribe()? {
                subscription.0.push(Subscribed { number, partition, from });
            }
        }
        Ok(subscription)
    }

    /// The reader judged records from `first` on, without a gap. Those that were judged before are passed over.
    pub fn judged(&self, number: u32, first: u64, outcomes: &[RecordOutcome]) {
        if let Some(partition) = self.partition(number) {
            partition.verdicts.judged(first, outcomes);
        }
    }

    /// The reader cannot go on: producers that wait or come are told why.
    pub fn stalled(&self, number: u32, error: Error) {
        if let Some(partition) = self.partition(number) {
            partition.status().stalled = Some(error.to_string());
            partition.verdicts.stall(error);
            partition.committed.send_modify(|_| {});
        }
    }

    /// Puts how a reader is doing. It is not stalled any more once it has got further, or to the end.
    pub fn set_status(&self, mut status: ReaderStatus) {
        let Some(partition) = self.partition(status.partition) else { return };
        let mut known = partition.status();
        if status.next_offset > known.next_offset || status.next_offset >= status.end_offset {
            partition.verdicts.resume();
        } else {
            status.stalled = known.stalled.take();
        }
        partition.committed.send_if_modified(|committed| {
            std::mem::replace(committed, status.committed_offset) != status.committed_offset
        });
        *known = status;
    }

    /// Notified when the reader of a partition is to commit what it has judged.
    pub fn commit_asked(&self, number: u32) -> Arc<Notify> {
        self.partition(number).map(|partition| partition.commit_asked.clone()).unwrap_or_default()
    }

    /// Waits until everything that was judged here before this call is durable, but no longer than `wait`.
    pub async fn commit_judged(&self, wait: Duration) {
        let all = self.partitions();
        let commits = all.iter().map(|partition| partition.commit_judged());
        let _ = tokio::time::timeout(wait, join_all(commits)).await;
    }

    /// Every partition that is read here, in order.
    pub fn statuses(&self) -> Vec<ReaderStatus> {
        self.partitions().iter().map(|partition| partition.status().clone()).collect()
    }

    /// What metrics show of each partition.
    pub fn samples(&self) -> Vec<StreamSample> {
        self.statuses().iter().map(ReaderStatus::sample).collect()
    }

    /// Why events are not counted as they should be; none = they are.
    pub fn trouble(&self) -> Option<String> {
        self.statuses().into_iter().find_map(|status| match status.is_fenced {
            true => Some(format!(
                "another process reads partition {} of the event log, which this one was told to read; run one of them",
                status.partition
            )),
            false => status.stalled,
        })
    }

    fn partition(&self, number: u32) -> Option<Arc<Partition>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn partitions(&self) -> Vec<Arc<Partition>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Partition {
    fn status(&self) -> MutexGuard<'_, ReaderStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.verdicts.end();
        self.committed.send_modify(|_| {});
    }

    async fn commit_judged(&self) {
        let judged = self.verdicts.next_offset();
        let mut committed = self.committed.subscribe();
        if *committed.borrow() < judged && self.verdicts.is_active() {
            self.commit_asked.notify_one();
            let is_done = |committed: &u64| *committed >= judged || !self.verdicts.is_active();
            let _ = committed.wait_for(is_done).await;
        }
    }
}

impl ReaderStatus {
    /// A reader that begins where it committed last.
    pub fn of(committed: &ReaderState, end_offset: u64) -> Self {
        Self {
            partition: committed.reader.partition,
            next_offset: committed.next_offset,
            committed_offset: committed.next_offset,
            end_offset,
            log_time: committed.log_time,
            ledger: committed.summary.ledger,
            ..Self::default()
        }
    }

    fn sample(&self) -> StreamSample {
        let Ledger { dead, duplicate, late, unused, counted } = self.ledger;
        StreamSample {
            partition: self.partition,
            lag: self.end_offset.saturating_sub(self.next_offset),
            events: [
                ("counted", counted),
                ("unused", unused),
                ("late", late),
                ("duplicate", duplicate),
                ("dead", dead),
            ],
            rows: self.rows_committed,
            rows_dropped: self.rows_dropped,
            values_skipped: self.values_skipped,
            cells_overflowed: self.cells_overflowed,
            commits: self.commits,
            commit_time: self.commit_time,
            entities: self.memory.entities as u64,
            panes: self.memory.panes as u64,
            state_bytes: self.memory.bytes as u64,
            is_stalled: self.stalled.is_some(),
            is_fenced: self.is_fenced,
        }
    }
}

impl VerdictSubscription {
    /// Waits until the records are judged, and counts how. Those in partitions that are read elsewhere are not counted.
    pub async fn judged(self, records: &[RecordId]) -> Result<JudgedCounts> {
        let mut counts = JudgedCounts::default();
        let mut first = 0;
        // One look for each run of records in a partition: mostly all of them.
        for run in records.chunk_by(|a, b| a.partition == b.partition && a.offset < b.offset) {
            if let Some(of) = self.0.iter().find(|of| of.number == run[0].partition) {
                let verdicts = &of.partition.verdicts;
                verdicts.wait(run[run.len() - 1].offset).await?;
                verdicts.count((first..).zip(run.iter().map(|record| record.offset)), &mut counts)?;
            }
            first += run.len();
        }
        Ok(counts)
    }
}

impl Drop for VerdictSubscription {
    fn drop(&mut self) {
        self.0.iter().for_each(|of| of.partition.verdicts.unsubscribe(of.from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Judgement;

    const COUNTED: RecordOutcome = RecordOutcome::Event(Judgement::Counted);
    const LATE: RecordOutcome = RecordOutcome::Event(Judgement::Late);

    fn at(partition: u32, offset: u64) -> RecordId {
        RecordId { partition, offset }
    }

    fn reading(partitions: u32) -> Streams {
        let streams = Streams::default();
        (0..partitions).for_each(|partition| streams.begin(partition));
        streams
    }

    #[tokio::test]
    async fn outcomes_are_kept_while_somebody_waits() {
        let streams = reading(1);
        streams.judged(0, 0, &[COUNTED; 5]);
        let subscription = streams.subscribe([0]).unwrap();
        streams.judged(0, 3, &[COUNTED, COUNTED, LATE]);
        streams.judged(0, 6, &[LATE, RecordOutcome::Dead]);
        assert_eq!(
            subscription.judged(&[at(0, 5), at(0, 6), at(0, 7)]).await.unwrap(),
            JudgedCounts { late: 2, dead: vec![(2, None)], ..JudgedCounts::default() }
        );
        // Nobody waits any more, so nothing of it is kept.
        let subscription = streams.subscribe([0]).unwrap();
        assert!(subscription.judged(&[at(0, 7)]).await.unwrap_err().message.contains("dropped"));
    }

    #[tokio::test]
    async fn a_stalled_partition_holds_its_own_producers_alone() {
        let streams = reading(2);
        let subscription = streams.subscribe([0]).unwrap();
        let waiting = tokio::spawn(async move { subscription.judged(&[at(0, 0)]).await });
        streams.stalled(0, Error::unavailable("the disk is full"));
        assert!(waiting.await.unwrap().unwrap_err().message.contains("durable"));
        assert!(streams.subscribe([1, 0]).unwrap_err().message.starts_with("the disk"));
        assert!(streams.subscribe([1]).is_ok());
        let status = |next_offset| ReaderStatus { next_offset, end_offset: 9, ..ReaderStatus::default() };
        streams.set_status(status(0));
        assert!(streams.subscribe([0]).is_err() && streams.trouble().is_some(), "it only began again");
        streams.set_status(status(9));
        assert!(streams.subscribe([0]).is_ok() && streams.trouble().is_none());
        streams.stalled(0, Error::unavailable("the disk is full"));
        streams.judged(0, 0, &[COUNTED]);
        assert!(streams.subscribe([0]).is_ok());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_partition_that_is_read_elsewhere() {
        let streams = reading(2);
        let subscription = streams.subscribe([0, 1, 7]).unwrap();
        streams.judged(0, 0, &[LATE]);
        let waiting = tokio::spawn(async move { subscription.judged(&[at(7, 3), at(0, 0), at(1, 0)]).await });
        tokio::task::yield_now().await;
        streams.end(1);
        assert_eq!(waiting.await.unwrap().unwrap(), JudgedCounts { late: 1, ..JudgedCounts::default() });
        streams.fenced(0);
        assert_eq!(streams.subscribe([0]).unwrap().0.len(), 0);
        assert!(streams.trouble().unwrap().contains("another process reads partition 0"));
    }

    #[tokio::test]
    async fn whoever_asks_for_commits_waits_for_what_is_judged() {
        let streams = Arc::new(reading(1));
        streams.judged(0, 0, &[COUNTED; 5]);
        let (asked, asking) = (streams.commit_asked(0), streams.clone());
        let committed = tokio::spawn(async move { asking.commit_judged(Duration::from_secs(60)).await });
        asked.notified().await;
        let status = |committed_offset| ReaderStatus { committed_offset, ..ReaderStatus::default() };
        streams.set_status(status(4));
        assert!(!committed.is_finished());
        streams.set_status(status(5));
        committed.await.unwrap();
        streams.commit_judged(Duration::from_secs(60)).await;
        streams.judged(0, 5, &[COUNTED]);
        streams.stalled(0, Error::unavailable("the disk is full"));
        streams.commit_judged(Duration::from_secs(60)).await;
    }
}
