//! Entities by number: their ids are compared once an event, from then on they are a `u32`.

use compact_str::CompactString;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{cmp::Reverse, collections::BinaryHeap, hash::BuildHasher};

/// Ids of the entities that have panes. The lowest free number is given next, so that numbers, which order the rows of
/// one emission, follow from the log alone.
pub struct Entities {
    table: HashTable<u32>,
    /// In place up to 24 bytes: comparing an id touches nothing else.
    keys: Vec<Option<CompactString>>,
    free: BinaryHeap<Reverse<u32>>,
    hasher: DefaultHashBuilder,
    key_bytes: usize,
}

/// What a key takes beyond its place, with the cost of an allocation, about.
fn heap_bytes(key: &CompactString) -> usize {
    if key.is_heap_allocated() { key.capacity() + 16 } else { 0 }
}

impl Entities {
    pub fn new() -> Self {
        Self {
            table: HashTable::new(),
            keys: Vec::new(),
            free: BinaryHeap::new(),
            hasher: DefaultHashBuilder::default(),
            key_bytes: 0,
        }
    }

    /// What is nearly always the number of an entity, if it has one: ids are not compared.
    pub fn candidate(&self, key: &str) -> Option<u32> {
        self.table.find(self.hasher.hash_one(key), |_| true).copied()
    }

    /// Looks at both ends of an id.
    pub fn touch(&self, id: u32) -> usize {
        self.key(id)
            .map_or(0, |key| key.len() + usize::from(key.as_bytes().first().copied().unwrap_or_default()))
    }

    /// The number of an entity, a new one if it has none. `guess` is looked at first.
    pub fn intern(&mut self, key: &str, guess: u32) -> u32 {
        if self.key(guess) == Some(key) {
            return guess;
        }
        let hash = self.hasher.hash_one(key);
        let Self { table, keys, hasher, .. } = self;
        if let Some(id) = table.find(hash, |id| keys[*id as usize].as_deref() == Some(key)) {
            return *id;
        }
        let id = self.free.pop().map_or(keys.len() as u32, |Reverse(id)| id);
        if id as usize == keys.len() {
            keys.push(None);
        }
        let key = CompactString::from(key);
        self.key_bytes += heap_bytes(&key);
        keys[id as usize] = Some(key);
        table
            .insert_unique(hash, id, |id| hasher.hash_one(keys[*id as usize].as_deref().unwrap_or_default()));
        id
    }

    /// Gives an entity the number that it had; the number must be free.
    pub fn restore(&mut self, id: u32, key: &str) {
        if self.keys.len() <= id as usize {
            self.keys.resize(id as usize + 1, None);
        }
        debug_assert!(self.keys[id as usize].is_none());
        let hash = self.hasher.hash_one(key);
        let Self { table, keys, hasher, .. } = self;
        let key = CompactString::from(key);
        self.key_bytes += heap_bytes(&key);
        keys[id as usize] = Some(key);
        table
            .insert_unique(hash, id, |id| hasher.hash_one(keys[*id as usize].as_deref().unwrap_or_default()));
    }

    /// Finds the numbers that are free, once all were restored.
    pub fn restored(&mut self) {
        self.free =
            (0..self.keys.len() as u32).filter(|id| self.keys[*id as usize].is_none()).map(Reverse).collect();
    }

    pub fn release(&mut self, id: u32) {
        let Some(key) = self.keys[id as usize].take() else { return };
        if let Ok(entry) = self.table.find_entry(self.hasher.hash_one(key.as_str()), |known| *known == id) {
            entry.remove();
        }
        self.key_bytes -= heap_bytes(&key);
        self.free.push(Reverse(id));
    }

    pub fn key(&self, id: u32) -> Option<&str> {
        self.keys.get(id as usize)?.as_deref()
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn bytes(&self) -> usize {
        self.keys.capacity() * size_of::<Option<CompactString>>()
            + self.table.capacity() * 8 / 7 * (size_of::<u32>() + 1)
            + self.free.capacity() * size_of::<u32>()
            + self.key_bytes
    }
}
