//! The panes of one slide, and the windows that stand on them.

use super::{
    FieldValue, MissedWindows, WARM_MAX, WindowGroup,
    accumulator::Side,
    clock::Clock,
    layout::{ColumnPlan, Layout, Takes, takes},
    pane::{CHANGED, MISSED_MAX, NEW, NONE, Panes, Slot, UNSAVED},
    rows::{Cause, RowsBuilder},
};
use crate::feature::{ColumnBuilder, Timestamp};
use std::collections::BTreeMap;

/// Before the end of every window.
pub const NO_END: i64 = i64::MIN / 4;
/// Behind the end of every window.
pub const ALL_ENDS: i64 = i64::MAX / 4;

/// Panes of one slide for all groups that take the same events.
pub struct PaneStore {
    /// Microseconds.
    pub slide: i64,
    takes: Takes,
    pub layout: Layout,
    pub groups: Vec<GroupState>,
    /// By entity.
    pub heads: Vec<Head>,
    pub panes: Panes,
    pub side: Side,
    /// The last multiple of the slide that emission time passed, in slides. What was due then was emitted.
    pub emitted: i64,
    /// How many such multiples led to an emission: marks made before the last one are void.
    pub emissions: u64,
    /// Windows that end here or before are closed, in slides.
    pub closed: i64,
    /// How often windows were closed, and up to which time panes that are over are still to be found.
    closings: usize,
    trim_until: usize,
    /// Panes before this one are over, whatever windows were registered later.
    pub floor: i64,
    /// Panes that some entity has.
    pub notes: BTreeMap<i64, Note>,
    /// By part of the layout: events whose field was missing or of another type.
    pub skipped: Vec<u64>,
    /// Entities with panes to save.
    unsaved: Vec<u32>,
    scratch: Vec<Member>,
}

/// What is known of all panes of one number.
#[derive(Clone, Copy)]
pub struct Note {
    /// Those that any of them bears.
    marks: u64,
    /// The fewest windows that one of them missed, and a new one.
    missed: i64,
    missed_new: i64,
}

impl Default for Note {
    fn default() -> Self {
        Self { marks: 0, missed: MISSED_MAX, missed_new: MISSED_MAX }
    }
}

impl Note {
    fn add(&mut self, marks: u64, missed: i64) {
        self.marks |= marks;
        self.missed = self.missed.min(missed);
        if marks & NEW != 0 {
            self.missed_new = self.missed_new.min(missed);
        }
    }
}

/// Where an entity's panes begin. Never on two lines of the cache.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub struct Head {
    pub newest_pane: i64,
    /// The oldest pane that changed since the last emission; ALL_ENDS = none.
    changed_from: i64,
    pub newest: Slot,
    /// Some pane changed since the last save.
    pub unsaved: bool,
}

const NO_PANES: Head = Head { newest_pane: NO_END, changed_from: ALL_ENDS, newest: NONE, unsaved: false };

/// A group with the windows that it answers for.
pub struct GroupState {
    pub group: WindowGroup,
    pub ratio: i64,
    /// The end of its first window, in slides.
    pub first: i64,
    /// The end of the first window that is not its own any more, in slides.
    pub before: i64,
    pub columns: Vec<ColumnPlan>,
    /// By column: cells that are null because their dtype cannot hold them.
    pub overflowed: Vec<u64>,
    pub rows: RowsBuilder,
}

