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
pub type Rows = HashMap<Box<str>, Vec<RecentRow>>;

/// A row and the commit that brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentRow {
    pub row: Arc<StoredRow>,
    pub commit: u64,
}

/// The recent rows of one group. They are only ever added, and every commit has a greater number: a reader that keeps to
/// the commits up to the one last published when it began has a consistent view without copying anything.
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

    pub fn insert<'a>(&self, rows: impl Iterator<Item = (&'a str, RecentRow)>) {
        let mut all = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        for (key, recent) in rows {
            let row = &recent.row;
            bytes += row.values.len() + ROW_OVERHEAD;
            let of_key = match all.get_mut(key) {
                Some(of_key) => of_key,
                None => {
                    bytes += key.len() + KEY_OVERHEAD;
                    all.entry(key.into()).or_default()
                }
            };
            let at = match of_key.last() {
                Some(last) if last.row.order() > row.order() => {
                    of_key.partition_point(|other| other.row.order() < row.order())
                }
                _ => of_key.len(),
            };
            of_key.insert(at, recent);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The newest row at exactly `event`, of one key's rows.
pub fn newest_at(rows: &[RecentRow], event: i64) -> Option<&StoredRow> {
    let end = rows.partition_point(|recent| recent.row.event_timestamp.micros() <= event);
    let newest = rows[..end].last().map(|recent| &*recent.row);
    newest.filter(|row| row.event_timestamp.micros() == event)
}
