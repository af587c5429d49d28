//! Point in time: for each (key, time) of a spine the newest row known then.
//!
//! ```text
//! spine ─> intern keys, sort them ─> for each key: its row range in each segment, newest segments first
//!       ─> for each of the key's times: binary search ─> picks ─> gather columns, in the order of the spine
//! ```
//!
//! Cost follows the spine: keys are sought in order, so dictionaries and values are walked forward once, and segments
//! that begin after a key's times, or end before the row already found, are not touched. Large spines are cut in parts,
//! one a core.

use super::{
    gather::{self, Picked},
    memtable::{RecentRow, Rows},
    prepare::Interned,
    segment::{Cursor, Segment},
    state::{GroupState, State},
};
use crate::{
    feature::definition::ColumnSchema,
    store::{AsOf, GroupRead, KnownAt, NO_ROW, Picks, Result, StoredRow},
};
use arrow::array::Array;
use std::{
    cmp::Ordering,
    ops::Range,
    sync::{Arc, RwLockReadGuard},
    thread,
};

/// Spine rows that are worth a thread.
const PART_ROWS_MIN: usize = 16 * 1024;
/// Keys looked up under one lock of the memtables: writers wait that long at most.
const LOCKED_KEYS: usize = 512;
/// In `Pick::source`: no row.
pub const NONE: u32 = u32::MAX;

/// The state that a reader sees.
#[derive(Clone, Debug)]
pub struct View {
    pub state: Arc<State>,
    /// Rows of memtables that a later commit brought are not seen.
    pub last_commit: u64,
}

/// A chosen row: of a segment, or (source = number of segments) of the rows taken out of memtables.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    pub source: u32,
    pub row: u32,
}

/// A part of the spine with its keys sorted.
pub struct Part {
    pub rows: Range<usize>,
    /// Rows of the part (from 0) by key.
    pub order: Vec<u32>,
    starts: Vec<u32>,
}

/// What one part found in one group, aligned with the part's `order`.
pub struct PartPicks {
    pub picks: Vec<Pick>,
    /// Their event timestamps, or `NO_ROW`.
    pub events: Vec<i64>,
    pub from_memtables: Vec<Arc<StoredRow>>,
}

/// Answers the question on this thread and, for large spines, others.
pub fn as_of(view: &View, query: &AsOf) -> Result<Vec<Picks>> {
    let rows = query.keys.len();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let parts = cores.min(rows / PART_ROWS_MIN).max(1);
    // Whole bytes of the bitmaps, so that parts can be written beside each other.
    let part_rows = rows.div_ceil(parts).next_multiple_of(64);
    let ranges: Vec<Range<usize>> =
        (0..parts).map(|part| (part * part_rows).min(rows)..((part + 1) * part_rows).min(rows)).collect();
    let found = in_parallel(&ranges, |range| {
        let part = Part::new(query, range.clone());
        let picks: Vec<PartPicks> =
            query.reads.iter().map(|read| pick_group(view, query, read, &part)).collect();
        (part, picks)
    });
    let mut answers = Vec::with_capacity(query.reads.len());
    let (parts, mut by_part): (Vec<Part>, Vec<_>) =
        found.into_iter().map(|(part, picks)| (part, picks.into_iter())).unzip();
    for read in &query.reads {
        let picks: Vec<PartPicks> = by_part.iter_mut().filter_map(Iterator::next).collect();
        let segments = view.state.groups.get(&read.group.id).map_or(&[][..], |group| &group.segments);
        answers.push(gather::gather(&Picked { rows, parts: &parts, picks: &picks, segments, read })?);
    }
    Ok(answers)
}

