//! The newest rows of entities in use: one look-up an entity, whatever the number of groups.
//!
//! A reader that misses reads the store and then fills in what it found. Meanwhile a commit may have published newer
//! rows, which the reader must not hide: each shard counts publications, and a fill is dropped if the count has moved
//! since the reader missed.

use super::segment::Segment;
use crate::{
    feature::{EntityTypeId, GroupId, GroupSchema},
    store::StoredRow,
};
use arrow::array::Array;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

const SHARDS: usize = 64;
const ENTRY_OVERHEAD: usize = 128;
const ROW_OVERHEAD: usize = 96;

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
    key: Box<str>,
    /// By group; None = the group has no row of this entity.
    rows: Vec<(GroupId, Option<Arc<StoredRow>>)>,
    bytes: usize,
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

    /// Fills `rows` (key by key, the groups of each in order) and returns the keys that it could not answer.
    pub fn get(
        &self,
        entity_type: EntityTypeId,
        groups: &[Arc<GroupSchema>],
        keys: &[&str],
        rows: &mut Vec<Option<Arc<StoredRow>>>,
    ) -> Vec<Miss> {
        let mut misses = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let hash = self.hash(entity_type, key);
            let shard = self.read(hash);
            let complete = shard.find(hash, entity_type, key).is_some_and(|entry| {
                if !entry.used.load(Ordering::Relaxed) {
                    entry.used.store(true, Ordering::Relaxed);
                }
                entry.collect(groups, rows)
            });
            if !complete {
                misses.push(Miss { key: at, hash, publications: shard.publications });
                rows.resize((at + 1) * groups.len(), None);
            }
        }
        misses
    }

    /// Keeps what a reader found after a miss, unless something was published meanwhile.
    pub fn fill(
        &self,
        miss: Miss,
        entity_type: EntityTypeId,
        key: &str,
        groups: &[Arc<GroupSchema>],
        found: &[Option<Arc<StoredRow>>],
    ) {
        let mut shard = self.write(miss.hash);
        if shard.publications != miss.publications {
            return;
        }
        let shard = &mut *shard;
        let hasher = |entry: &Entry| self.hash(entry.entity_type, &entry.key);
        let entry = shard
            .entries
            .entry(miss.hash, |entry| entry.is(entity_type, key), hasher)
            .or_insert_with(|| Entry {
                entity_type,
                key: key.into(),
                rows: Vec::with_capacity(groups.len()),
                bytes: 0,
                used: AtomicBool::new(false),
            })
            .into_mut();
        for (group, row) in groups.iter().zip(found) {
            entry.put(group.id, row.clone());
        }
        let before = entry.measure();
        shard.bytes = shard.bytes + entry.bytes - before;
        if shard.bytes > self.shard_bytes_max {
            shard.sweep(self.shard_bytes_max / 8 * 7);
        }
    }

    /// Tells that a row became visible. It replaces an older one that is kept; otherwise nothing is kept, and fills under
    /// way are void. `row` is only made when it is needed.
    pub fn publish(
        &self,
        entity_type: EntityTypeId,
        group: GroupId,
        key: &str,
        row: impl FnOnce() -> Arc<StoredRow>,
    ) {
        let hash = self.hash(entity_type, key);
        let mut shard = self.write(hash);
        let shard = &mut *shard;
        shard.publications += 1;
        let Some(entry) = shard.entries.find_mut(hash, |entry| entry.is(entity_type, key)) else { return };
        if let Ok(at) = entry.rows.binary_search_by_key(&group, |(group, _)| *group) {
            let row = row();
            let slot = &mut entry.rows[at].1;
            if slot.as_ref().is_none_or(|old| old.order() < row.order()) {
                *slot = Some(row);
                let before = entry.measure();
                shard.bytes = shard.bytes + entry.bytes - before;
            }
        }
    }

    /// Tells that all rows of a segment became visible.
    pub fn publish_segment(&self, segment: &Segment, schema: &GroupSchema) {
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
            let newest = || Arc::new(segment.stored_row(rows.end - 1, schema));
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
            shard.bytes -= entry.remove().0.bytes;
        }
    }

    fn hash(&self, entity_type: EntityTypeId, key: &str) -> u64 {
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
    fn find(&self, hash: u64, entity_type: EntityTypeId, key: &str) -> Option<&Entry> {
        self.entries.find(hash, |entry| entry.is(entity_type, key))
    }

    /// Drops entries until at most `bytes_max` are left: first those that nobody read since the last sweep.
    fn sweep(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let bytes = &mut self.bytes;
            self.entries.retain(|entry| {
                let keep = *bytes <= bytes_max || entry.used.swap(false, Ordering::Relaxed);
                if !keep {
                    *bytes -= entry.bytes;
                }
                keep
            });
        }
    }
}