/// A pane of the entity at hand.
#[derive(Clone, Copy)]
struct Member {
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
    pub fn new(group: &WindowGroup, fields: &[usize], clock: Clock, watermark: i64, log_time: i64) -> Self {
        let slide = group.slide.micros();
        let slides = |moment: i64| if clock.is_set() { moment.div_euclid(slide) } else { NO_END };
        let emission = if clock.is_set() { clock.emission(log_time) } else { 0 };
        Self {
            slide,
            takes: takes(&group.features, fields),
            layout: Layout::default(),
            groups: Vec::new(),
            heads: Vec::new(),
            panes: Panes::new(Vec::new()),
            side: Side::default(),
            emitted: slides(emission),
            emissions: 0,
            closed: slides(watermark),
            closings: 0,
            trim_until: 0,
            floor: NO_END,
            notes: BTreeMap::new(),
            skipped: Vec::new(),
            unsaved: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Whether a group can share these panes: they hold all that it needs, for as long as it needs it.
    pub fn suits(&self, group: &WindowGroup, fields: &[usize]) -> bool {
        if group.slide.micros() != self.slide || self.takes != takes(&group.features, fields) {
            return false;
        }
        let mut layout = self.layout.clone();
        layout.plan(&group.features, fields);
        self.notes.is_empty()
            || layout.parts.len() == self.layout.parts.len() && group.ratio() <= self.ratio_max()
    }

    pub fn add_group(&mut self, group: WindowGroup, fields: &[usize], first: i64, before: i64) {
        let columns = self.layout.plan(&group.features, fields);
        self.skipped.resize(self.layout.parts.len(), 0);
        if self.notes.is_empty() {
            // A longer window must not bring back what is over.
            if !self.groups.is_empty() {
                self.floor = self.floor.max(self.closed - self.ratio_max());
            }
            let empty = self.layout.parts.iter().flat_map(|part| part.kind.empty()).copied().collect();
            self.panes = Panes::new(empty);
        }
        let builders = group.features.iter().map(|feature| ColumnBuilder::new(feature.dtype, 0)).collect();
        self.groups.push(GroupState {
            ratio: group.ratio(),
            first,
            before,
            overflowed: vec![0; columns.len()],
            columns,
            rows: RowsBuilder::new(builders),
            group,
        });
    }

    pub fn ratio_max(&self) -> i64 {
        self.groups.iter().map(|group| group.ratio).max().unwrap_or(1)
    }

    /// Whether no window needs the panes of this number any more, nor does the empty window after the last.
    pub fn is_over(&self, pane: i64, ratio_max: i64) -> bool {
        pane < self.floor || pane + ratio_max < self.closed
    }

    /// Where an event stands: whether it is counted here, and which closed windows it missed. An event that only proves
    /// a window populated which is not this span's is `noted`, not counted.
    #[inline]
    pub fn judge(
        &self,
        timestamp: i64,
        values: &[FieldValue<'_>],
        missed: &mut Vec<MissedWindows>,
    ) -> Standing {
        let mut standing = Standing { counted: false, noted: false };
        if !self.takes.takes(values) {
            return standing;
        }
        let pane = timestamp.div_euclid(self.slide);
        for group in &self.groups {
            let (first, last) = ((pane + 1).max(group.first), (pane + group.ratio).min(group.before - 1));
            standing.counted |= last > self.closed && first <= last;
            standing.noted |=
                group.before > self.closed && (pane + 1..=pane + group.ratio).contains(&group.before);
            if first <= last && first <= self.closed {
                let end = |slides: i64| Timestamp::from_stored(slides * self.slide);
                missed.push(MissedWindows {
                    group: group.group.id,
                    first: end(first),
                    last: end(last.min(self.closed)),
                    slide: group.group.slide,
                });
            }
        }
        standing
    }

    /// Looks at the panes of (entity, timestamp), for [`Self::count`] to find at hand.
    pub fn warm(&self, events: impl Iterator<Item = (u32, i64)>) {
        self.warm_panes(events.map(|(entity, timestamp)| {
            let head = self.heads.get(entity as usize).copied().unwrap_or(NO_PANES);
            (head.newest, timestamp.div_euclid(self.slide))
        }));
    }

    /// Looks at panes from these slots on down to these panes, one of each at a time.
    fn warm_panes(&self, chains: impl Iterator<Item = (Slot, i64)>) {
        let mut left = [(NONE, 0); WARM_MAX];
        let mut count = 0;
        for chain in chains.take(WARM_MAX) {
            left[count] = chain;
            count += 1;
        }
        while count > 0 {
            let mut kept = 0;
            for at in 0..count {
                let (slot, oldest) = left[at];
                if slot != NONE && self.panes.touch(slot) > oldest {
                    left[kept] = (self.panes.older(slot), oldest);
                    kept += 1;
                }
            }
            count = kept;
        }
    }

    /// Adds an event to its pane.
    #[inline]
    pub fn count(&mut self, entity: u32, timestamp: i64, values: &[FieldValue<'_>]) {
        let pane = timestamp.div_euclid(self.slide);
        let slot = self.find_or_add(entity, pane);
        self.panes.count_event(slot);
        self.layout.add(
            self.panes.accumulators_mut(slot),
            values,
            timestamp,
            &mut self.side,
            &mut self.skipped,
        );
        if self.panes.mark(slot, CHANGED | UNSAVED) & (CHANGED | UNSAVED) != CHANGED | UNSAVED {
            self.notes.entry(pane).or_default().marks |= CHANGED;
            let head = &mut self.heads[entity as usize];
            head.changed_from = head.changed_from.min(pane);
            if !head.unsaved {
                head.unsaved = true;
                self.unsaved.push(entity);
            }
        }
    }

    /// The slot of an entity's pane; a new one bears NEW.
    #[inline]
    pub fn find_or_add(&mut self, entity: u32, pane: i64) -> Slot {
        if self.heads.len() <= entity as usize {
            self.heads.resize(entity as usize + 1, NO_PANES);
        }
        let head = self.heads[entity as usize];
        if head.newest_pane == pane {
            return head.newest;
        }
        let (mut newer, mut older) = (NONE, head.newest);
        while older != NONE && self.panes.pane(older) > pane {
            (newer, older) = (older, self.panes.older(older));
        }
        if older != NONE && self.panes.pane(older) == pane {
            return older;
        }
        let slot = self.panes.add(pane, older);
        let missed = (self.closed - pane).clamp(0, MISSED_MAX);
        self.panes.mark(slot, NEW);
        self.panes.set_missed(slot, missed);
        self.notes.entry(pane).or_default().add(NEW, missed);
        if newer == NONE {
            let head = &mut self.heads[entity as usize];
            (head.newest_pane, head.newest) = (pane, slot);
        } else {
            self.panes.set_older(newer, slot);
        }
        slot
    }

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

    /// Gives back the panes of an entity that are over; the newest is not.
    fn trim(&mut self, mut slot: Slot, ratio_max: i64) {
        while slot != NONE {
            let older = self.panes.older(slot);
            if older != NONE && self.is_over(self.panes.pane(older), ratio_max) {
                self.panes.set_older(slot, NONE);
                return self.remove_from(older);
            }
            slot = older;
        }
    }

    /// Gives back a pane and all older ones of its entity.
    fn remove_from(&mut self, mut slot: Slot) {
        while slot != NONE {
            let older = self.panes.older(slot);
            self.layout.release(self.panes.accumulators(slot), &mut self.side);
            self.panes.remove(slot);
            slot = older;
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

    pub fn has_panes(&self, entity: u32) -> bool {
        self.heads.get(entity as usize).is_some_and(|head| head.newest != NONE)
    }

    /// Entities that changed since the last save.
    pub fn take_unsaved(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.unsaved)
    }

    /// Finds the marks of pane numbers and entities again, once all panes were put back.
    pub fn restored(&mut self) {
        self.notes.clear();
        for head in &mut self.heads {
            let mut slot = head.newest;
            while slot != NONE {
                let marks = self.panes.marks(slot);
                let note = self.notes.entry(self.panes.pane(slot)).or_default();
                note.add(marks, self.panes.missed(slot));
                if marks & CHANGED != 0 {
                    head.changed_from = head.changed_from.min(self.panes.pane(slot));
                }
                slot = self.panes.older(slot);
            }
        }
    }

    pub fn bytes(&self) -> usize {
        self.panes.bytes()
            + self.heads.capacity() * size_of::<Head>()
            + self.unsaved.capacity() * size_of::<u32>()
            + self.side.bytes()
    }
}

/// What a store makes of an event.
#[derive(Clone, Copy)]
pub struct Standing {
    pub counted: bool,
    pub noted: bool,
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
