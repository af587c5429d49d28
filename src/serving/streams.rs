//! How streams stand: written by whoever reads the log, read by producers that wait for their events to be judged, by
//! administrators and by metrics.
//!
//! ```text
//!   producer: hold ─> append ─> wait until judged ─> count its verdicts ─> let go
//!   reader:                     … judges records in order, a byte each, kept while a hold may need them
//! ```

use crate::{
    error::{Error, Result},
    feature::{GroupId, TenantId, Timestamp},
    store::events::Place,
    telemetry::StreamSample,
    window::{DeadReason, Judgement, Ledger, Memory},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// All partitions of the log that are read here. None = another process reads them, and nobody can wait.
#[derive(Debug, Default)]
pub struct Streams {
    partitions: Vec<Partition>,
    backfills: Mutex<Vec<BackfillStatus>>,
}

#[derive(Debug)]
struct Partition {
    judged: Mutex<Judged>,
    /// Everything before this offset is judged.
    next: watch::Sender<u64>,
    status: Mutex<StreamStatus>,
}

/// Verdicts from `first` on, as long as somebody may need them.
#[derive(Debug, Default)]
struct Judged {
    first: u64,
    verdicts: VecDeque<Verdict>,
    /// Producers that wait, by the first offset they may ask for.
    holds: BTreeMap<u64, usize>,
    stalled: Option<Error>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Event(Judgement),
    /// It could not be decoded.
    Dead,
    Tick,
}

/// How often producers' events were judged how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JudgedCounts {
    pub unused: u64,
    pub late: u64,
    pub duplicate: u64,
    /// By position among the places asked for, and why; None = it could not be decoded.
    pub dead: Vec<(usize, Option<DeadReason>)>,
}

/// How one partition stands.
#[derive(Clone, Debug, Default)]
pub struct StreamStatus {
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
    /// Since the start of this process: rows made durable, and rows that retention had no room for.
    pub rows_committed: u64,
    pub rows_dropped: u64,
    /// Counted events whose field a feature could not take, by feature; cells that are null because their dtype cannot hold
    /// them. Of the groups that are loaded.
    pub values_skipped: u64,
    pub cells_overflowed: u64,
    /// Since the start of this process: commits, and how long they took together.
    pub commits: u64,
    pub commit_time: Duration,
    /// Why it does not go on.
    pub stalled: Option<String>,
}

/// A pass over the retained log for groups that were registered later.
#[derive(Clone, Debug)]
pub struct BackfillStatus {
    pub partition: u32,
    /// With their tenants.
    pub groups: Vec<(TenantId, GroupId)>,
    pub next_offset: u64,
    pub end_offset: u64,
    /// The end of the first live window, of the first group.
    pub joins_at: Option<Timestamp>,
    pub done: bool,
    pub ledger: Ledger,
}

/// Keeps the verdicts of records to come until it is dropped.
#[derive(Debug)]
pub struct Hold {
    streams: Arc<Streams>,
    /// By partition, from which offset on.
    from: Vec<u64>,
}

impl Streams {
    pub fn new(partitions: u32) -> Self {
        let partition = |partition| Partition {
            judged: Mutex::default(),
            next: watch::Sender::new(0),
            status: Mutex::new(StreamStatus { partition, ..StreamStatus::default() }),
        };
        Self { partitions: (0..partitions).map(partition).collect(), backfills: Mutex::default() }
    }

    /// Whether the log is read here, so that producers can wait for verdicts.
    pub fn judges(&self) -> bool {
        !self.partitions.is_empty()
    }

    /// From now on verdicts are kept; refused while a partition is stalled, so that its log does not grow without end.
    pub fn hold(self: &Arc<Self>) -> Result<Hold> {
        let mut hold = Hold { streams: self.clone(), from: Vec::with_capacity(self.partitions.len()) };
        for partition in &self.partitions {
            let mut judged = partition.judged();
            if let Some(error) = &judged.stalled {
                return Err(error.clone());
            }
            let next = judged.next();
            *judged.holds.entry(next).or_default() += 1;
            hold.from.push(next);
        }
        Ok(hold)
    }

