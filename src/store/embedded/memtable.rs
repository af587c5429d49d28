//! Rows since the last flush: packed, by entity, in order.

use crate::store::StoredRow;
use hashbrown::HashMap;
use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes that a row costs beside its values.
const ROW_OVERHEAD: usize = 96;
const KEY_OVERHEAD: usize = 96;

/// The rows of each key in order (event, created, sequence).
pub type Rows = HashMap<Box<str>, Vec<Arc<StoredRow>>>;

/// The recent rows of one group. They are only ever added, and every commit has a greater `created`: a reader that
/// keeps to `created` ≤ the moment it began has a consistent view without copying anything.
#[derive(Debug, Default)]
pub struct Memtable {
    rows: RwLock<Rows>,
    bytes: AtomicUsize,
}

impl Memtable {
    /// Roughly the memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// All rows, for reading; hold it briefly, writers wait for it.
    pub fn read(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn insert<'a>(&self, rows: impl Iterator<Item = (&'a str, Arc<StoredRow>)>) {
        let mut all = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        for (key, row) in rows {
            bytes += row.values.len() + ROW_OVERHEAD;
            let of_key = match all.get_mut(key) {
                Some(of_key) => of_key,
                None => {
                    bytes += key.len() + KEY_OVERHEAD;
                    all.entry(key.into()).or_default()
                }
            };
            let at = match of_key.last() {
                Some(last) if last.order() > row.order() => {
                    of_key.partition_point(|other| other.order() < row.order())
                }
                _ => of_key.len(),
            };
            of_key.insert(at, row);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The newest row at exactly `event`, of one key's rows.
pub fn newest_at(rows: &[Arc<StoredRow>], event: i64) -> Option<&Arc<StoredRow>> {
    let end = rows.partition_point(|row| row.event_timestamp.micros() <= event);
    rows[..end].last().filter(|row| row.event_timestamp.micros() == event)
}
