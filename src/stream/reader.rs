//! One reader of one partition: from records to commits.

use super::{
    Shared,
    commit::{Pending, Side},
    registration::Wanted,
    saves::{self, Saves},
};
use crate::{
    error::{Error, Result},
    event::{DecodedEvent, FieldValue, decode},
    feature::{RowId, RowSchema, TenantId, Timestamp, WindowStart},
    registry::WindowedGroupsSeen,
    serving::streams::{ReaderStatus, RecordOutcome},
    store::events::{Body, Claim, Place, Purpose, ReaderId, ReaderState, Record, Save},
    window::{Aggregator, Event, Judgement, Position, Span, WARM_MAX},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Bytes of records taken at a time.
const READ_BYTES: usize = 1 << 20;
/// State is committed at least that often, so that a restart has little to read again.
const COMMIT_EVENTS_MAX: u64 = 2_000_000;
/// Progress is committed at least that often where there is some: other processes see no other.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Late events and dead letters wait no longer for a commit.
const SIDE_WAIT: Duration = Duration::from_millis(500);
/// How often to look without being told.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A tick whose log time fell short is followed by another after so long.
const TICK_AGAIN: Duration = Duration::from_millis(50);
/// Rows that wait for a commit before reading waits too.
const ROWS_WAITING_MAX: usize = 400_000;
/// Records between two looks at how many rows wait.
const ROWS_LOOK_EVERY: usize = 256;

/// A reader that has claimed its place.
pub struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ReaderId,
    pub(super) epoch: u64,
    pub(super) aggregator: Aggregator,
    pub(super) saves: Saves,
    pub(super) side: Side,
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
    ticked: Option<Instant>,
    /// Kept for its memory.
    values: Vec<FieldValue<'static>>,
}

impl Reader {
    /// Loads what was committed before the claim.
    pub fn load(shared: Arc<Shared>, id: ReaderId, claim: Claim) -> Result<Self> {
        let (saves, aggregator) = Saves::load(&claim.saves, shared.options)?;
        let committed = claim.state.as_ref().map_or(0, |state| state.next_offset);
        if committed != aggregator.next_offset() {
            return Err(Error::internal(format!(
                "partition {}: the state of windows stands at offset {}, their progress at {committed}",
                id.partition,
                aggregator.next_offset()
            )));
        }
        let status = ReaderStatus {
            partition: id.partition,
            committed_offset: committed,
            next_offset: committed,
            ..ReaderStatus::default()
        };
        Ok(Self {
            shared,
            id,
            epoch: claim.epoch,
            aggregator,
            saves,
            side: Side::default(),
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
            ticked: None,
            values: Vec::new(),
        })
    }

    /// Reads on until told to stop, or, for a backfill, until its last window is closed.
    pub async fn run(&mut self) -> Result<()> {
        let shared = self.shared.clone();
        let mut registry = shared.registry.changes();
        let commit_asked = shared.streams.commit_asked(self.id.partition);
        self.load_registrations().await?;
        self.show().await?;
        loop {
            let next = self.aggregator.next_offset();
            let patience = self.patience();
            let records = tokio::select! {
                () = shared.stop.cancelled() => return self.commit_all().await,
                done = Pending::done(&mut self.pending) => {
                    self.committed(done)?;
                    Vec::new()
                }
                // Only an end to waiting: what is registered is looked at below, after the read and before its records.
                _ = registry.changed() => Vec::new(),
                () = commit_asked.notified(), if self.id.purpose == Purpose::Live => {
                    self.commit_asked = true;
                    Vec::new()
                }
                records = shared.log.read(self.id.partition, next, READ_BYTES, patience) => records?,
            };
            self.load_registrations().await?;
            self.take(&records).await?;
            if self.is_commit_due() && self.pending.is_none() {
                self.commit(false).await?;
            }
            if records.is_empty() {
                self.tick_if_due().await?;
            }
            self.show().await?;
            if self.id.purpose != Purpose::Live && self.aggregator.is_backfilled() {
                return self.finish().await;
            }
        }
    }

