//! The newest rows of one entity in one piece of memory: a read of it goes to one place, however many groups it has.
//!
//! ```text
//! [groups: u32][key length: u32][a head for each group, ascending by group][key][packed rows]
//!                                └ group: u32, offset: u32 (0 = no row), length: u32, event, created, sequence
//! ```

use super::StoredRow;
use crate::feature::{PackedRow, RowId, Timestamp};
use std::{cmp::Ordering, fmt, sync::Arc};

const COUNTS_BYTES: usize = 8;
const HEAD_BYTES: usize = 40;

/// What is known of one entity: for each of some groups its newest row, or that there is none. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct EntityRows(Arc<[u8]>);

/// A row of an [`EntityRows`], read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRef<'a> {
    pub event_timestamp: Timestamp,
    pub created: Timestamp,
    pub sequence: u64,
    /// Packed by `feature::row`.
    pub values: &'a [u8],
}

impl EntityRows {
    /// `rows` ascends by group.
    pub fn new<'a>(key: &str, rows: impl IntoIterator<Item = (RowId, Option<RowRef<'a>>)>) -> Self {
        let rows: Vec<(RowId, Option<RowRef<'a>>)> = rows.into_iter().collect();
        debug_assert!(rows.is_sorted_by(|a, b| a.0 < b.0));
        let heads = COUNTS_BYTES + rows.len() * HEAD_BYTES + key.len();
        let values: usize = rows.iter().filter_map(|(_, row)| Some((*row)?.values.len())).sum();
        let mut bytes = Vec::with_capacity(heads + values);
        bytes.extend_from_slice(&(rows.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        let mut offset = heads;
        for (group, row) in &rows {
            let (at, len) = row.map_or((0, 0), |row| (offset, row.values.len()));
            bytes.extend_from_slice(&group.get().to_le_bytes());
            for word in [at as u32, len as u32] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            let (event, created, sequence) = row.map_or((0, 0, 0), |row| row.order_bits());
            for word in [event, created, sequence] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            offset += len;
        }
        bytes.extend_from_slice(key.as_bytes());
        rows.iter().filter_map(|(_, row)| *row).for_each(|row| bytes.extend_from_slice(row.values));
        Self(bytes.into())
    }

    /// The entity's storage key, in UTF-8.
    pub fn key(&self) -> &[u8] {
        let start = COUNTS_BYTES + self.groups() * HEAD_BYTES;
        &self.0[start..start + self.word(4) as usize]
    }

    /// The newest row in a group; None = there is none, or the group is not known here. `hint` is where the group may
    /// well stand among the groups.
    #[inline]
    pub fn row(&self, group: RowId, hint: usize) -> Option<RowRef<'_>> {
        self.row_at(self.position(group, hint)?)
    }

    /// Whether a group is known, with a row or without.
    #[inline]
    pub fn knows(&self, group: RowId, hint: usize) -> bool {
        self.position(group, hint).is_some()
    }

    /// All groups with what is known of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (RowId, Option<RowRef<'_>>)> {
        (0..self.groups()).map(|at| (self.group(at), self.row_at(at)))
    }

    /// This entity with what `newer` knows put over what is known here.
    pub fn overlaid<'a>(
        &'a self,
        key: &str,
        newer: impl IntoIterator<Item = (RowId, Option<RowRef<'a>>)>,
    ) -> Self {
        let mut rows: Vec<_> = newer.into_iter().chain(self.iter()).collect();
        // Stable: of two that speak of one group the newer stands first, and stays.
        rows.sort_by_key(|(group, _)| *group);
        rows.dedup_by_key(|(group, _)| *group);
        Self::new(key, rows)
    }

    /// Bytes of memory, the allocation's own overhead left out.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    fn groups(&self) -> usize {
        self.word(0) as usize
    }

    fn group(&self, at: usize) -> RowId {
        RowId::from_stored(self.long(COUNTS_BYTES + at * HEAD_BYTES))
    }

    #[inline]
    fn position(&self, group: RowId, hint: usize) -> Option<usize> {
        let groups = self.groups();
        if hint < groups && self.group(hint) == group {
            return Some(hint);
        }
        let (mut from, mut to) = (0, groups);
        while from < to {
            let middle = (from + to) / 2;
            match self.group(middle).cmp(&group) {
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
                Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    #[inline]
    fn row_at(&self, at: usize) -> Option<RowRef<'_>> {
        let head = COUNTS_BYTES + at * HEAD_BYTES;
        let (offset, len) = (self.word(head + 8) as usize, self.word(head + 12) as usize);
        (offset > 0).then(|| RowRef {
            event_timestamp: Timestamp::from_stored(self.long(head + 16) as i64),
            created: Timestamp::from_stored(self.long(head + 24) as i64),
            sequence: self.long(head + 32),
            values: &self.0[offset..offset + len],
        })
    }

    #[inline]
    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    #[inline]
    fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }
}

impl fmt::Debug for EntityRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a> RowRef<'a> {
    /// The row's cells, read in place.
    #[inline]
    pub fn packed(self) -> PackedRow<'a> {
        PackedRow::new(self.values).expect("a store returns rows that were packed")
    }

    /// Its place in the total order of rows.
    pub fn order(self) -> (Timestamp, Timestamp, u64) {
        (self.event_timestamp, self.created, self.sequence)
    }

    fn order_bits(self) -> (u64, u64, u64) {
        (self.event_timestamp.micros() as u64, self.created.micros() as u64, self.sequence)
    }
}

impl<'a> From<&'a StoredRow> for RowRef<'a> {
    fn from(row: &'a StoredRow) -> Self {
        let StoredRow { event_timestamp, created, sequence, values } = row;
        Self { event_timestamp: *event_timestamp, created: *created, sequence: *sequence, values }
    }
}

impl From<RowRef<'_>> for StoredRow {
    fn from(row: RowRef<'_>) -> Self {
        let RowRef { event_timestamp, created, sequence, values } = row;
        Self { event_timestamp, created, sequence, values: values.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Model = BTreeMap<u64, Option<(i64, u64, Vec<u8>)>>;

    fn model() -> impl Strategy<Value = Model> {
        let row = (any::<i64>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..20));
        prop::collection::btree_map(0..12u64, prop::option::of(row), 0..8)
    }

    fn rows(model: &Model) -> impl Iterator<Item = (RowId, Option<RowRef<'_>>)> {
        model.iter().map(|(group, row)| {
            let row = row.as_ref().map(|(event, sequence, values)| RowRef {
                event_timestamp: Timestamp::from_stored(*event),
                created: Timestamp::from_stored(event ^ 5),
                sequence: *sequence,
                values,
            });
            (RowId::from_stored(*group), row)
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(key in ".{0,9}", first in model(), second in model(), hint in 0..9usize) {
            let entity = EntityRows::new(&key, rows(&first));
            prop_assert_eq!(entity.key(), key.as_bytes());
            prop_assert!(entity.iter().eq(rows(&first)));
            let merged = entity.overlaid(&key, rows(&second));
            let mut both = first.clone();
            both.extend(second);
            prop_assert_eq!(merged.key(), key.as_bytes());
            for group in 0..12 {
                let expected = rows(&both).find(|(id, _)| id.get() == group);
                prop_assert_eq!(merged.knows(RowId::from_stored(group), hint), expected.is_some());
                prop_assert_eq!(merged.row(RowId::from_stored(group), hint), expected.and_then(|(_, row)| row));
            }
        }
    }
}
