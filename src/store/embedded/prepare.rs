//! Sorting a batch by entity and time, before the writer sees it: the part of a commit that can run beside others.

use crate::{
    feature::Column,
    store::{
        RowBatch,
        readers::{Created, StreamRows},
    },
};
use arrow::{
    array::{Array, StringArray},
    buffer::ScalarBuffer,
};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// A batch with the order of its rows.
#[derive(Debug)]
pub struct PreparedBatch {
    pub batch: RowBatch,
    /// What rows of a stream bring with them; then the batch has no sequences.
    logged: Option<Logged>,
    /// Row numbers by (key, event timestamp, created, sequence).
    pub order: Vec<u32>,
    /// Where each distinct key begins in `order`, in key order; and the end.
    pub starts: Vec<u32>,
    /// Least and greatest event timestamp.
    pub events: (i64, i64),
    /// Roughly what the rows take in a segment.
    pub bytes: usize,
}

/// What orders rows of a stream that are of one moment.
#[derive(Debug)]
struct Logged {
    /// None = that of the commit.
    created: Option<Vec<i64>>,
    sequences: Vec<u64>,
}

impl PreparedBatch {
    /// Rows of one commit: their positions in it break ties.
    pub fn new(batch: RowBatch) -> Self {
        let events = batch.event_timestamps.clone();
        Self::sort(batch, None, |row| events[row])
    }

    /// Rows of a stream: they know when they were learned, unless that is when they are committed.
    pub fn of_stream(rows: StreamRows, created: Created) -> Self {
        let StreamRows { group, rows } = rows;
        let logged = Logged {
            created: (created == Created::AsLogged).then_some(rows.created),
            sequences: rows.sequences,
        };
        let batch = RowBatch {
            group,
            keys: rows.keys,
            event_timestamps: rows.event_timestamps.into(),
            sequences: ScalarBuffer::default(),
            columns: rows.columns,
        };
        let events = batch.event_timestamps.clone();
        let (created, sequences) = (logged.created.clone(), logged.sequences.clone());
        let order = move |row: usize| {
            (events[row], created.as_ref().map_or(0, |created| created[row]), sequences[row])
        };
        Self::sort(batch, Some(logged), order)
    }

    fn sort<O: Ord>(batch: RowBatch, logged: Option<Logged>, place: impl Fn(usize) -> O) -> Self {
        let keys = Interned::new(batch.keys.len(), |row| batch.keys.value(row));
        let (mut order, starts) = keys.rows_by_key();
        for key in starts.windows(2) {
            let rows = &mut order[key[0] as usize..key[1] as usize];
            if !rows.is_sorted_by_key(|row| place(*row as usize)) {
                rows.sort_by_key(|row| place(*row as usize));
            }
        }
        let events = &batch.event_timestamps;
        let least = events.iter().copied().min().unwrap_or(i64::MAX);
        let greatest = events.iter().copied().max().unwrap_or(i64::MIN);
        let bytes = bytes(&batch.keys, &batch.columns);
        Self { order, starts, events: (least, greatest), bytes, batch, logged }
    }

    /// Distinct keys in order, each with its rows in order.
    pub fn entities(&self) -> impl Iterator<Item = (&str, &[u32])> {
        self.starts.windows(2).map(|key| {
            let rows = &self.order[key[0] as usize..key[1] as usize];
            (self.batch.keys.value(rows[0] as usize), rows)
        })
    }

    /// When a row was learned, in a commit of that moment.
    pub fn created(&self, row: u32, commit: i64) -> i64 {
        let created = self.logged.as_ref().and_then(|logged| logged.created.as_ref());
        created.map_or(commit, |created| created[row as usize])
    }

    pub fn sequence(&self, row: u32) -> u64 {
        match &self.logged {
            Some(logged) => logged.sequences[row as usize],
            None => self.batch.sequences[row as usize].into(),
        }
    }

    /// The same of many rows.
    pub fn created_of(&self, rows: &[u32], commit: i64) -> ScalarBuffer<i64> {
        match self.logged.as_ref().and_then(|logged| logged.created.as_ref()) {
            Some(created) => rows.iter().map(|row| created[*row as usize]).collect(),
            None => vec![commit; rows.len()].into(),
        }
    }

    pub fn sequences_of(&self, rows: &[u32]) -> ScalarBuffer<u64> {
        match &self.logged {
            Some(logged) => rows.iter().map(|row| logged.sequences[*row as usize]).collect(),
            None => rows.iter().map(|row| u64::from(self.batch.sequences[*row as usize])).collect(),
        }
    }
}

/// Roughly what rows take in a segment.
pub fn bytes(keys: &StringArray, columns: &[Column]) -> usize {
    let column = |values: &dyn Array| values.to_data().get_slice_memory_size().unwrap_or_default();
    keys.len() * 28 + columns.iter().map(|of| column(&of.values)).sum::<usize>()
}