/// Runs `body` on each item, the first on this thread, and answers in their order.
pub fn in_parallel<I: Sync, T: Send>(items: &[I], body: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let Some((first, rest)) = items.split_first() else { return Vec::new() };
    thread::scope(|scope| {
        let body = &body;
        let others: Vec<_> = rest.iter().map(|item| scope.spawn(move || body(item))).collect();
        let mut results = vec![body(first)];
        for other in others {
            results.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    })
}

impl Part {
    fn new(query: &AsOf, rows: Range<usize>) -> Self {
        let interned = Interned::new(rows.len(), |row| query.keys.value(rows.start + row));
        let (order, starts) = interned.rows_by_key();
        Self { rows, order, starts }
    }
}

fn pick_group(view: &View, query: &AsOf, read: &GroupRead, part: &Part) -> PartPicks {
    let none = Pick { source: NONE, row: 0 };
    let mut found = PartPicks {
        picks: vec![none; part.order.len()],
        events: vec![NO_ROW; part.order.len()],
        from_memtables: Vec::new(),
    };
    let Some(group) = view.state.groups.get(&read.group.id) else { return found };
    let mut search = Search::new(view, group, query.known_at);
    let times = &query.times[part.rows.clone()];
    let keys: Vec<&[u32]> = part.starts.windows(2).collect();
    for keys in keys.chunks(LOCKED_KEYS) {
        let memtables: Vec<RwLockReadGuard<'_, Rows>> = group.memtables().map(|table| table.read()).collect();
        let mut recent = Vec::new();
        for key in keys {
            let range = key[0] as usize..key[1] as usize;
            let rows = &part.order[range.clone()];
            let key = query.keys.value(part.rows.start + rows[0] as usize);
            search.seek(key);
            recent_rows(&memtables, key, &mut recent);
            for (at, row) in range.zip(rows) {
                let Some((event, newest)) = search.newest(times[*row as usize], &recent) else { continue };
                found.events[at] = event;
                found.picks[at] = match newest {
                    Found::InSegment(source, row) => Pick { source, row },
                    Found::InMemory(row) => {
                        found.from_memtables.push(row.clone());
                        let row = found.from_memtables.len() as u32 - 1;
                        Pick { source: group.segments.len() as u32, row }
                    }
                };
            }
        }
    }
    found
}

/// The rows of one key in one memtable.
pub type Recent<'m> = &'m [RecentRow];

/// The rows of a key in each memtable that has some.
pub fn recent_rows<'m>(memtables: &'m [RwLockReadGuard<'_, Rows>], key: &str, recent: &mut Vec<Recent<'m>>) {
    recent.clear();
    recent.extend(memtables.iter().filter_map(|rows| rows.get(key)).map(Vec::as_slice));
}

/// Looks for the rows of one key after another, in key order.
pub struct Search<'a> {
    view: &'a View,
    known_at: KnownAt,
    segments: Vec<SegmentSearch<'a>>,
    key: &'a str,
}

struct SegmentSearch<'a> {
    segment: &'a Segment,
    cursor: Cursor,
    /// The key's rows, once sought.
    rows: Option<Range<usize>>,
}

#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// Segment number and row.
    InSegment(u32, u32),
    InMemory(&'a Arc<StoredRow>),
}

pub type Order = (i64, i64, u64);

impl<'a> Search<'a> {
    pub fn new(view: &'a View, group: &'a GroupState, known_at: KnownAt) -> Self {
        let segments = group
            .segments
            .iter()
            .map(|segment| SegmentSearch { segment, cursor: Cursor::default(), rows: None })
            .collect();
        Self { view, known_at, segments, key: "" }
    }

    /// Goes on to `key`, which must not be less than the one before.
    pub fn seek(&mut self, key: &'a str) {
        self.key = key;
        self.segments.iter_mut().for_each(|search| search.rows = None);
    }

