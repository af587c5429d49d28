//! The aggregator of one partition.

use super::{
    DeadReason, Event, Judgement, Ledger, MissedWindows, Options, Position, Span, Verdict, WindowGroup,
    WindowRows,
    clock::NEVER,
    dedup::{self, Ids},
    pane::MISSED_MAX,
    population::Population,
    rows::Cause,
    source::Source,
    store::{ALL_ENDS, GroupState, NO_END, PaneStore},
};
use crate::{
    error::{Error, Result},
    feature::{RowId, TenantId, Timestamp},
};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{collections::VecDeque, hash::BuildHasher};

/// Turns the records of one log partition, in the order of their offsets, into rows.
pub struct Aggregator {
    pub(super) options: Options,
    pub(super) ids: Ids,
    pub(super) sources: Vec<Source>,
    by_name: HashTable<usize>,
    hasher: DefaultHashBuilder,
    /// Numbers of the entities of the events to come, as [`Aggregator::warm`] found them.
    guesses: VecDeque<u32>,
    /// The source of the last event: most have the same as the one before.
    last: usize,
    pub(super) ledger: Ledger,
    /// The offset of the next record, or a later one.
    pub(super) next_offset: u64,
    /// The greatest so far.
    pub(super) log_time: i64,
    /// The greatest event timestamp of the whole partition.
    pub(super) greatest: i64,
    /// No source has anything due before this log time.
    wake: i64,
    missed: Vec<MissedWindows>,
    /// Records until the state's size is looked at again.
    unchecked: u32,
}

/// What the state takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it: panes, entities, sketches, event ids. Rows that wait to be taken are not part of it.
    pub bytes: usize,
    /// Bytes of panes and of the entities that they belong to.
    pub pane_bytes: usize,
    /// Entities with panes, by source.
    pub entities: usize,
    /// Pairs of entity and pane.
    pub panes: usize,
}

const RECORDS_PER_CHECK: u32 = 1_024;
/// No entity has this number.
const NO_ENTITY: u32 = u32::MAX;
/// Events that [`Aggregator::warm`] looks at.
pub const WARM_MAX: usize = 64;