/// The distinct keys of many rows, in byte order.
pub struct Interned {
    /// The rank of each row's key.
    ranks: Vec<u32>,
    /// Any row that bears the key, by rank.
    pub witnesses: Vec<u32>,
}

impl Interned {
    /// `key(row)` for each row below `rows`.
    pub fn new<'a>(rows: usize, key: impl Fn(usize) -> &'a str) -> Self {
        let hasher = DefaultHashBuilder::default();
        let mut table: HashTable<(u64, u32)> = HashTable::new();
        let mut witnesses: Vec<u32> = Vec::new();
        let mut ids = Vec::with_capacity(rows);
        for row in 0..rows {
            let text = key(row);
            // Rows of one entity often follow each other.
            if let Some(last) = ids.last()
                && key(witnesses[*last as usize] as usize) == text
            {
                ids.push(*last);
                continue;
            }
            let hash = hasher.hash_one(text);
            let entry = table.entry(
                hash,
                |(other, id)| *other == hash && key(witnesses[*id as usize] as usize) == text,
                |(hash, _)| *hash,
            );
            let id = entry
                .or_insert_with(|| {
                    witnesses.push(row as u32);
                    (hash, witnesses.len() as u32 - 1)
                })
                .get()
                .1;
            ids.push(id);
        }
        let by_rank = sorted(&witnesses, &key);
        let mut rank_of = vec![0u32; witnesses.len()];
        for (rank, id) in by_rank.iter().enumerate() {
            rank_of[*id as usize] = rank as u32;
        }
        ids.iter_mut().for_each(|id| *id = rank_of[*id as usize]);
        let witnesses = by_rank.iter().map(|id| witnesses[*id as usize]).collect();
        Self { ranks: ids, witnesses }
    }

    /// Rows by (rank, row), and where each rank begins in them; and the end.
    pub fn rows_by_key(&self) -> (Vec<u32>, Vec<u32>) {
        let mut starts = vec![0u32; self.witnesses.len() + 1];
        for rank in &self.ranks {
            starts[*rank as usize + 1] += 1;
        }
        for rank in 1..starts.len() {
            starts[rank] += starts[rank - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0u32; self.ranks.len()];
        for (row, rank) in self.ranks.iter().enumerate() {
            let at = &mut next[*rank as usize];
            order[*at as usize] = row as u32;
            *at += 1;
        }
        (order, starts)
    }
}

/// Ids in the byte order of their keys. Ids of one store begin alike (`user_`), so the eight bytes after the common
/// beginning decide nearly always, and comparing them touches no text.
fn sorted<'a>(witnesses: &[u32], key: &impl Fn(usize) -> &'a str) -> Vec<u32> {
    let text = |id: u32| key(witnesses[id as usize] as usize).as_bytes();
    let mut ids: Vec<u32> = (0..witnesses.len() as u32).collect();
    let Some(first) = ids.first().map(|id| text(*id)) else { return ids };
    let common = ids.iter().fold(first.len(), |common, id| {
        let same = first[..common].iter().zip(text(*id)).take_while(|(a, b)| a == b).count();
        common.min(same)
    });
    let prefix = |id: u32| {
        let rest = &text(id)[common..];
        let mut bytes = [0; 8];
        let len = rest.len().min(8);
        bytes[..len].copy_from_slice(&rest[..len]);
        u64::from_be_bytes(bytes)
    };
    let mut by_prefix: Vec<(u64, u32)> = ids.iter().map(|id| (prefix(*id), *id)).collect();
    by_prefix.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| text(a.1).cmp(text(b.1))));
    ids.clear();
    ids.extend(by_prefix.into_iter().map(|(_, id)| id));
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_come_in_byte_order(keys in prop::collection::vec("u?s?[a-c\0é🙂]{0,12}", 0..60)) {
            let interned = Interned::new(keys.len(), |row| keys[row].as_str());
            let (order, starts) = interned.rows_by_key();
            let mut expected: Vec<u32> = (0..keys.len() as u32).collect();
            expected.sort_by_key(|row| keys[*row as usize].as_bytes());
            prop_assert_eq!(&order, &expected);
            let mut distinct = keys.clone();
            distinct.sort();
            distinct.dedup();
            let witnessed: Vec<String> = interned.witnesses.iter().map(|row| keys[*row as usize].clone()).collect();
            prop_assert_eq!(&witnessed, &distinct);
            for (rank, key) in distinct.iter().enumerate() {
                for at in starts[rank]..starts[rank + 1] {
                    prop_assert_eq!(&keys[order[at as usize] as usize], key);
                }
            }
        }
    }
}