    /// The key's newest row with event timestamp ≤ `time` that was known, after that timestamp; `recent` are its rows in
    /// memtables.
    pub fn newest<'m>(&mut self, time: i64, recent: &[Recent<'m>]) -> Option<(i64, Found<'m>)> {
        let created_max = match self.known_at {
            KnownAt::Snapshot => i64::MAX,
            KnownAt::At(moment) => moment.micros(),
            KnownAt::Row => time,
        };
        let (event, found) = self.newest_known(time, created_max, recent)?;
        match self.view.state.retention_bound {
            // Of what was dropped only the newest row is left, whether or not it is dropped already.
            Some(bound) if event < bound => {
                let (event, found) = self.newest_known(bound - 1, i64::MAX, recent)?;
                let (_, created, _) = self.order(found);
                (event <= time && created <= created_max).then_some((event, found))
            }
            _ => Some((event, found)),
        }
    }

    /// The same by its place in the order, whatever retention drops.
    pub fn newest_order(&mut self, time: i64, recent: &[Recent<'_>]) -> Option<Order> {
        self.newest_known(time, i64::MAX, recent).map(|(_, found)| self.order(found))
    }

    fn newest_known<'m>(
        &mut self,
        time: i64,
        created_max: i64,
        recent: &[Recent<'m>],
    ) -> Option<(i64, Found<'m>)> {
        let mut best: Option<(i64, Found<'m>)> = None;
        for rows in recent {
            let end = rows.partition_point(|recent| recent.row.event_timestamp.micros() <= time);
            let is_known = |recent: &&RecentRow| {
                recent.commit <= self.view.last_commit && recent.row.created.micros() <= created_max
            };
            if let Some(RecentRow { row, .. }) = rows[..end].iter().rev().find(is_known) {
                self.keep_newer(&mut best, row.event_timestamp.micros(), Found::InMemory(row));
            }
        }
        for number in 0..self.segments.len() {
            let search = &mut self.segments[number];
            let segment = search.segment;
            let (least, greatest) = segment.meta.events;
            if best.is_some_and(|(event, _)| event > greatest) {
                // The segments that follow end even earlier.
                break;
            }
            if least > time || segment.meta.created.0 > created_max {
                continue;
            }
            let rows = search.rows.get_or_insert_with(|| search.cursor.seek(segment, self.key)).clone();
            let mut end = segment.events.partition_point(rows.clone(), |event| event <= time);
            if segment.meta.created.1 > created_max {
                while end > rows.start && segment.created.get(end - 1) > created_max {
                    end -= 1;
                }
            }
            if end > rows.start {
                let found = Found::InSegment(number as u32, (end - 1) as u32);
                self.keep_newer(&mut best, segment.events.get(end - 1), found);
            }
        }
        best
    }

    /// Replaces `best` by a row that is greater. Only a tie looks further than the event timestamp: it is rare, and the
    /// rest of the order lies elsewhere.
    fn keep_newer<'m>(&self, best: &mut Option<(i64, Found<'m>)>, event: i64, found: Found<'m>) {
        let is_newer = best.is_none_or(|(other, best)| match event.cmp(&other) {
            Ordering::Equal => self.order(found) > self.order(best),
            ordering => ordering == Ordering::Greater,
        });
        if is_newer {
            *best = Some((event, found));
        }
    }

    fn order(&self, found: Found<'_>) -> Order {
        match found {
            Found::InMemory(row) => (row.event_timestamp.micros(), row.created.micros(), row.sequence),
            Found::InSegment(number, row) => self.segments[number as usize].segment.order(row as usize),
        }
    }
}

/// The newest row of one key in a group, whatever its time.
pub fn latest(group: &GroupState, key: &str) -> Option<Arc<StoredRow>> {
    let mut newest: Option<Arc<StoredRow>> = None;
    for memtable in group.memtables() {
        let rows = memtable.read();
        let Some(RecentRow { row, .. }) = rows.get(key).and_then(|rows| rows.last()) else { continue };
        if newest.as_ref().is_none_or(|newest| newest.order() < row.order()) {
            newest = Some(row.clone());
        }
    }
    let micros = |row: &StoredRow| (row.event_timestamp.micros(), row.created.micros(), row.sequence);
    let mut best = newest.as_deref().map(micros);
    let mut place = None;
    for segment in &group.segments {
        if best.is_some_and(|best| best.0 > segment.meta.events.1) {
            break;
        }
        let rows = segment.rows_of(key);
        if !rows.is_empty() && best < Some(segment.order(rows.end - 1)) {
            best = Some(segment.order(rows.end - 1));
            place = Some((segment, rows.end - 1));
        }
    }
    match place {
        Some((segment, row)) => Some(Arc::new(segment.stored_row(row, &group.schema))),
        None => newest,
    }
}

/// The columns that a read asks for.
pub fn asked(read: &GroupRead) -> impl Iterator<Item = (usize, &ColumnSchema)> {
    read.columns.iter().map(|at| (*at as usize, &read.group.columns[*at as usize]))
}
