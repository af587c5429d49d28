//! What became of the records of one partition, kept for the producers that wait to know it.

use crate::{
    error::{Error, Result},
    window::{DeadReason, Judgement},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
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
    /// By position among the records asked for, and why; None = it could not be decoded.
    pub dead: Vec<(usize, Option<DeadReason>)>,
}

/// The outcomes of one partition.
#[derive(Debug)]
pub struct Verdicts {
    kept: Mutex<Kept>,
    /// Everything before this offset is judged.
    next: watch::Sender<u64>,
}

/// Outcomes from `first` on, as long as a producer may ask for them.
#[derive(Debug, Default)]
struct Kept {
    first: u64,
    outcomes: VecDeque<RecordOutcome>,
    /// Producers that wait, by the first offset that they may ask for.
    waiting: BTreeMap<u64, usize>,
    reading: Reading,
}

/// Whether the reader goes on.
#[derive(Debug, Default)]
enum Reading {
    #[default]
    Active,
    /// It tries again and again; producers are refused meanwhile.
    Stalled(Error),
    /// Another process reads the partition, or nobody does.
    Ended,
}

impl Verdicts {
    pub fn new() -> Self {
        Self { kept: Mutex::default(), next: watch::Sender::new(0) }
    }

    /// From now on outcomes are kept until [`Verdicts::unsubscribe`], which takes the offset that this answers. Refused
    /// while the reader is stalled, so that its log does not grow without end; None = nobody reads the partition here.
    pub fn subscribe(&self) -> Result<Option<u64>> {
        let mut kept = self.kept();
        match &kept.reading {
            Reading::Stalled(error) => return Err(error.clone()),
            Reading::Ended => return Ok(None),
            Reading::Active => {}
        }
        let next = kept.next();
        *kept.waiting.entry(next).or_default() += 1;
        Ok(Some(next))
    }

    pub fn unsubscribe(&self, from: u64) {
        let mut kept = self.kept();
        if let Some(count) = kept.waiting.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                kept.waiting.remove(&from);
            }
        }
        kept.trim();
    }

    /// The reader judged records from `first` on, without a gap. Those that were judged before are passed over.
    pub fn judged(&self, first: u64, outcomes: &[RecordOutcome]) {
        let next = {
            let mut kept = self.kept();
            if first > kept.next() {
                kept.first = first;
                kept.outcomes.clear();
            }
            let skip = (kept.next() - first).min(outcomes.len() as u64) as usize;
            kept.outcomes.extend(&outcomes[skip..]);
            kept.reading = Reading::Active;
            kept.trim();
            kept.next()
        };
        self.next.send_if_modified(|known| std::mem::replace(known, next) != next);
    }

    /// Everything before this offset is judged.
    pub fn next_offset(&self) -> u64 {
        self.kept().next()
    }

    /// The reader cannot go on: producers that wait or come are told why.
    pub fn stall(&self, error: Error) {
        self.kept().reading = Reading::Stalled(error);
        self.next.send_modify(|_| {});
    }

    pub fn resume(&self) {
        let mut kept = self.kept();
        if matches!(kept.reading, Reading::Stalled(_)) {
            kept.reading = Reading::Active;
        }
    }

    /// The partition is not read here any more: nobody waits for its outcomes.
    pub fn end(&self) {
        self.kept().reading = Reading::Ended;
        self.next.send_modify(|_| {});
    }

    pub fn is_active(&self) -> bool {
        matches!(self.kept().reading, Reading::Active)
    }

    /// Waits until a record is judged, or until nobody here will judge it.
    pub async fn wait(&self, offset: u64) -> Result<()> {
        if self.is_known(offset)? {
            return Ok(());
        }
        let mut next = self.next.subscribe();
        while !self.is_known(offset)? {
            next.changed().await.map_err(Error::internal)?;
        }
        Ok(())
    }

    fn is_known(&self, offset: u64) -> Result<bool> {
        let kept = self.kept();
        match &kept.reading {
            _ if offset < kept.next() => Ok(true),
            Reading::Active => Ok(false),
            Reading::Ended => Ok(true),
            Reading::Stalled(error) => Err(durable_but(error.clone())),
        }
    }

    /// Adds the outcomes of records, which were waited for, by their positions.
    pub fn count(
        &self,
        records: impl Iterator<Item = (usize, u64)>,
        counts: &mut JudgedCounts,
    ) -> Result<()> {
        let kept = self.kept();
        for (position, offset) in records {
            match kept.outcome(offset) {
                Some(outcome) => counts.add(position, outcome),
                // It is durable, and whoever reads the partition now judges it.
                None if offset >= kept.next() => {}
                None => return Err(Error::internal("an outcome was dropped while a producer waited for it")),
            }
        }
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn next(&self) -> u64 {
        self.first + self.outcomes.len() as u64
    }

    fn outcome(&self, offset: u64) -> Option<RecordOutcome> {
        let at = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.outcomes.get(at).copied()
    }

    /// Drops what no producer can ask for.
    fn trim(&mut self) {
        let needed = self.waiting.first_key_value().map_or(self.next(), |(from, _)| *from);
        let over = needed.saturating_sub(self.first).min(self.outcomes.len() as u64);
        self.outcomes.drain(..over as usize);
        self.first += over;
    }
}

impl JudgedCounts {
    fn add(&mut self, position: usize, outcome: RecordOutcome) {
        match outcome {
            RecordOutcome::Event(Judgement::Counted) | RecordOutcome::Tick => {}
            RecordOutcome::Event(Judgement::Unused) => self.unused += 1,
            RecordOutcome::Event(Judgement::Late) => self.late += 1,
            RecordOutcome::Event(Judgement::Duplicate) => self.duplicate += 1,
            RecordOutcome::Event(Judgement::Dead(reason)) => self.dead.push((position, Some(reason))),
            RecordOutcome::Dead => self.dead.push((position, None)),
        }
    }
}

/// The events are in the log, and are judged once its reader goes on.
fn durable_but(mut error: Error) -> Error {
    error.message = format!(
        "the events are durable and will be counted once their partition goes on, which it does not now: {}",
        error.message
    );
    error
}
