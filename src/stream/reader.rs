//! One reader of one partition: from records to commits.

use super::{
    commit::{Pending, UncountedEvents},
    failure::Result,
    feed::Feed,
    partitions::Assigned,
    registration::Wanted,
    saves::{self, Saves},
    ticks::TickSchedule,
};
use crate::{
    error::Error,
    event::FieldValue,
    feature::{RowId, RowSchema, Timestamp, WindowStart},
    registry::WindowedGroupsSeen,
    serving::streams::ReaderStatus,
    store::{
        log::BatchEnd,
        readers::{Claim, Purpose, ReaderId, ReaderState, Save},
    },
    window::{Aggregator, Span},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// State is committed at least that often, so that a restart has little to read again.
const COMMIT_EVENTS_MAX: u64 = 2_000_000;
/// Progress is committed at least that often where there is some: other processes see no other.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Late events and dead letters wait no longer for a commit.
const SIDE_WAIT: Duration = Duration::from_millis(500);
/// How often to look without being told.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A reader that has claimed its place.
pub struct Reader {
    pub(super) assigned: Assigned,
    pub(super) id: ReaderId,
    pub(super) epoch: u64,
    pub(super) aggregator: Aggregator,
    pub(super) saves: Saves,
    pub(super) uncounted: UncountedEvents,
    /// Readers that the next commit opens.
    pub(super) opens: Vec<(ReaderState, Save)>,
    pub(super) pending: Option<Pending>,
    /// Schemas of the groups that rows may come for.
    pub(super) schemas: HashMap<RowId, Arc<RowSchema>>,
    pub(super) status: ReaderStatus,
    /// What is registered was looked at so far.
    registrations_seen: WindowedGroupsSeen,
    pub(super) events_since_commit: u64,
    /// Groups were loaded since the last commit.
    pub(super) has_new_groups: bool,
    pub(super) committed_at: Instant,
    /// Somebody wants to see what was judged.
    pub(super) commit_asked: bool,
    /// What is committed says that the reader stalls: the next commit takes it back.
    pub(super) was_stalled: bool,
    ticks: TickSchedule,
    /// What the newest batch said of the end of the partition.
    end: Option<BatchEnd>,
    /// Everything before it was read. Offsets at the end may hold no record.
    read_to: u64,
    /// Kept for its memory.
    pub(super) values: Vec<FieldValue<'static>>,
}

impl Reader {
    /// Loads what was committed before the claim.
    pub fn load(assigned: Assigned, id: ReaderId, claim: Claim) -> Result<Self> {
        let (saves, aggregator) = Saves::load(&claim.saves, assigned.shared.options)?;
        let committed = claim.state.as_ref().map_or(0, |state| state.next_offset);
        if committed < aggregator.next_offset() {
            return Err(Error::internal(format!(
                "partition {}: the state of windows stands at offset {}, their progress at {committed}",
                id.partition,
                aggregator.next_offset()
            ))
            .into());
        }
        let status = ReaderStatus {
            partition: id.partition,
            committed_offset: committed,
            next_offset: committed,
            ..ReaderStatus::default()
        };
        Ok(Self {
            assigned,
            id,
            epoch: claim.epoch,
            aggregator,
            saves,
            uncounted: UncountedEvents::default(),
            opens: Vec::new(),
            pending: None,
            schemas: HashMap::new(),
            status,
            registrations_seen: WindowedGroupsSeen::default(),
            events_since_commit: 0,
            has_new_groups: false,
            committed_at: Instant::now(),
            commit_asked: false,
            was_stalled: claim.state.is_some_and(|state| state.stalled.is_some()),
            ticks: TickSchedule::default(),
            end: None,
            read_to: committed,
            values: Vec::new(),
        })
    }

    /// The first offset that it has not read.
    pub fn next_offset(&self) -> u64 {
        self.read_to.max(self.aggregator.next_offset())
    }

    /// Reads on until told to end, or, for a backfill, until its last window is closed.
    pub async fn run(&mut self, feed: &mut Feed) -> Result<()> {
        let Assigned { shared, stop, .. } = self.assigned.clone();
        let mut registry = shared.registry.changes();
        let commit_asked = shared.streams.commit_asked(self.id.partition);
        self.load_registrations().await?;
        loop {
            let patience = self.patience();
            let batch = tokio::select! {
                () = stop.lost.cancelled() => return Ok(()),
                () = stop.hand_over.cancelled() => return self.commit_all().await,
                done = Pending::done(&mut self.pending) => {
                    self.committed(done)?;
                    None
                }
                answer = self.ticks.answer() => {
                    answer?;
                    None
                }
                // Only an end to waiting: what is registered is looked at below, after the read and before its records.
                _ = registry.changed() => None,
                () = commit_asked.notified(), if self.id.purpose == Purpose::Live => {
                    self.commit_asked = true;
                    None
                }
                batch = feed.next() => Some(batch?),
                () = tokio::time::sleep(patience) => None,
            };
            self.load_registrations().await?;
            if let Some(batch) = batch {
                self.take(&batch.records).await?;
                (self.status.end_offset, self.end) = (batch.end_offset, Some(batch.end));
                self.read_to = batch.next_offset;
            }
            if self.is_commit_due() && self.pending.is_none() {
                self.commit(false)?;
            }
            self.tick_if_due();
            self.show();
            if self.id.purpose != Purpose::Live && self.aggregator.is_backfilled() {
                return self.finish().await;
            }
        }
    }

    /// Loads groups that were registered since. Their start is made durable before anything is counted for them: otherwise a
    /// crash could move it.
    async fn load_registrations(&mut self) -> Result<()> {
        let snapshot = self.assigned.shared.registry.snapshot();
        let seen = std::mem::replace(&mut self.registrations_seen, snapshot.windowed_groups_seen());
        let mut to_fill = Vec::new();
        let registered = snapshot.windowed_groups_since(seen);
        for wanted in registered.filter_map(|(tenant, group)| Wanted::of(&snapshot, tenant, group)) {
            let id = wanted.group.id;
            if self.schemas.insert(id, wanted.schema.clone()).is_some() || self.id.purpose != Purpose::Live {
                continue;
            }
            if self.aggregator.registered().any(|known| known.id == id) {
                continue;
            }
            self.has_new_groups = true;
            self.aggregator.register(wanted.group.clone(), Span::Live)?;
            if wanted.start == WindowStart::Earliest
                && let Some(joins_at) = self.aggregator.first_end(id)
            {
                to_fill.push((wanted, joins_at));
            }
        }
        if self.has_new_groups {
            let backfill = self.backfill_of(to_fill)?;
            self.opens.extend(backfill);
            self.commit_all().await?;
        }
        Ok(())
    }

    /// One pass over the retained log for groups that were loaded together.
    fn backfill_of(&self, groups: Vec<(Wanted, Timestamp)>) -> Result<Option<(ReaderState, Save)>> {
        let Some((first, _)) = groups.first() else { return Ok(None) };
        let reader = ReaderId { partition: self.id.partition, purpose: Purpose::Backfill(first.group.id) };
        let mut aggregator = Aggregator::new(self.assigned.shared.options);
        for (wanted, joins_at) in groups {
            aggregator.register(wanted.group, Span::Before(joins_at))?;
        }
        let save = saves::first(&mut aggregator)?;
        Ok(Some((super::commit::state_of(reader, 0, &aggregator, false), save)))
    }

    fn is_commit_due(&self) -> bool {
        self.aggregator.rows_waiting() > 0
            || self.was_stalled
            || self.commit_asked && self.is_behind()
            || self.events_since_commit >= COMMIT_EVENTS_MAX
            || self.events_since_commit > 0 && self.committed_at.elapsed() >= COMMIT_EVERY
            || self.uncounted.waits_since().is_some_and(|since| since.elapsed() >= SIDE_WAIT)
    }

    /// Whether something was judged that is not committed.
    fn is_behind(&self) -> bool {
        self.status.committed_offset < self.next_offset()
    }

    /// How long to wait for records.
    fn patience(&self) -> Duration {
        let Some(due_at) = self.aggregator.due_at() else { return LOOK_EVERY };
        let left = due_at.micros().saturating_sub(self.assigned.shared.clock.now().micros());
        let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        left.clamp(Duration::from_millis(1), LOOK_EVERY).max(self.ticks.pause(Instant::now()))
    }

    /// Where the partition was read to its end and a row is due, no record brings the log's time: a tick does.
    fn tick_if_due(&mut self) {
        let now = self.assigned.shared.clock.now();
        let Some(due_at) = self.aggregator.due_at().filter(|due_at| *due_at <= now) else {
            return self.ticks.reset();
        };
        let next_offset = self.next_offset();
        let log_time = self.aggregator.log_time().unwrap_or(due_at);
        let missing = Duration::from_micros(u64::try_from(due_at.micros() - log_time.micros()).unwrap_or(0));
        if self.end == Some(BatchEnd::Reached) && self.ticks.may_ask(Instant::now(), next_offset, missing) {
            let (ticks, partition) = (self.assigned.shared.ticks.clone(), self.id.partition);
            // A record at `due_at` is enough.
            let past = due_at.saturating_add(-1);
            let asking =
                self.assigned.shared.runtime.spawn(async move { ticks.ask(&[partition], past).await });
            self.ticks.asked(Instant::now(), next_offset, asking);
        }
    }

    /// Shows how far the reader has come.
    fn show(&mut self) {
        if self.id.purpose != Purpose::Live || self.end.is_none() {
            return;
        }
        if self.pending.is_none()
            && self.aggregator.rows_waiting() == 0
            && let Some(promises) = self.assigned.shared.source.promises()
        {
            promises.settled(self.id.partition, self.next_offset());
        }
        self.show_status();
    }

    /// Shows the status of one moment: offsets, ledger and memory all come from the aggregator as it is now.
    pub(super) fn show_status(&mut self) {
        let (values_skipped, cells_overflowed) = self.aggregator.uncounted();
        self.status.next_offset = self.next_offset();
        self.status.end_offset = self.status.end_offset.max(self.status.next_offset);
        self.status.log_time = self.aggregator.log_time();
        self.status.ledger = self.aggregator.ledger();
        self.status.memory = self.aggregator.memory();
        (self.status.values_skipped, self.status.cells_overflowed) = (values_skipped, cells_overflowed);
        self.assigned.shared.streams.set_status(self.status.clone());
    }

    /// The windows of a backfill are all closed: its rows are committed, and its state is dropped.
    async fn finish(&mut self) -> Result<()> {
        self.wait().await?;
        self.commit(true)?;
        self.wait().await
    }
}
