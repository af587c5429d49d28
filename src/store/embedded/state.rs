//! What readers see: for each group its memtables and segments, swapped whole; and the one timeline of commits.
//!
//! ```text
//! commit ──> active memtable ──seal──> sealed memtables ──flush──> segments ──compact──> fewer segments
//!                       (a large batch becomes a segment at once)
//! ```
//!
//! A snapshot is a state and the last commit published by then: later rows of its memtables bear a greater number.

use super::{
    memtable::Memtable,
    segment::Segment,
    timeline::{Settled, Timeline},
};
use crate::feature::{RowId, RowSchema};
use arc_swap::ArcSwap;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// All groups that have rows.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub groups: HashMap<RowId, Arc<GroupState>>,
    /// Event timestamps before this are dropped, but for each entity's newest row among them.
    pub retention_bound: Option<i64>,
}

/// The rows of one group.
#[derive(Clone, Debug)]
pub struct GroupState {
    /// The widest that was seen.
    pub schema: Arc<RowSchema>,
    pub active: Arc<Memtable>,
    /// Waiting to be flushed, oldest first.
    pub sealed: Vec<Sealed>,
    /// By greatest event timestamp, newest first.
    pub segments: Vec<Arc<Segment>>,
}

/// A memtable that takes no more rows.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub memtable: Arc<Memtable>,
    /// The last commit whose rows it holds.
    pub last_commit: u64,
}

impl GroupState {
    pub fn new(schema: Arc<RowSchema>) -> Self {
        Self { schema, active: Arc::default(), sealed: Vec::new(), segments: Vec::new() }
    }

    pub fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        self.sealed
            .iter()
            .map(|sealed| &sealed.memtable)
            .chain([&self.active])
            .filter(|table| !table.is_empty())
    }

    /// Starts a fresh memtable; the old one waits to be flushed.
    pub fn seal(&mut self, last_commit: u64) {
        let memtable = std::mem::take(&mut self.active);
        self.sealed.push(Sealed { memtable, last_commit });
    }

    pub fn add_segment(&mut self, segment: Arc<Segment>) {
        self.segments.push(segment);
        self.segments.sort_by_key(|segment| std::cmp::Reverse(segment.meta.events.1));
    }
}

/// The state, and who may change it.
#[derive(Debug, Default)]
pub struct Published {
    state: ArcSwap<State>,
    timeline: Mutex<Timeline>,
}

impl Published {
    pub fn new(state: State, timeline: Timeline) -> Self {
        Self { state: ArcSwap::from_pointee(state), timeline: Mutex::new(timeline) }
    }

    /// The newest state.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state for readers to come.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        self.publish(|state, _| change(state));
    }

    /// Changes state and timeline together.
    pub fn publish(&self, change: impl FnOnce(&mut State, &mut Timeline)) {
        let mut timeline = self.timeline();
        let mut state = State::clone(&self.state.load());
        change(&mut state, &mut timeline);
        self.state.store(Arc::new(state));
    }

    /// The state, the last commit in it, and what may be said of time.
    pub fn snapshot(&self, now: i64, groups: &[Arc<RowSchema>]) -> (Arc<State>, u64, Settled) {
        let mut timeline = self.timeline();
        let settled = timeline.state_settled(now, groups);
        (self.state.load_full(), timeline.last_commit, settled)
    }
}

impl State {
    /// Memory that sealed memtables take.
    pub fn sealed_bytes(&self) -> usize {
        self.groups.values().flat_map(|group| &group.sealed).map(|sealed| sealed.memtable.bytes()).sum()
    }

    pub fn group_mut(&mut self, id: RowId) -> Option<&mut GroupState> {
        self.groups.get_mut(&id).map(Arc::make_mut)
    }
}