impl Entry {
    fn is(&self, entity_type: EntityTypeId, key: &str) -> bool {
        self.entity_type == entity_type && *self.key == *key
    }

    /// Appends the rows of `groups`; false if one of them is not known.
    fn collect(&self, groups: &[Arc<GroupSchema>], rows: &mut Vec<Option<Arc<StoredRow>>>) -> bool {
        let before = rows.len();
        // Questions mostly ask the same groups in the same order.
        for (at, group) in groups.iter().enumerate() {
            let slot = match self.rows.get(at) {
                Some(slot) if slot.0 == group.id => slot,
                _ => match self.rows.binary_search_by_key(&group.id, |(group, _)| *group) {
                    Ok(at) => &self.rows[at],
                    Err(_) => {
                        rows.truncate(before);
                        return false;
                    }
                },
            };
            rows.push(slot.1.clone());
        }
        true
    }

    fn put(&mut self, group: GroupId, row: Option<Arc<StoredRow>>) {
        match self.rows.binary_search_by_key(&group, |(group, _)| *group) {
            Ok(at) => self.rows[at].1 = row,
            Err(at) => self.rows.insert(at, (group, row)),
        }
    }

    /// Weighs the entry again and returns what it weighed before.
    fn measure(&mut self) -> usize {
        let rows =
            self.rows.iter().map(|(_, row)| row.as_ref().map_or(16, |row| row.values.len() + ROW_OVERHEAD));
        let bytes = ENTRY_OVERHEAD + self.key.len() + rows.sum::<usize>();
        std::mem::replace(&mut self.bytes, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Timestamp;

    const USER: EntityTypeId = EntityTypeId(1);

    fn group() -> Vec<Arc<GroupSchema>> {
        vec![Arc::new(GroupSchema { id: GroupId(1), entity_type: USER, columns: Vec::new() })]
    }

    fn row(event: i64) -> Arc<StoredRow> {
        let time = Timestamp::from_stored(event);
        Arc::new(StoredRow { event_timestamp: time, created: time, sequence: 0, values: Box::default() })
    }

    fn get(cache: &LatestCache, key: &str) -> (Option<Arc<StoredRow>>, Option<Miss>) {
        let mut rows = Vec::new();
        let misses = cache.get(USER, &group(), &[key], &mut rows);
        (rows.remove(0), misses.first().copied())
    }

    #[test]
    fn a_fill_never_hides_what_was_published_meanwhile() {
        let cache = LatestCache::new(1 << 20);
        let miss = get(&cache, "u").1.unwrap();
        cache.publish(USER, GroupId(1), "u", || row(2));
        cache.fill(miss, USER, "u", &group(), &[Some(row(1))]);
        let miss = get(&cache, "u").1.unwrap();
        cache.fill(miss, USER, "u", &group(), &[Some(row(2))]);
        assert_eq!(get(&cache, "u").0, Some(row(2)));
    }

    #[test]
    fn the_greatest_wins_and_absence_is_known() {
        let cache = LatestCache::new(1 << 20);
        let miss = get(&cache, "u").1.unwrap();
        cache.fill(miss, USER, "u", &group(), &[None]);
        assert!(matches!(get(&cache, "u"), (None, None)));
        cache.publish(USER, GroupId(1), "u", || row(5));
        cache.publish(USER, GroupId(1), "u", || row(4));
        assert_eq!(get(&cache, "u").0, Some(row(5)));
        cache.invalidate(USER, "u");
        assert!(get(&cache, "u").1.is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let cache = LatestCache::new(SHARDS * 4096);
        for i in 0..10_000 {
            let key = i.to_string();
            let miss = get(&cache, &key).1.unwrap();
            cache.fill(miss, USER, &key, &group(), &[Some(row(1))]);
        }
        let bytes: usize = cache.shards.iter().map(|shard| shard.read().unwrap().bytes).sum();
        assert!(bytes <= SHARDS * 4096 && bytes > SHARDS * 1024, "{bytes}");
    }
}
