//! The newest rows of entities in use: one look-up and one piece of memory an entity, whatever the number of groups.
//!
//! A reader that misses reads the store and then fills in what it found. Meanwhile a commit may have published newer
//! rows, which the reader must not hide: each shard counts publications, and a fill is dropped if the count has moved
//! since the reader missed.

use super::segment::Segment;
use crate::{
    feature::{EntityTypeId, RowId, RowSchema},
    store::{EntityRows, RowRef, StoredRow},
};
use arrow::array::Array;
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry as HashTableEntry};
use std::{
    borrow::Borrow,
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

const SHARDS: usize = 64;
/// An entry's place in the table, and what the allocator keeps beside its rows.
const ENTRY_OVERHEAD: usize = 96;

#[derive(Debug)]
pub struct LatestCache {
    shards: Box<[RwLock<Shard>]>,
    hasher: DefaultHashBuilder,
    shard_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashTable<Entry>,
    bytes: usize,
    /// Publications so far.
    publications: u64,
}

#[derive(Debug)]
struct Entry {
    entity_type: EntityTypeId,
    rows: EntityRows,
    /// Read since the last sweep.
    used: AtomicBool,
}

/// A key that was not (wholly) there.
#[derive(Clone, Copy, Debug)]
pub struct Miss {
    /// Its position in the question.
    pub key: usize,
    hash: u64,
    publications: u64,
}

impl LatestCache {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            shard_bytes_max: bytes_max / SHARDS,
        }
    }

    /// The rows of each key, None where it could not answer; these keys are the misses.
    pub fn get(
        &self,
        entity_type: EntityTypeId,
        groups: &[Arc<RowSchema>],
        keys: &[&str],
    ) -> (Vec<Option<EntityRows>>, Vec<Miss>) {
        let mut misses = Vec::new();
        let mut look_up = |(at, key): (usize, &&str)| {
            let hash = self.hash(entity_type, key);
            let shard = self.read(hash);
            let found = shard.entries.find(hash, |entry| entry.is(entity_type, key));
            let known = found.filter(|entry| entry.knows(groups)).map(|entry| {
                if !entry.used.load(Ordering::Relaxed) {
                    entry.used.store(true, Ordering::Relaxed);
                }
                entry.rows.clone()
            });
            if known.is_none() {
                misses.push(Miss { key: at, hash, publications: shard.publications });
            }
            known
        };
        let rows = keys.iter().enumerate().map(&mut look_up).collect();
        (rows, misses)
    }

    /// Keeps what a reader found after a miss, unless something was published meanwhile.
    pub fn fill(&self, miss: Miss, entity_type: EntityTypeId, key: &str, found: EntityRows) {
        let mut shard = self.write(miss.hash);
        if shard.publications != miss.publications {
            return;
        }
        let shard = &mut *shard;
        let hasher = |entry: &Entry| self.hash_bytes(entry.entity_type, entry.rows.key());
        match shard.entries.entry(miss.hash, |entry| entry.is(entity_type, key), hasher) {
            HashTableEntry::Vacant(slot) => {
                let entry = Entry { entity_type, rows: found, used: AtomicBool::new(false) };
                shard.bytes += entry.bytes();
                slot.insert(entry);
            }
            HashTableEntry::Occupied(mut slot) => {
                let entry = slot.get_mut();
                shard.bytes -= entry.bytes();
                entry.rows = entry.rows.overlaid(key, found.iter());
                shard.bytes += entry.bytes();
            }
        }
        if shard.bytes > self.shard_bytes_max {
            shard.sweep(self.shard_bytes_max / 8 * 7);
        }
    }

    /// Tells that a row became visible. It replaces an older one that is kept; otherwise nothing is kept, and fills under
    /// way are void. `row` is only made when it is needed.
    pub fn publish<R: Borrow<StoredRow>>(
        &self,
        entity_type: EntityTypeId,
        group: RowId,
        key: &str,
        row: impl FnOnce() -> R,
    ) {
        let hash = self.hash(entity_type, key);
        let mut shard = self.write(hash);
        let shard = &mut *shard;
        shard.publications += 1;
        let Some(entry) = shard.entries.find_mut(hash, |entry| entry.is(entity_type, key)) else { return };
        if entry.rows.knows(group, 0) {
            let row = row();
            let row = RowRef::from(row.borrow());
            if entry.rows.row(group, 0).is_none_or(|old| old.order() < row.order()) {
                shard.bytes -= entry.bytes();
                entry.rows = entry.rows.overlaid(key, [(group, Some(row))]);
                shard.bytes += entry.bytes();
            }
        }
    }

    /// Tells that all rows of a segment became visible.
    pub fn publish_segment(&self, segment: &Segment, schema: &RowSchema) {
        let (entity_type, group) = (schema.entity_type, schema.id);
        let mut entries = 0;
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.publications += 1;
            entries += shard.entries.len();
        }
        // What is filled in from here on has seen the segment.
        let keys = if entries == 0 { 0 } else { segment.keys.len() };
        let mut rows = 0..0;
        for code in 0..keys {
            rows = segment.rows_of_code(code, rows.end);
            let newest = || segment.stored_row(rows.end - 1, schema);
            self.publish(entity_type, group, segment.keys.value(code), newest);
        }
    }

    /// Forgets an entity.
    pub fn invalidate(&self, entity_type: EntityTypeId, key: &str) {
        let hash = self.hash(entity_type, key);
        let mut shard = self.write(hash);
        let shard = &mut *shard;
        shard.publications += 1;
        if let Ok(entry) = shard.entries.find_entry(hash, |entry| entry.is(entity_type, key)) {
            shard.bytes -= entry.remove().0.bytes();
        }
    }

    fn hash(&self, entity_type: EntityTypeId, key: &str) -> u64 {
        self.hash_bytes(entity_type, key.as_bytes())
    }

    fn hash_bytes(&self, entity_type: EntityTypeId, key: &[u8]) -> u64 {
        self.hasher.hash_one((entity_type, key))
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        // The table uses the low bits and the top seven.
        &self.shards[(hash >> 40) as usize % SHARDS]
    }

    fn read(&self, hash: u64) -> RwLockReadGuard<'_, Shard> {
        self.shard(hash).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, hash: u64) -> RwLockWriteGuard<'_, Shard> {
        self.shard(hash).write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Drops entries until at most `bytes_max` are left: first those that nobody read since the last sweep.
    fn sweep(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let bytes = &mut self.bytes;
            self.entries.retain(|entry| {
                let keep = *bytes <= bytes_max || entry.used.swap(false, Ordering::Relaxed);
                if !keep {
                    *bytes -= entry.bytes();
                }
                keep
            });
        }
    }
}