    /// Loads groups that were registered since. Their start is made durable before anything is counted for them: otherwise a
    /// crash could move it.
    async fn load_registrations(&mut self) -> Result<()> {
        let snapshot = self.shared.registry.snapshot();
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
        let mut aggregator = Aggregator::new(self.shared.options);
        for (wanted, joins_at) in groups {
            aggregator.register(wanted.group, Span::Before(joins_at))?;
        }
        let save = saves::first(&mut aggregator)?;
        Ok(Some((super::commit::state_of(reader, &aggregator, false), save)))
    }

    /// Judges records in their order, and tells producers.
    async fn take(&mut self, records: &[Record]) -> Result<()> {
        let mut from = 0;
        let mut verdicts = Vec::with_capacity(records.len());
        let mut decoded: VecDeque<Option<Result<DecodedEvent<'_>>>> = VecDeque::with_capacity(WARM_MAX);
        for (at, record) in records.iter().enumerate() {
            if decoded.is_empty() {
                decoded.extend(records[at..].iter().take(WARM_MAX).map(decode_body));
                self.aggregator.warm(records[at..].iter().zip(&decoded).filter_map(who));
            }
            let event = decoded.pop_front().flatten();
            if at > from && record.offset != records[at - 1].offset + 1 {
                self.tell(&records[from], &verdicts);
                (from, verdicts) = (at, Vec::new());
            }
            match self.judge(record, event) {
                Ok(verdict) => verdicts.push(verdict),
                Err(error) => {
                    // What was judged so far stands.
                    if let Some(first) = records.get(from).filter(|_| !verdicts.is_empty()) {
                        self.tell(first, &verdicts);
                    }
                    self.commit_all().await?;
                    return Err(error);
                }
            }
            if at % ROWS_LOOK_EVERY == ROWS_LOOK_EVERY - 1
                && self.aggregator.rows_waiting() > ROWS_WAITING_MAX
            {
                self.commit_all().await?;
            }
        }
        if let Some(first) = records.get(from) {
            self.tell(first, &verdicts);
        }
        self.events_since_commit += records.len() as u64;
        Ok(())
    }

    /// Shows the ledger, then tells producers: nobody who was answered finds their events missing in it.
    fn tell(&mut self, first: &Record, verdicts: &[RecordOutcome]) {
        if self.id.purpose == Purpose::Live {
            self.show_status();
            self.shared.streams.judged(self.id.partition, first.offset, verdicts);
        }
    }

    /// Shows the status of one moment: offsets, ledger and memory all come from the aggregator as it is now.
    fn show_status(&mut self) {
        let (values_skipped, cells_overflowed) = self.aggregator.uncounted();
        self.status.next_offset = self.aggregator.next_offset();
        self.status.end_offset = self.status.end_offset.max(self.status.next_offset);
        self.status.log_time = self.aggregator.log_time();
        self.status.ledger = self.aggregator.ledger();
        self.status.memory = self.aggregator.memory();
        (self.status.values_skipped, self.status.cells_overflowed) = (values_skipped, cells_overflowed);
        self.shared.streams.set_status(self.status.clone());
    }

