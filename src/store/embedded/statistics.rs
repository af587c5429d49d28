//! Statistics: one walk over a group's rows, entity by entity in the order of keys.
//!
//! ```text
//!   segments   |a|a|a|c|c|…      for each key in turn: its rows of the span, merged in their order;
//!   memtable   |b|c|…            the last of each event timestamp is counted
//! ```
//!
//! So an entity is counted once without remembering entities, and memory is that of the hours, and of the keys in
//! memtables. Segments outside the span are not touched.

use super::{
    as_of::{Order, View, asked},
    memtable::{Memtable, RecentRow},
    segment::Segment,
};
use crate::{
    feature::{Column, columns::value_at, row::CellState},
    store::{
        GroupRead, Result, StoreError, StoredRow,
        statistics::{ColumnStatistics, Said, StatisticsQuery, Tally},
    },
};
use arrow::array::Array;
use std::{ops::Range, sync::Arc, vec};
use tokio_util::sync::CancellationToken;

/// Keys whose rows are taken under one lock of a memtable: writers wait that long at most.
const LOCKED_KEYS: usize = 512;
/// Entities between two looks at whether anybody still waits.
const LOOK_EVERY: u64 = 1_024;

/// Walks the rows, unless nobody waits for the answer any more.
pub fn statistics(
    view: &View,
    query: &StatisticsQuery,
    given_up: &CancellationToken,
) -> Result<Vec<ColumnStatistics>> {
    let mut tallies: Vec<Tally> = query.read.columns.iter().map(|_| Tally::new(query)).collect();
    let Some(group) = view.state.groups.get(&query.read.group.id) else {
        return Ok(tallies.into_iter().map(Tally::finish).collect());
    };
    let span = Span::new(view, query);
    let segments = group.segments.iter().filter(|segment| span.meets(segment.meta.events));
    let segments: Vec<_> = segments.map(|segment| AskedSegment::new(segment, &query.read)).collect();
    let memtables: Vec<_> = group.memtables().map(|table| (&**table, keys_of(table, span))).collect();
    let mut of_segments: Vec<_> = segments.iter().map(SegmentWalk::new).collect();
    let mut of_memtables: Vec<_> =
        memtables.iter().map(|(table, keys)| MemtableWalk::new(table, keys)).collect();
    for entity in 0.. {
        let keys = of_segments.iter().map(SegmentWalk::key).chain(of_memtables.iter().map(MemtableWalk::key));
        let Some(key) = keys.flatten().min() else { break };
        if entity % LOOK_EVERY == 0 && given_up.is_cancelled() {
            return Err(StoreError::DeadlineExceeded);
        }
        let mut heads = Vec::with_capacity(of_segments.len() + of_memtables.len());
        for walk in of_segments.iter_mut().filter(|walk| walk.key() == Some(key)) {
            heads.push(Head::Segment(walk.of, walk.take_rows(span)));
        }
        for walk in of_memtables.iter_mut().filter(|walk| walk.key() == Some(key)) {
            heads.push(Head::Memory(walk.take_rows(span).into_iter()));
        }
        count(&mut heads, span, |event, row| {
            for (asked, tally) in tallies.iter_mut().enumerate() {
                if let Some(said) = row.said(&query.read, asked) {
                    tally.add(entity, event, said);
                }
            }
        });
    }
    Ok(tallies.into_iter().map(Tally::finish).collect())
}

/// Which rows are walked, and which of them count. UTC µs.
#[derive(Clone, Copy)]
struct Span {
    from: i64,
    to: i64,
    /// Where the walk ends: it goes on to the bound of retention, to tell which row before it is left.
    walk_to: i64,
    /// Of the rows before it only each entity's newest is left.
    bound: i64,
    /// Rows of memtables that a later commit brought are not seen.
    last_commit: u64,
}

impl Span {
    fn new(view: &View, query: &StatisticsQuery) -> Self {
        let (from, to) = (query.from.micros(), query.to.micros());
        let bound = view.state.retention_bound.unwrap_or(i64::MIN);
        let walk_to = if from < bound { to.max(bound) } else { to };
        Self { from, to, walk_to, bound, last_commit: view.last_commit }
    }

    fn meets(&self, (least, greatest): (i64, i64)) -> bool {
        least < self.walk_to && greatest >= self.from
    }

    fn holds(&self, recent: &RecentRow) -> bool {
        let event = recent.row.event_timestamp.micros();
        event >= self.from && event < self.walk_to && recent.commit <= self.last_commit
    }
}

/// A segment, with its parts of the columns asked for.
struct AskedSegment<'a> {
    segment: &'a Segment,
    columns: Vec<Option<&'a [Column]>>,
}

impl<'a> AskedSegment<'a> {
    fn new(segment: &'a Segment, read: &GroupRead) -> Self {
        Self { segment, columns: asked(read).map(|(_, column)| segment.column(&column.name)).collect() }
    }
}

/// How far the walk has come in a segment.
struct SegmentWalk<'a> {
    of: &'a AskedSegment<'a>,
    code: usize,
    row: usize,
}

impl<'a> SegmentWalk<'a> {
    fn new(of: &'a AskedSegment<'a>) -> Self {
        Self { of, code: 0, row: 0 }
    }