    /// The reader judged records from `first` on, without a gap. Those that were judged before are passed over.
    pub fn judged(&self, partition: u32, first: u64, verdicts: &[Verdict]) {
        let partition = &self.partitions[partition as usize];
        let next = {
            let mut judged = partition.judged();
            let known = judged.next();
            if first > known {
                judged.first = first;
                judged.verdicts.clear();
            }
            let skip = (judged.next() - first).min(verdicts.len() as u64) as usize;
            judged.verdicts.extend(&verdicts[skip..]);
            judged.stalled = None;
            judged.trim();
            judged.next()
        };
        partition.next.send_if_modified(|known| std::mem::replace(known, next) != next);
    }

    /// The reader cannot go on; who waits is told, and so is who comes.
    pub fn stalled(&self, partition: u32, error: Error) {
        let partition = &self.partitions[partition as usize];
        partition.status().stalled = Some(error.to_string());
        partition.judged().stalled = Some(error);
        partition.next.send_modify(|_| {});
    }

    /// The reader stands here. It is not stalled any more once it has got further, or to the end.
    pub fn set_status(&self, mut status: StreamStatus) {
        let partition = &self.partitions[status.partition as usize];
        let mut known = partition.status();
        if status.next_offset > known.next_offset || status.next_offset >= status.end_offset {
            partition.judged().stalled = None;
        } else {
            status.stalled = known.stalled.take();
        }
        *known = status;
    }

    /// Every partition, in order.
    pub fn statuses(&self) -> Vec<StreamStatus> {
        self.partitions.iter().map(|partition| partition.status().clone()).collect()
    }

    /// What metrics show of each partition.
    pub fn samples(&self) -> Vec<StreamSample> {
        self.statuses().iter().map(StreamStatus::sample).collect()
    }

    /// Puts how a backfill stands, by its partition and first group.
    pub fn set_backfill(&self, status: BackfillStatus) {
        let mut backfills = self.backfills.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&mut BackfillStatus| {
            (known.partition, &known.groups) == (status.partition, &status.groups)
        };
        match backfills.iter_mut().find(same) {
            Some(known) => *known = status,
            None => backfills.push(status),
        }
    }

    pub fn backfills(&self) -> Vec<BackfillStatus> {
        self.backfills.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl StreamStatus {
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
        }
    }
}

impl Hold {
    /// Waits until the records are judged, and counts how.
    pub async fn judged(self, places: &[Place]) -> Result<JudgedCounts> {
        let mut counts = JudgedCounts::default();
        let mut first = 0;
        // One look for each run of places in a partition: mostly all of them.
        for run in places.chunk_by(|a, b| a.partition == b.partition && a.offset < b.offset) {
            let partition = &self.streams.partitions[run[0].partition as usize];
            partition.wait_until_judged(run[run.len() - 1].offset).await?;
            let judged = partition.judged();
            for (position, place) in (first..).zip(run) {
                match judged.verdict(place.offset) {
                    Some(verdict) => counts.add(position, verdict),
                    None => {
                        return Err(Error::internal("a verdict was forgotten while somebody waited for it"));
                    }
                }
            }
            first += run.len();
        }
        Ok(counts)
    }
}