impl Aggregator {
    /// One that has read nothing.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ids: Ids::new(),
            sources: Vec::new(),
            by_name: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            guesses: VecDeque::with_capacity(WARM_MAX),
            last: 0,
            ledger: Ledger::default(),
            next_offset: 0,
            log_time: NEVER,
            greatest: NEVER,
            wake: i64::MAX,
            missed: Vec::new(),
            unchecked: 0,
        }
    }

    /// Loads a group between two records: it counts from the next one on.
    ///
    /// The slide must divide the size, and functions must allow their dtypes (`Window::check`).
    pub fn register(&mut self, group: WindowGroup, span: Span) -> Result<()> {
        if self.group(group.id).is_some() {
            return Err(Error::internal(format!("group {} is registered already", group.id)));
        }
        if group.ratio() > MISSED_MAX {
            return Err(Error::internal(format!("a window has at most {MISSED_MAX} slides")));
        }
        let slide = group.slide.micros();
        let bounds = match span {
            Span::Live if self.greatest == NEVER => (NO_END, ALL_ENDS),
            // The first window that starts after everything that the partition has seen.
            Span::Live => (self.greatest.div_euclid(slide) + 1 + group.ratio(), ALL_ENDS),
            Span::Before(end) => (NO_END, end.micros().div_euclid(slide)),
        };
        let source = self.source_or_new(group.tenant, &group.event_type);
        let (log_time, options) = (self.log_time, self.options);
        let source = &mut self.sources[source];
        let fields = source.fields_of(group.features.iter().map(|feature| feature.field.as_deref()));
        let population = source.population(Some(&group.entity_type)).ok().flatten().unwrap_or_else(|| {
            source.populations.push(Population::new(&group.entity_type));
            source.populations.len() - 1
        });
        let (clock, watermark) = (source.clock, source.watermark(&options));
        source.populations[population].add_group(group, &fields, bounds, |group| {
            PaneStore::new(group, &fields, clock, watermark, log_time)
        });
        source.refresh();
        self.wake = self.wake.min(source.wakes_at());
        Ok(())
    }

    /// The fields that features take from events of a type, in the order of [`Event::values`]. Registrations append.
    pub fn fields(&self, tenant: TenantId, event_type: &str) -> &[String] {
        self.source(tenant, event_type).map_or(&[], |source| &self.sources[source].fields)
    }

    /// An event that could be decoded.
    ///
    /// Refused, with nothing changed, while the state is over its bound: then the partition has to wait until an operator
    /// has raised `bytes_max` or spread its entities, for nothing may be counted without being remembered.
    pub fn event(&mut self, position: Position, event: &Event<'_>) -> Result<Verdict<'_>> {
        let cause = self.begin(position)?;
        self.missed.clear();
        let timestamp = event.timestamp.micros();
        let source = self.source(event.tenant, event.event_type);
        let judgement = self.judge(event, source, cause.log_time);
        self.ledger.enter(judgement);
        if !matches!(judgement, Judgement::Dead(_)) {
            self.greatest = self.greatest.max(timestamp);
            if let Some(source) = source {
                let source = &mut self.sources[source];
                source.advance(timestamp, cause, &self.options);
                self.wake = self.wake.min(source.wakes_at());
            }
        }
        Ok(Verdict { judgement, missed: &self.missed })
    }

    /// Looks at what the next events will find; nothing that counts changes. `events` are (tenant, event type, entity, timestamp).
    ///
    /// Counting an event waits for memory several times, each time for what the one before has found. Here the same
    /// look-ups of many events stand side by side, so that they wait together.
    pub fn warm<'e>(&mut self, events: impl Iterator<Item = (TenantId, &'e str, &'e str, Timestamp)>) {
        let mut found = [(0, 0, 0); WARM_MAX];
        self.guesses.clear();
        let mut count = 0;
        for (tenant, event_type, entity, timestamp) in events.take(WARM_MAX) {
            let mut guess = NO_ENTITY;
            // Most event types feed one entity type.
            if let Some(source) = self.source(tenant, event_type)
                && let [population] = self.sources[source].populations.as_slice()
                && let Some(entity) = population.entities.candidate(entity)
            {
                found[count] = (source, entity, timestamp.micros());
                count += 1;
                guess = entity;
            }
            self.guesses.push_back(guess);
        }
        for of_source in found[..count].chunk_by(|a, b| a.0 == b.0) {
            let population = &self.sources[of_source[0].0].populations[0];
            let seen =
                of_source.iter().fold(0, |seen, (_, entity, _)| seen + population.entities.touch(*entity));
            std::hint::black_box(seen);
            for store in &population.stores {
                store.warm(of_source.iter().map(|(_, entity, timestamp)| (*entity, *timestamp)));
            }
        }
    }

    /// A record that could not be decoded.
    pub fn dead(&mut self, position: Position) -> Result<()> {
        self.begin(position)?;
        self.ledger.dead += 1;
        Ok(())
    }

    /// A record that only carries log time.
    pub fn tick(&mut self, position: Position) -> Result<()> {
        self.begin(position).map(drop)
    }

    /// The log time at which a row is due, if nothing else comes. When it has come, the partition was read to its end and
    /// no record has brought it, the log needs a tick. None = nothing is due.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.sources.iter().filter_map(Source::due_at).min().map(Timestamp::from_stored)
    }

    /// Rows since the last call, by group in the order of registration within each source.
    pub fn take_rows(&mut self) -> Vec<WindowRows> {
        self.groups_mut().filter_map(|group| group.rows.take(group.group.tenant, group.group.id)).collect()
    }

    /// Rows that wait to be taken.
    pub fn rows_waiting(&self) -> usize {
        self.groups().map(|group| group.rows.len()).sum()
    }

    pub fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// The offset to read next.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The greatest log time so far.
    pub fn log_time(&self) -> Option<Timestamp> {
        (self.log_time != NEVER).then(|| Timestamp::from_stored(self.log_time))
    }

    /// What is registered.
    pub fn registered(&self) -> impl Iterator<Item = &WindowGroup> {
        self.groups().map(|group| &group.group)
    }

    /// The end of a group's first window: where backfill ends. None = every window counts.
    pub fn first_end(&self, group: RowId) -> Option<Timestamp> {
        let group = self.group(group).filter(|group| group.first != NO_END)?;
        Some(Timestamp::from_stored(group.first * group.group.slide.micros()))
    }

    /// The end of the first window that is not a group's own any more, if it was registered with [`Span::Before`].
    pub fn ends_before(&self, group: RowId) -> Option<Timestamp> {
        let group = self.group(group).filter(|group| group.before != ALL_ENDS)?;
        Some(Timestamp::from_stored(group.before * group.group.slide.micros()))
    }

    /// Whether every window of the groups registered with [`Span::Before`] is closed: then backfill is complete.
    pub fn is_backfilled(&self) -> bool {
        self.stores().all(|store| {
            store.groups.iter().all(|group| group.before != ALL_ENDS && group.before <= store.closed)
        })
    }

    /// For each column of a group: counted events that it could not take (no value, or one of another type), and cells
    /// that are null because their dtype cannot hold them.
    pub fn columns(&self, group: RowId) -> Vec<(u64, u64)> {
        let stores = self.stores();
        let found = stores.flat_map(|store| store.groups.iter().map(move |group| (store, group)));
        let Some((store, group)) = found.into_iter().find(|(_, state)| state.group.id == group) else {
            return Vec::new();
        };
        let skipped = |at: usize| group.columns[at].source.part().map_or(0, |part| store.skipped[part]);
        group.overflowed.iter().enumerate().map(|(at, overflowed)| (skipped(at), *overflowed)).collect()
    }

    /// Over all groups: counted events whose field was missing or of another type, by feature, and cells that are null
    /// because their dtype cannot hold them.
    pub fn uncounted(&self) -> (u64, u64) {
        let skipped = self.stores().flat_map(|store| &store.skipped).sum();
        (skipped, self.groups().flat_map(|group| &group.overflowed).sum())
    }

    pub fn memory(&self) -> Memory {
        let mut memory = Memory { bytes: self.ids.bytes(), ..Memory::default() };
        for population in self.sources.iter().flat_map(|source| &source.populations) {
            memory.pane_bytes += population.entities.bytes();
            memory.entities += population.entities.len();
            for store in &population.stores {
                memory.pane_bytes += store.bytes();
                memory.panes += store.panes.live();
            }
        }
        memory.bytes += memory.pane_bytes;
        memory
    }

    /// Accepts a record, and emits what its log time makes due.
    fn begin(&mut self, position: Position) -> Result<Cause> {
        if position.offset < self.next_offset {
            return Err(Error::internal(format!(
                "record {} comes after {}",
                position.offset, self.next_offset
            )));
        }
        if self.unchecked == 0 {
            let bytes = self.memory().bytes;
            if bytes > self.options.bytes_max {
                return Err(Error::unavailable(format!(
                    "the windows of a partition take {bytes} bytes, over the limit of {}; raise it \
                     (events.state_bytes_max) and start again: until then its events wait",
                    self.options.bytes_max
                )));
            }
            self.unchecked = RECORDS_PER_CHECK;
        }
        self.unchecked -= 1;
        self.next_offset = position.offset + 1;
        self.log_time = self.log_time.max(position.log_time.micros());
        let cause = Cause { log_time: self.log_time, offset: position.offset };
        if self.log_time >= self.wake {
            self.sources.iter_mut().for_each(|source| source.elapse(cause));
            self.find_wake();
        }
        Ok(cause)
    }

    fn judge(&mut self, event: &Event<'_>, source: Option<usize>, log_time: i64) -> Judgement {
        let guess = self.guesses.pop_front().unwrap_or(NO_ENTITY);
        let timestamp = event.timestamp.micros();
        if timestamp > log_time.saturating_add(self.options.future_max.micros()) {
            return Judgement::Dead(DeadReason::Future);
        }
        let place = match source.map(|source| (source, self.sources[source].population(event.entity_type))) {
            None => None,
            Some((_, Err(()))) => return Judgement::Dead(DeadReason::EntityTypeNeeded),
            Some((source, Ok(population))) => population.map(|population| (source, population)),
        };
        if let Some(event_id) = event.event_id
            && !self.ids.remember(dedup::key(event, event_id), log_time, &self.options)
        {
            return Judgement::Duplicate;
        }
        let Some((source, population)) = place else { return Judgement::Unused };
        let source = &mut self.sources[source];
        if source.count(population, (event.entity, guess), timestamp, event.values, &mut self.missed) {
            Judgement::Counted
        } else if self.missed.is_empty() {
            Judgement::Unused
        } else {
            Judgement::Late
        }
    }

    fn source(&self, tenant: TenantId, event_type: &str) -> Option<usize> {
        let is = |at: &usize| {
            self.sources
                .get(*at)
                .is_some_and(|known| known.tenant == tenant && &*known.event_type == event_type)
        };
        if is(&self.last) {
            return Some(self.last);
        }
        self.by_name.find(self.hasher.hash_one((tenant, event_type)), is).copied()
    }

    pub(super) fn source_or_new(&mut self, tenant: TenantId, event_type: &str) -> usize {
        if let Some(source) = self.source(tenant, event_type) {
            return source;
        }
        let Self { sources, by_name, hasher, .. } = self;
        sources.push(Source::new(tenant, event_type));
        by_name.insert_unique(hasher.hash_one((tenant, event_type)), sources.len() - 1, |at| {
            hasher.hash_one((sources[*at].tenant, &*sources[*at].event_type))
        });
        sources.len() - 1
    }

    pub(super) fn find_wake(&mut self) {
        self.wake = self.sources.iter().map(Source::wakes_at).min().unwrap_or(i64::MAX);
    }

    fn stores(&self) -> impl Iterator<Item = &PaneStore> {
        self.sources.iter().flat_map(|source| &source.populations).flat_map(|population| &population.stores)
    }

    fn groups(&self) -> impl Iterator<Item = &GroupState> {
        self.stores().flat_map(|store| &store.groups)
    }

    fn groups_mut(&mut self) -> impl Iterator<Item = &mut GroupState> {
        let populations = self.sources.iter_mut().flat_map(|source| &mut source.populations);
        populations.flat_map(|population| &mut population.stores).flat_map(|store| &mut store.groups)
    }

    fn group(&self, id: RowId) -> Option<&GroupState> {
        self.groups().find(|group| group.group.id == id)
    }
}
