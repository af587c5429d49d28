//! The panes of all entities in one flat array.
//!
//! ```text
//!   word 0   [ pane: 40 bits, biased | missed slides: 13 | high bits of events: 8 | new | changed | unsaved ]
//!   word 1   [ next older pane of the entity: 32 bits          | low bits of events: 32 ]
//!   words…   accumulators, by the layout
//! ```

/// A place in the array.
pub type Slot = u32;

/// No pane.
pub const NONE: Slot = Slot::MAX;

/// First populated since the last emission.
pub const NEW: u64 = 0b001;
/// Changed since the last emission.
pub const CHANGED: u64 = 0b010;
/// Changed since the last save.
pub const UNSAVED: u64 = 0b100;

const MARKS: u64 = 0b111;
const HEADER: usize = 2;
const PANE_SHIFT: u32 = 24;
/// With slides of at least a second, the years 1 to 9999 fit.
const PANE_BIAS: i64 = 1 << 39;
const HIGH_EVENT: u64 = 1 << 3;
const HIGH_EVENTS: u64 = 0xff * HIGH_EVENT;
const MISSED_SHIFT: u32 = 11;
/// So many slides at most can be told apart; no window may have more.
pub const MISSED_MAX: i64 = (1 << 13) - 1;

/// All panes of one store.
pub struct Panes {
    /// Words of one pane, header included.
    stride: usize,
    words: Vec<u64>,
    /// The first free slot; free ones are linked like older ones.
    free: Slot,
    live: usize,
    /// Accumulators that took nothing.
    empty: Vec<u64>,
}

impl Panes {
    pub fn new(empty: Vec<u64>) -> Self {
        Self { stride: HEADER + empty.len(), words: Vec::new(), free: NONE, live: 0, empty }
    }

    pub fn live(&self) -> usize {
        self.live
    }

    pub fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    pub fn add(&mut self, pane: i64, older: Slot) -> Slot {
        self.live += 1;
        let slot = match self.free {
            NONE => {
                let slot = (self.words.len() / self.stride) as Slot;
                if self.words.len() + self.stride > self.words.capacity() {
                    // An eighth at a time: doubling would leave half of the memory idle.
                    self.words.reserve_exact((self.words.len() / 8).max(1_024 * self.stride));
                }
                self.words.resize(self.words.len() + self.stride, 0);
                slot
            }
            slot => {
                self.free = self.older(slot);
                slot
            }
        };
        let at = self.at(slot);
        self.words[at] = ((pane + PANE_BIAS) as u64) << PANE_SHIFT;
        self.words[at + 1] = u64::from(older) << 32;
        self.words[at + HEADER..at + self.stride].copy_from_slice(&self.empty);
        slot
    }

    pub fn remove(&mut self, slot: Slot) {
        self.live -= 1;
        self.set_older(slot, self.free);
        self.free = slot;
    }

    #[inline]
    fn at(&self, slot: Slot) -> usize {
        slot as usize * self.stride
    }

    #[inline]
    pub fn pane(&self, slot: Slot) -> i64 {
        (self.words[self.at(slot)] >> PANE_SHIFT) as i64 - PANE_BIAS
    }

    /// The number of a pane, with all of its words looked at: the ends of its slot.
    #[inline]
    pub fn touch(&self, slot: Slot) -> i64 {
        std::hint::black_box(self.words[self.at(slot) + self.stride - 1]);
        self.pane(slot)
    }

    #[inline]
    pub fn older(&self, slot: Slot) -> Slot {
        (self.words[self.at(slot) + 1] >> 32) as Slot
    }

    pub fn set_older(&mut self, slot: Slot, older: Slot) {
        let word = self.at(slot) + 1;
        self.words[word] = (u64::from(older) << 32) | (self.words[word] & u64::from(u32::MAX));
    }

    pub fn marks(&self, slot: Slot) -> u64 {
        self.words[self.at(slot)] & MARKS
    }

    /// Sets marks and answers those that were set.
    #[inline]
    pub fn mark(&mut self, slot: Slot, marks: u64) -> u64 {
        let word = self.at(slot);
        let before = self.words[word] & MARKS;
        self.words[word] |= marks;
        before
    }

    pub fn unmark(&mut self, slot: Slot, marks: u64) {
        let word = self.at(slot);
        self.words[word] &= !marks;
    }

    /// How many windows over the pane were closed when it was first populated: windows of no more slides never held it.
    pub fn missed(&self, slot: Slot) -> i64 {
        (self.words[self.at(slot)] >> MISSED_SHIFT) as i64 & MISSED_MAX
    }

    pub fn set_missed(&mut self, slot: Slot, missed: i64) {
        let word = self.at(slot);
        self.words[word] &= !((MISSED_MAX as u64) << MISSED_SHIFT);
        self.words[word] |= (missed.clamp(0, MISSED_MAX) as u64) << MISSED_SHIFT;
    }

    /// Events counted.
    pub fn events(&self, slot: Slot) -> u64 {
        let at = self.at(slot);
        let high = (self.words[at] & HIGH_EVENTS) / HIGH_EVENT;
        (high << 32) | (self.words[at + 1] & u64::from(u32::MAX))
    }

    pub fn set_events(&mut self, slot: Slot, events: u64) {
        let at = self.at(slot);
        self.words[at] = (self.words[at] & !HIGH_EVENTS) | (((events >> 32) * HIGH_EVENT) & HIGH_EVENTS);
        self.words[at + 1] = (self.words[at + 1] & !u64::from(u32::MAX)) | (events & u64::from(u32::MAX));
    }

    #[inline]
    pub fn count_event(&mut self, slot: Slot) {
        let at = self.at(slot);
        if self.words[at + 1] as u32 == u32::MAX {
            self.words[at + 1] &= !u64::from(u32::MAX);
            self.words[at] += HIGH_EVENT;
        } else {
            self.words[at + 1] += 1;
        }
    }

    #[inline]
    pub fn accumulators(&self, slot: Slot) -> &[u64] {
        let at = self.at(slot);
        &self.words[at + HEADER..at + self.stride]
    }

    #[inline]
    pub fn accumulators_mut(&mut self, slot: Slot) -> &mut [u64] {
        let at = self.at(slot);
        &mut self.words[at + HEADER..at + self.stride]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_parts_apart() {
        let mut panes = Panes::new(vec![7]);
        let first = panes.add(-62_135_596_800, NONE);
        let second = panes.add(253_402_300_799, first);
        panes.set_events(second, u64::from(u32::MAX));
        panes.mark(second, UNSAVED | NEW);
        panes.set_missed(second, 99_999);
        panes.set_missed(first, -5);
        panes.count_event(second);
        assert_eq!((panes.pane(first), panes.pane(second)), (-62_135_596_800, 253_402_300_799));
        assert_eq!((panes.events(first), panes.events(second)), (0, 1 << 32));
        assert_eq!((panes.older(second), panes.marks(second)), (first, UNSAVED | NEW));
        assert_eq!((panes.missed(first), panes.missed(second)), (0, MISSED_MAX));
        panes.unmark(second, NEW);
        panes.set_older(second, NONE);
        assert_eq!(
            (panes.older(second), panes.events(second), panes.marks(second)),
            (NONE, 1 << 32, UNSAVED)
        );
        assert_eq!(panes.accumulators(second), [7]);
        panes.remove(first);
        assert_eq!((panes.add(5, NONE), panes.live()), (first, 2));
    }
}
