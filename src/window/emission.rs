//! Which windows of a store's panes become rows, and when.

use super::{
    WARM_MAX,
    pane::{CHANGED, MISSED_MAX, NEW, NONE, Slot},
    rows::Cause,
    store::{ALL_ENDS, GroupState, Head, NO_PANES, PaneStore},
};

/// A pane of the entity at hand.
#[derive(Clone, Copy)]
pub struct Member {
    pane: i64,
    slot: Slot,
    marks: u64,
    missed: i64,
    /// Changed panes up to and including this one.
    changed: u32,
}

/// Which windows of an entity to emit.
#[derive(Clone, Copy)]
enum Emit {
    /// Due now: new ones after `emitted` up to this end, and pending ones before.
    Due(i64),
    /// Pending ones up to this end, which close.
    Closing(i64),
}

impl PaneStore {
    /// Emits what is due when emission time has passed `multiple`, in slides.
    pub fn emit<'a>(&mut self, multiple: i64, key: impl Fn(u32) -> &'a str, cause: Cause) {
        if multiple <= self.emitted {
            return;
        }
        if !self.notes.is_empty() {
            let ratio_max = self.ratio_max();
            let emitted = self.emitted;
            let is_due =
                |head: &Head| head.newest_pane + ratio_max >= emitted || head.changed_from != ALL_ENDS;
            for from in (0..self.heads.len()).step_by(WARM_MAX) {
                let heads = self.heads[from..].iter().take(WARM_MAX).filter(|head| is_due(head));
                self.warm_panes(
                    heads.map(|head| (head.newest, head.changed_from.min(emitted) - ratio_max - 1)),
                );
                for entity in (from..self.heads.len()).take(WARM_MAX) {
                    if is_due(&self.heads[entity]) {
                        self.emit_entity(entity as u32, key(entity as u32), Emit::Due(multiple), cause);
                    }
                }
            }
            for note in self.notes.values_mut() {
                (note.marks, note.missed_new) = (0, MISSED_MAX);
            }
        }
        self.emitted = multiple;
        self.emissions += 1;
    }

    /// Closes windows up to `closed`, in slides, emitting what is pending of them. `released` is told the entities that
    /// have no panes left here.
    pub fn close<'a>(
        &mut self,
        closed: i64,
        key: impl Fn(u32) -> &'a str,
        cause: Cause,
        mut released: impl FnMut(u32),
    ) {
        if closed <= self.closed {
            return;
        }
        let ends = |group: &GroupState| (self.closed + 1..=closed).contains(&group.before);
        let forced = self.groups.iter().any(ends);
        if forced || self.notes.range(..closed).any(|(_, note)| note.marks != 0) {
            for entity in 0..self.heads.len() {
                let head = self.heads[entity];
                if head.newest != NONE && (forced || head.changed_from < closed) {
                    self.emit_entity(entity as u32, key(entity as u32), Emit::Closing(closed), cause);
                }
            }
        }
        self.closed = closed;
        self.closings += 1;
        let ratio_max = self.ratio_max();
        // Finding what is over among the panes of an entity costs a walk: some entities each time.
        let turns = ((self.emitted - closed + ratio_max) / 4).max(1) as usize;
        while let Some((pane, _)) = self.notes.first_key_value()
            && pane + ratio_max < closed
        {
            self.notes.pop_first();
            self.trim_until = self.closings + turns;
        }
        if self.closings > self.trim_until {
            return;
        }
        for entity in 0..self.heads.len() {
            let head = self.heads[entity];
            if head.newest != NONE && self.is_over(head.newest_pane, ratio_max) {
                self.remove_from(head.newest);
                self.heads[entity] = NO_PANES;
                released(entity as u32);
            }
        }
        let entities = self.heads.len();
        for from in (self.closings % turns..entities).step_by(turns * WARM_MAX) {
            let in_turn = || (from..entities).step_by(turns).take(WARM_MAX);
            self.warm_panes(in_turn().map(|entity| (self.heads[entity].newest, closed - ratio_max)));
            in_turn().for_each(|entity| self.trim(self.heads[entity].newest, ratio_max));
        }
    }

    /// Fills `scratch` with the entity's panes in time order, from `oldest` on and without those that are over.
    fn gather(&mut self, entity: u32, oldest: i64) {
        let oldest = oldest.max(self.floor).max(self.closed - self.ratio_max());
        self.scratch.clear();
        let mut slot = self.heads[entity as usize].newest;
        while slot != NONE {
            let pane = self.panes.pane(slot);
            if pane < oldest {
                break;
            }
            self.scratch.push(Member {
                pane,
                slot,
                marks: self.panes.marks(slot),
                missed: self.panes.missed(slot),
                changed: 0,
            });
            slot = self.panes.older(slot);
        }
        self.scratch.reverse();
        let mut changed = 0;
        for member in &mut self.scratch {
            changed += u32::from(member.marks & CHANGED != 0);
            member.changed = changed;
        }
    }

    fn emit_entity(&mut self, entity: u32, key: &str, emit: Emit, cause: Cause) {
        // What was due before and holds nothing that changed is emitted already.
        let from = match emit {
            Emit::Due(_) => self.heads[entity as usize].changed_from.min(self.emitted) + 1,
            Emit::Closing(_) => self.closed + 1,
        };
        // The pane before the first window decides whether that one, if empty, is a row.
        self.gather(entity, from - self.ratio_max() - 1);
        let Self { slide, layout, groups, panes, side, emitted, closed, scratch, .. } = self;
        for group in groups {
            emit_group(group, scratch, emit, from, (*emitted, *closed), |group, members, end| {
                group.rows.begin(key, end * *slide, cause);
                let words = members.iter().map(|member| panes.accumulators(member.slot));
                let events = members.iter().map(|member| panes.events(member.slot)).sum();
                for (at, column) in group.columns.iter().enumerate() {
                    let (cell, fits) = layout.cell(column, events, words.clone(), side);
                    group.overflowed[at] += u64::from(!fits);
                    group.rows.cell(at, &cell);
                }
            });
        }
        if let Emit::Due(_) = emit {
            scratch.iter().for_each(|member| panes.unmark(member.slot, NEW | CHANGED));
            self.heads[entity as usize].changed_from = ALL_ENDS;
        }
    }

    /// The next multiple of the slide, in slides, at which a row would be due.
    pub fn next_due(&self) -> Option<i64> {
        let mut next = ALL_ENDS;
        let mut empty_pending = Vec::new();
        for (pane, note) in &self.notes {
            for group in &self.groups {
                let open = (pane + 1).max(group.first).max(self.closed + 1);
                let last = (pane + group.ratio).min(group.before - 1);
                // The empty window after the last one, if the last one can be populated.
                let empty = pane + group.ratio + 1;
                let own = empty > group.first && empty < group.before;
                let due = open.max(self.emitted + 1);
                if due <= if own && note.missed < group.ratio { empty } else { last } {
                    next = next.min(due);
                }
                if note.marks & CHANGED != 0 && open <= last.min(self.emitted) {
                    next = next.min(self.emitted + 1);
                }
                let new = note.marks & NEW != 0 && note.missed_new < group.ratio;
                if new && own && (open..=self.emitted).contains(&empty) {
                    empty_pending.push((*pane, group.ratio));
                }
            }
        }
        // Last, for it looks at all entities: is one of these windows empty at all?
        if next > self.emitted + 1
            && empty_pending.into_iter().any(|(pane, ratio)| self.has_lone_new(pane, ratio))
        {
            next = self.emitted + 1;
        }
        (next != ALL_ENDS).then_some(next)
    }

    /// Whether a new pane of this number, that windows of `ratio` slides held, has no other in the `ratio` panes after it.
    fn has_lone_new(&self, pane: i64, ratio: i64) -> bool {
        self.heads.iter().filter(|head| head.changed_from <= pane).any(|head| {
            let (mut slot, mut newer) = (head.newest, ALL_ENDS);
            while slot != NONE && self.panes.pane(slot) > pane {
                newer = self.panes.pane(slot);
                slot = self.panes.older(slot);
            }
            slot != NONE
                && self.panes.pane(slot) == pane
                && self.panes.marks(slot) & NEW != 0
                && self.panes.missed(slot) < ratio
                && newer > pane + ratio
        })
    }
}

