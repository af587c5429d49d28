//! The panes of one slide, and the windows that stand on them.

use super::{
    MissedWindows, WARM_MAX, WindowGroup,
    accumulator::Side,
    clock::Clock,
    emission::Member,
    layout::{ColumnPlan, Layout, Takes, takes},
    pane::{CHANGED, MISSED_MAX, NEW, NONE, Panes, Slot, UNSAVED},
    rows::RowsBuilder,
};
use crate::{
    event::FieldValue,
    feature::{ColumnBuilder, Timestamp},
};
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
    pub closings: usize,
    pub trim_until: usize,
    /// Panes before this one are over, whatever windows were registered later.
    pub floor: i64,
    /// Panes that some entity has.
    pub notes: BTreeMap<i64, Note>,
    /// By part of the layout: events whose field was missing or of another type.
    pub skipped: Vec<u64>,
    /// Entities with panes to save.
    unsaved: Vec<u32>,
    pub scratch: Vec<Member>,
}

/// What is known of all panes of one number.
#[derive(Clone, Copy)]
pub struct Note {
    /// Those that any of them bears.
    pub marks: u64,
    /// The fewest windows that one of them missed, and a new one.
    pub missed: i64,
    pub missed_new: i64,
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
    pub changed_from: i64,
    pub newest: Slot,
    /// Some pane changed since the last save.
    pub unsaved: bool,
}

pub const NO_PANES: Head = Head { newest_pane: NO_END, changed_from: ALL_ENDS, newest: NONE, unsaved: false };

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

    /// Looks at the panes of (entity, timestamp), for [`Self::count`] to find at hand. Late events have none to find.
    pub fn warm(&self, events: impl Iterator<Item = (u32, i64)>) {
        let over = self.closed - self.ratio_max();
        let wanted = events.map(|(entity, timestamp)| (entity, timestamp.div_euclid(self.slide)));
        self.warm_panes(wanted.filter(|(_, pane)| *pane > over).map(|(entity, pane)| {
            let head = self.heads.get(entity as usize).copied().unwrap_or(NO_PANES);
            (head.newest, pane)
        }));
    }

    /// Looks at panes from these slots on down to these panes, one of each at a time.
    pub fn warm_panes(&self, chains: impl Iterator<Item = (Slot, i64)>) {
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

    /// Gives back the panes of an entity that are over; the newest is not.
    pub fn trim(&mut self, mut slot: Slot, ratio_max: i64) {
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
    pub fn remove_from(&mut self, mut slot: Slot) {
        while slot != NONE {
            let older = self.panes.older(slot);
            self.layout.release(self.panes.accumulators(slot), &mut self.side);
            self.panes.remove(slot);
            slot = older;
        }
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
