//! One row as a store holds it.

use crate::feature::{PackedRow, Timestamp};

/// A row as a store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    pub event_timestamp: Timestamp,
    pub created: Timestamp,
    pub sequence: u64,
    /// Packed by `feature::row`.
    pub values: Box<[u8]>,
}

impl StoredRow {
    /// The row's cells, read in place.
    pub fn packed(&self) -> PackedRow<'_> {
        PackedRow::new(&self.values).expect("a store returns rows that were packed")
    }

    /// Its place in the total order of rows.
    pub fn order(&self) -> (Timestamp, Timestamp, u64) {
        (self.event_timestamp, self.created, self.sequence)
    }
}