/// Calls `row` for each window of a group to emit, from the end `from` on, with its panes in time order and its end in slides.
fn emit_group(
    group: &mut GroupState,
    members: &[Member],
    emit: Emit,
    from: i64,
    (emitted, closed): (i64, i64),
    mut row: impl FnMut(&mut GroupState, &[Member], i64),
) {
    let (until, closing) = match emit {
        Emit::Due(multiple) => (multiple, false),
        Emit::Closing(closed) => (closed, true),
    };
    let mut next = group.first.max(closed + 1).max(from);
    let (mut from, mut to) = (0, 0);
    for member in members {
        let last = (member.pane + group.ratio + 1).min(until).min(group.before);
        next = next.max(member.pane + 1);
        while next <= last {
            let end = next;
            next += 1;
            while from < members.len() && members[from].pane < end - group.ratio {
                from += 1;
            }
            while to < members.len() && members[to].pane < end {
                to += 1;
            }
            let window = &members[from.min(to)..to];
            let before = |at: usize| if at == 0 { 0 } else { members[at - 1].changed };
            let wanted = if window.is_empty() {
                // Directly after a populated one, whose only pane is then the last one before this window.
                let before = &members[to - 1];
                let pending =
                    if end == group.before { closing } else { end > emitted || before.marks & NEW != 0 };
                pending && end > group.first && before.missed < group.ratio
            } else {
                end < group.before && (end > emitted || before(to) > before(from))
            };
            if wanted {
                row(group, window, end);
            }
        }
    }
}