    fn judge(&mut self, record: &Record, decoded: Option<Result<DecodedEvent<'_>>>) -> Result<RecordOutcome> {
        let position = Position { offset: record.offset, log_time: record.log_time };
        let (Body::Event { tenant, .. }, Some(decoded)) = (&record.body, decoded) else {
            self.aggregator.tick(position)?;
            return Ok(RecordOutcome::Tick);
        };
        let place = Place { partition: self.id.partition, offset: record.offset };
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(error) => return self.bury(position, place, record, &error),
        };
        let head = &decoded.head;
        let mut values = recycled(std::mem::take(&mut self.values));
        decoded.fields(self.aggregator.fields(*tenant, &head.event_type), &mut values);
        let event = Event {
            tenant: *tenant,
            entity_type: head.entity_type.as_deref(),
            entity: &head.entity_id,
            event_type: &head.event_type,
            timestamp: head.timestamp,
            event_id: head.event_id.as_deref(),
            values: &values,
        };
        let verdict = self.aggregator.event(position, &event)?;
        if !verdict.missed.is_empty() {
            self.side.late(place, record.log_time, &event, &verdict);
        }
        let judgement = verdict.judgement;
        if let Judgement::Dead(reason) = judgement {
            self.side.dead(place, record, reason.message());
        }
        self.values = recycled(values);
        Ok(RecordOutcome::Event(judgement))
    }

    /// A record that cannot be decoded delays nobody.
    fn bury(
        &mut self,
        position: Position,
        place: Place,
        record: &Record,
        why: &Error,
    ) -> Result<RecordOutcome> {
        self.aggregator.dead(position)?;
        self.side.dead(place, record, &why.to_string());
        Ok(RecordOutcome::Dead)
    }

    fn is_commit_due(&self) -> bool {
        self.aggregator.rows_waiting() > 0
            || self.was_stalled
            || self.commit_asked && self.is_behind()
            || self.events_since_commit >= COMMIT_EVENTS_MAX
            || self.events_since_commit > 0 && self.committed_at.elapsed() >= COMMIT_EVERY
            || self.side.waits_since().is_some_and(|since| since.elapsed() >= SIDE_WAIT)
    }

    /// Whether something was judged that is not committed.
    fn is_behind(&self) -> bool {
        self.status.committed_offset < self.aggregator.next_offset()
    }

    /// How long a read may wait for records.
    fn patience(&self) -> Duration {
        let Some(due_at) = self.aggregator.due_at() else { return LOOK_EVERY };
        let left = due_at.micros().saturating_sub(self.shared.clock.now().micros());
        let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        left.clamp(Duration::from_millis(1), LOOK_EVERY).max(match self.ticked {
            Some(ticked) => TICK_AGAIN.saturating_sub(ticked.elapsed()),
            None => Duration::ZERO,
        })
    }

    /// The partition was read to its end: if a row is due and no record brings the log's time, a tick does.
    async fn tick_if_due(&mut self) -> Result<()> {
        let is_due = self.aggregator.due_at().is_some_and(|due_at| due_at <= self.shared.clock.now());
        if !is_due || self.ticked.is_some_and(|ticked| ticked.elapsed() < TICK_AGAIN) {
            return Ok(());
        }
        let bounds = self.shared.log.bounds(self.id.partition).await?;
        if bounds.end <= self.aggregator.next_offset() {
            self.shared.log.tick(self.id.partition).await?;
            self.ticked = Some(Instant::now());
        }
        Ok(())
    }

    /// Shows how the reader stands.
    async fn show(&mut self) -> Result<()> {
        if self.id.purpose != Purpose::Live {
            return Ok(());
        }
        let end_offset = self.shared.log.bounds(self.id.partition).await?.end;
        if self.pending.is_none() && self.aggregator.rows_waiting() == 0 {
            self.shared.stream_store.settled(self.id.partition, self.aggregator.next_offset());
        }
        self.status.end_offset = end_offset;
        self.show_status();
        Ok(())
    }

    /// The windows of a backfill are all closed: its rows are committed, and its state is dropped.
    async fn finish(&mut self) -> Result<()> {
        self.wait().await?;
        self.commit(true).await?;
        self.wait().await
    }
}

/// None = the record only carries log time.
fn decode_body(record: &Record) -> Option<Result<DecodedEvent<'_>>> {
    match &record.body {
        Body::Tick => None,
        Body::Event { payload, .. } => Some(decode(payload)),
    }
}

/// Whom an event is about and when, as [`Aggregator::warm`] asks.
fn who<'a>(
    (record, decoded): (&Record, &'a Option<Result<DecodedEvent<'_>>>),
) -> Option<(TenantId, &'a str, &'a str, Timestamp)> {
    let (Body::Event { tenant, .. }, Some(Ok(decoded))) = (&record.body, decoded) else { return None };
    Some((*tenant, &decoded.head.event_type, &decoded.head.entity_id, decoded.head.timestamp))
}

/// An empty list for values of another record, in the same memory.
fn recycled<'b>(mut values: Vec<FieldValue<'_>>) -> Vec<FieldValue<'b>> {
    values.clear();
    values.into_iter().map(|_| unreachable!("it is empty")).collect()
}