impl JudgedCounts {
    fn add(&mut self, position: usize, verdict: Verdict) {
        match verdict {
            Verdict::Event(Judgement::Counted) | Verdict::Tick => {}
            Verdict::Event(Judgement::Unused) => self.unused += 1,
            Verdict::Event(Judgement::Late) => self.late += 1,
            Verdict::Event(Judgement::Duplicate) => self.duplicate += 1,
            Verdict::Event(Judgement::Dead(reason)) => self.dead.push((position, Some(reason))),
            Verdict::Dead => self.dead.push((position, None)),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        for (partition, from) in self.streams.partitions.iter().zip(&self.from) {
            let mut judged = partition.judged();
            if let Some(count) = judged.holds.get_mut(from) {
                *count -= 1;
                if *count == 0 {
                    judged.holds.remove(from);
                }
            }
            judged.trim();
        }
    }
}

impl Partition {
    fn judged(&self) -> MutexGuard<'_, Judged> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> MutexGuard<'_, StreamStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_until_judged(&self, offset: u64) -> Result<()> {
        if self.is_judged(offset)? {
            return Ok(());
        }
        let mut next = self.next.subscribe();
        while !self.is_judged(offset)? {
            next.changed().await.map_err(Error::internal)?;
        }
        Ok(())
    }

    fn is_judged(&self, offset: u64) -> Result<bool> {
        let judged = self.judged();
        match &judged.stalled {
            _ if offset < judged.next() => Ok(true),
            Some(error) => Err(durable_but(error.clone())),
            None => Ok(false),
        }
    }
}

impl Judged {
    fn next(&self) -> u64 {
        self.first + self.verdicts.len() as u64
    }

    fn verdict(&self, offset: u64) -> Option<Verdict> {
        let at = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.verdicts.get(at).copied()
    }

    /// Forgets what no hold can ask for.
    fn trim(&mut self) {
        let needed = self.holds.first_key_value().map_or(self.next(), |(from, _)| *from);
        let over = needed.saturating_sub(self.first).min(self.verdicts.len() as u64);
        self.verdicts.drain(..over as usize);
        self.first += over;
    }
}

/// The events are in the log, and are judged once it goes on.
fn durable_but(mut error: Error) -> Error {
    error.message = format!(
        "the events are durable and will be counted once their partition goes on, which it does not now: {}",
        error.message
    );
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: Verdict = Verdict::Event(Judgement::Counted);
    const LATE: Verdict = Verdict::Event(Judgement::Late);

    fn at(offset: u64) -> Place {
        Place { partition: 0, offset }
    }

    #[tokio::test]
    async fn verdicts_are_kept_while_somebody_waits() {
        let streams = Arc::new(Streams::new(1));
        streams.judged(0, 0, &[COUNTED; 5]);
        let hold = streams.hold().unwrap();
        streams.judged(0, 3, &[COUNTED, COUNTED, LATE]);
        streams.judged(0, 6, &[LATE, Verdict::Dead]);
        let places = [at(5), at(6), at(7)];
        assert_eq!(
            hold.judged(&places).await.unwrap(),
            JudgedCounts { late: 2, dead: vec![(2, None)], ..JudgedCounts::default() }
        );
        assert_eq!(streams.partitions[0].judged().verdicts.len(), 0);
    }

    #[tokio::test]
    async fn who_waits_is_told_when_a_partition_stalls() {
        let streams = Arc::new(Streams::new(1));
        let hold = streams.hold().unwrap();
        let waiting = tokio::spawn(async move { hold.judged(&[at(0)]).await });
        streams.stalled(0, Error::unavailable("the disk is full"));
        assert!(waiting.await.unwrap().unwrap_err().message.contains("durable"));
        assert!(streams.hold().unwrap_err().message.starts_with("the disk"));
        let status = |next_offset| StreamStatus { next_offset, end_offset: 9, ..StreamStatus::default() };
        streams.set_status(status(0));
        assert!(streams.hold().is_err() && streams.statuses()[0].stalled.is_some(), "it only began again");
        streams.set_status(status(9));
        assert!(streams.hold().is_ok() && streams.statuses()[0].stalled.is_none());
        streams.stalled(0, Error::unavailable("the disk is full"));
        streams.judged(0, 0, &[COUNTED]);
        assert!(streams.hold().is_ok());
    }
}