impl Entry {
    fn is(&self, entity_type: EntityTypeId, key: &str) -> bool {
        self.entity_type == entity_type && self.rows.key() == key.as_bytes()
    }

    /// Whether it can answer a question for these groups.
    fn knows(&self, groups: &[Arc<RowSchema>]) -> bool {
        groups.iter().enumerate().all(|(at, group)| self.rows.knows(group.id, at))
    }

    fn bytes(&self) -> usize {
        ENTRY_OVERHEAD + self.rows.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Timestamp;

    const USER: EntityTypeId = EntityTypeId::from_stored(1);

    fn group() -> Vec<Arc<RowSchema>> {
        vec![Arc::new(RowSchema {
            id: RowId::from_stored(1),
            entity_type: USER,
            windowed: false,
            columns: Vec::new(),
        })]
    }

    fn row(event: i64) -> StoredRow {
        let time = Timestamp::from_stored(event);
        StoredRow { event_timestamp: time, created: time, sequence: 0, values: Box::default() }
    }

    fn rows(key: &str, row: Option<&StoredRow>) -> EntityRows {
        EntityRows::new(key, [(RowId::from_stored(1), row.map(RowRef::from))])
    }

    /// The newest event timestamp, and the miss if there was one.
    fn get(cache: &LatestCache, key: &str) -> (Option<i64>, Option<Miss>) {
        let (rows, misses) = cache.get(USER, &group(), &[key]);
        let row = rows[0].as_ref().and_then(|rows| rows.row(RowId::from_stored(1), 0));
        (row.map(|row| row.event_timestamp.micros()), misses.first().copied())
    }

    #[test]
    fn a_fill_never_hides_what_was_published_meanwhile() {
        let cache = LatestCache::new(1 << 20);
        let miss = get(&cache, "u").1.unwrap();
        cache.publish(USER, RowId::from_stored(1), "u", || row(2));
        cache.fill(miss, USER, "u", rows("u", Some(&row(1))));
        let miss = get(&cache, "u").1.unwrap();
        cache.fill(miss, USER, "u", rows("u", Some(&row(2))));
        assert_eq!(get(&cache, "u").0, Some(2));
    }

    #[test]
    fn the_greatest_wins_and_absence_is_known() {
        let cache = LatestCache::new(1 << 20);
        let miss = get(&cache, "u").1.unwrap();
        cache.fill(miss, USER, "u", rows("u", None));
        assert!(matches!(get(&cache, "u"), (None, None)));
        cache.publish(USER, RowId::from_stored(1), "u", || row(5));
        cache.publish(USER, RowId::from_stored(1), "u", || row(4));
        assert_eq!(get(&cache, "u").0, Some(5));
        cache.invalidate(USER, "u");
        assert!(get(&cache, "u").1.is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let cache = LatestCache::new(SHARDS * 4096);
        for i in 0..10_000 {
            let key = i.to_string();
            let miss = get(&cache, &key).1.unwrap();
            cache.fill(miss, USER, &key, rows(&key, Some(&row(1))));
        }
        let bytes: usize = cache.shards.iter().map(|shard| shard.read().unwrap().bytes).sum();
        assert!(bytes <= SHARDS * 4096 && bytes > SHARDS * 1024, "{bytes}");
    }
}
