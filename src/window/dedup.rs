//! Event ids that were seen.

use super::{Event, Options, clock::NEVER};
use hashbrown::HashSet;
use std::collections::VecDeque;
use twox_hash::xxhash3_128;

/// An event id of an entity as a hash of 128 bits; the tenant stands beside it, so that nobody can make up a duplicate
/// of another tenant's event.
pub type IdKey = (u64, u128);

/// Event ids of the last hour of log time, bounded.
pub struct Ids {
    known: HashSet<IdKey>,
    /// In log order: (log time, key).
    order: VecDeque<(i64, IdKey)>,
    /// At the end of `order`, not saved yet.
    unsaved: usize,
}

impl Ids {
    pub fn new() -> Self {
        Self { known: HashSet::new(), order: VecDeque::new(), unsaved: 0 }
    }

    /// Remembers an id; false = it was known.
    pub fn remember(&mut self, key: IdKey, log_time: i64, options: &Options) -> bool {
        self.forget(log_time, options);
        if !self.known.insert(key) {
            return false;
        }
        self.order.push_back((log_time, key));
        self.unsaved += 1;
        self.forget(log_time, options);
        true
    }

    /// Forgets what is an hour old, and the oldest over the bound.
    pub fn forget(&mut self, log_time: i64, options: &Options) {
        let bound = log_time.saturating_sub(options.ids_for.micros());
        while let Some((at, key)) = self.order.front()
            && (*at <= bound || self.order.len() > options.ids_max)
        {
            self.known.remove(key);
            self.order.pop_front();
        }
        self.unsaved = self.unsaved.min(self.order.len());
    }

    /// Those that came since the last call, and from when on they are needed no more.
    pub fn take_unsaved(&mut self, all: bool) -> (Vec<(i64, IdKey)>, i64) {
        let from = if all { 0 } else { self.order.len() - self.unsaved };
        self.unsaved = 0;
        let ids: Vec<_> = self.order.range(from..).copied().collect();
        let newest = ids.last().map_or(NEVER, |(at, _)| *at);
        (ids, newest)
    }

    /// Puts back what was saved.
    pub fn restore(&mut self, ids: impl Iterator<Item = (i64, IdKey)>) {
        for (at, key) in ids {
            if self.known.insert(key) {
                self.order.push_back((at, key));
            } else {
                // Forgotten and seen again: the later time is the one that counts.
                self.order.retain(|(_, known)| *known != key);
                self.order.push_back((at, key));
            }
        }
    }

    pub fn bytes(&self) -> usize {
        // One byte of control for each place of the set, of which 7 in 8 are used.
        self.order.capacity() * size_of::<(i64, IdKey)>()
            + self.known.capacity() * 8 / 7 * (size_of::<IdKey>() + 1)
    }
}

/// The id of an event: of its tenant and entity. Texts are separated by their lengths.
pub fn key(event: &Event<'_>, event_id: &str) -> IdKey {
    let mut hasher = xxhash3_128::Hasher::new();
    for text in [event.entity_type.unwrap_or_default(), event.entity, event_id] {
        hasher.write(&(text.len() as u32).to_le_bytes());
        hasher.write(text.as_bytes());
    }
    (event.tenant.get(), hasher.finish_128())
}