    fn key(&self) -> Option<&'a str> {
        let keys = &self.of.segment.keys;
        (self.code < keys.len()).then(|| keys.value(self.code))
    }

    /// The span's rows of the entity at hand; goes on to the next one.
    fn take_rows(&mut self, span: Span) -> Range<usize> {
        let Segment { events, .. } = self.of.segment;
        let rows = self.of.segment.rows_of_code(self.code, self.row);
        (self.code, self.row) = (self.code + 1, rows.end);
        let start = events.partition_point(rows.clone(), |event| event < span.from);
        start..events.partition_point(start..rows.end, |event| event < span.walk_to)
    }
}

/// The entities that have rows of the span in a memtable, in order.
fn keys_of(table: &Memtable, span: Span) -> Vec<Box<str>> {
    let all = table.read();
    let mut keys: Vec<Box<str>> = all
        .iter()
        .filter(|(_, rows)| rows.iter().any(|recent| span.holds(recent)))
        .map(|(key, _)| key.clone())
        .collect();
    drop(all);
    keys.sort_unstable();
    keys
}

/// How far the walk has come in a memtable.
struct MemtableWalk<'a> {
    table: &'a Memtable,
    keys: &'a [Box<str>],
    /// The rows of the first of these keys, last entity first.
    taken: Vec<Vec<Arc<StoredRow>>>,
}

impl<'a> MemtableWalk<'a> {
    fn new(table: &'a Memtable, keys: &'a [Box<str>]) -> Self {
        Self { table, keys, taken: Vec::new() }
    }

    fn key(&self) -> Option<&'a str> {
        self.keys.first().map(|key| &**key)
    }

    /// The span's rows of the entity at hand; goes on to the next one.
    fn take_rows(&mut self, span: Span) -> Vec<Arc<StoredRow>> {
        if self.taken.is_empty() {
            let all = self.table.read();
            let next = &self.keys[..LOCKED_KEYS.min(self.keys.len())];
            self.taken.extend(next.iter().rev().map(|key| {
                let rows = all.get(key).map_or(&[][..], Vec::as_slice);
                rows.iter().filter(|recent| span.holds(recent)).map(|recent| recent.row.clone()).collect()
            }));
        }
        self.keys = &self.keys[1..];
        self.taken.pop().unwrap_or_default()
    }
}

/// Rows of one entity in one place, in their order.
enum Head<'a> {
    Segment(&'a AskedSegment<'a>, Range<usize>),
    Memory(vec::IntoIter<Arc<StoredRow>>),
}

/// A row taken off a head.
enum Row<'a> {
    InSegment(&'a AskedSegment<'a>, usize),
    InMemory(Arc<StoredRow>),
}

impl<'a> Head<'a> {
    fn order(&self) -> Option<Order> {
        match self {
            Self::Segment(of, rows) => (!rows.is_empty()).then(|| of.segment.order(rows.start)),
            Self::Memory(rows) => rows
                .as_slice()
                .first()
                .map(|row| (row.event_timestamp.micros(), row.created.micros(), row.sequence)),
        }
    }

    fn take(&mut self) -> Option<Row<'a>> {
        match self {
            Self::Segment(of, rows) => rows.next().map(|row| Row::InSegment(of, row)),
            Self::Memory(rows) => rows.next().map(Row::InMemory),
        }
    }
}

/// Merges an entity's rows and hands out, by event timestamp, the newest of each that counts.
fn count<'a>(heads: &mut [Head<'a>], span: Span, mut counted: impl FnMut(i64, &Row<'a>)) {
    let mut last: Option<(i64, Row<'a>)> = None;
    loop {
        let orders = heads.iter().enumerate().filter_map(|(at, head)| Some((head.order()?, at)));
        let Some(((event, ..), at)) = orders.min() else { break };
        let row = heads[at].take().expect("a head with an order has a row");
        if let Some((before, done)) = last.replace((event, row)) {
            // Before retention's bound every row but the last is gone, whether or not it is dropped already.
            let is_left = before >= span.bound || event >= span.bound;
            if before != event && is_left && before < span.to {
                counted(before, &done);
            }
        }
    }
    if let Some((event, row)) = last.filter(|(event, _)| *event < span.to) {
        counted(event, &row);
    }
}

impl Row<'_> {
    /// What the row says in one of the columns asked for; None = it leaves it out.
    fn said(&self, read: &GroupRead, asked: usize) -> Option<Said> {
        let at = read.columns[asked] as usize;
        let dtype = read.group.columns[at].dtype;
        let has_number = |state| state == CellState::Value && dtype.is_number();
        let (state, number) = match self {
            Self::InSegment(of, row) => {
                let (batch, row) = of.segment.place(*row);
                let column = &of.columns[asked]?[batch];
                let state = column.state(row);
                (state, has_number(state).then(|| value_at(&column.values, row, dtype).number()))
            }
            Self::InMemory(row) => {
                let row = row.packed();
                let state = row.state(at);
                (state, has_number(state).then(|| row.value(at, dtype).number()))
            }
        };
        match state {
            CellState::LeftOut => None,
            CellState::Null => Some(Said::Null),
            CellState::Value => Some(number.flatten().map_or(Said::Value, Said::Number)),
        }
    }
}
