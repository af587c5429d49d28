//! What readers of the event log keep: where they stand, what rebuilds their aggregators, and the side tables (see
//! `sides`), in the store's engine, so that they move in one transaction with the rows.

use super::{
    engine::corrupted,
    manifest::Manifest,
    sides::{self, SideChunks},
};
use crate::{
    feature::{RowId, TenantId, Timestamp},
    store::Result,
    store::readers::{Claim, Purpose, ReaderId, ReaderState, ReaderSummary, Save, StateSize, StreamCommit},
    window::Ledger,
};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

/// (partition, purpose, group).
type Reader = (u32, u8, u64);
/// A reader to its epoch and its state; no bytes = it has committed nothing.
pub const READERS: TableDefinition<Reader, (u64, &[u8])> = TableDefinition::new("readers");
/// (reader, number) to a part of an aggregator's state.
pub const SAVES: TableDefinition<(u32, u8, u64, u64), &[u8]> = TableDefinition::new("saves");

/// One transaction of a reader, but for its rows, as bytes.
#[derive(Debug)]
pub struct ReaderChanges {
    pub reader: ReaderId,
    pub epoch: u64,
    state: Vec<u8>,
    save: Option<Save>,
    drop_saves: Vec<u64>,
    opens: Vec<(ReaderId, Vec<u8>, Save)>,
    late: SideChunks,
    dead: SideChunks,
}

impl ReaderChanges {
    /// Takes everything but the rows out of a commit.
    pub fn new(commit: StreamCommit) -> Self {
        let StreamCommit { epoch, state, save, drop_saves, late, dead, opens, .. } = commit;
        let opens = opens.into_iter().map(|(state, save)| (state.reader, encode(&state), save));
        Self {
            reader: state.reader,
            epoch,
            state: encode(&state),
            save,
            drop_saves,
            opens: opens.collect(),
            late: SideChunks::new(state.reader, late),
            dead: SideChunks::new(state.reader, dead),
        }
    }
}

/// A [`ReaderState`] as it is stored: msgpack, fields by position. New fields come last and have a default.
#[derive(Serialize, Deserialize)]
struct StoredState {
    reader: ReaderId,
    next_offset: u64,
    log_time: Option<Timestamp>,
    /// A [`StoredSummary`].
    summary: Vec<u8>,
    done: bool,
    #[serde(default)]
    stalled: Option<String>,
}

/// A [`ReaderSummary`] as it is stored, by the same rule.
#[derive(Serialize, Deserialize)]
struct StoredSummary {
    groups: Vec<(TenantId, RowId)>,
    joins_at: Option<Timestamp>,
    ledger: Ledger,
    #[serde(default)]
    state: StateSize,
}

fn encode(state: &ReaderState) -> Vec<u8> {
    let ReaderState { reader, next_offset, log_time, summary, done, stalled } = state.clone();
    let ReaderSummary { groups, joins_at, ledger, state } = summary;
    let summary = rmp_serde::to_vec(&StoredSummary { groups, joins_at, ledger, state });
    let summary = summary.expect("a reader's summary encodes");
    let stored = StoredState { reader, next_offset, log_time, summary, done, stalled };
    rmp_serde::to_vec(&stored).expect("a reader's state encodes")
}

/// None = the reader has committed nothing.
fn decode(bytes: &[u8]) -> Result<Option<ReaderState>, redb::Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let stored: StoredState = rmp_serde::from_slice(bytes).map_err(corrupted)?;
    let StoredState { reader, next_offset, log_time, summary, done, stalled } = stored;
    let StoredSummary { groups, joins_at, ledger, state } =
        rmp_serde::from_slice(&summary).map_err(corrupted)?;
    let summary = ReaderSummary { groups, joins_at, ledger, state };
    Ok(Some(ReaderState { reader, next_offset, log_time, summary, done, stalled }))
}

/// Roughly what a commit takes beside its rows.
pub fn bytes(commit: &StreamCommit) -> usize {
    let save = |save: &Save| save.bytes.len();
    16 * commit.state.summary.groups.len()
        + commit.save.as_ref().map_or(0, save)
        + commit.opens.iter().map(|(_, opened)| save(opened)).sum::<usize>()
        + commit.late.iter().map(|late| 128 + late.entity_id.len()).sum::<usize>()
        + commit.dead.iter().map(|dead| 128 + dead.record.len()).sum::<usize>()
}

pub fn key(reader: ReaderId) -> Reader {
    match reader.purpose {
        Purpose::Live => (reader.partition, 0, 0),
        Purpose::Backfill(group) => (reader.partition, 1, group.get()),
    }
}

pub fn prepare(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(READERS)?;
    txn.open_table(SAVES)?;
    sides::prepare(txn)
}

/// Makes what a reader changed durable, in the transaction of its rows.
pub fn put(txn: &WriteTransaction, changes: &ReaderChanges) -> Result<(), redb::Error> {
    let (mut readers, mut saves) = (txn.open_table(READERS)?, txn.open_table(SAVES)?);
    let reader = key(changes.reader);
    readers.insert(reader, (changes.epoch, changes.state.as_slice()))?;
    for number in &changes.drop_saves {
        saves.remove((reader.0, reader.1, reader.2, *number))?;
    }
    let mut put = |reader: Reader, save: &Save| -> Result<(), redb::Error> {
        saves.insert((reader.0, reader.1, reader.2, save.number), save.bytes.as_slice())?;
        Ok(())
    };
    if let Some(save) = &changes.save {
        put(reader, save)?;
    }
    for (opened, state, save) in &changes.opens {
        let opened = key(*opened);
        let epoch = readers.get(opened)?.map_or(0, |stored| stored.value().0);
        readers.insert(opened, (epoch, state.as_slice()))?;
        put(opened, save)?;
    }
    sides::put(txn, &changes.late, &changes.dead)
}

impl Manifest {
    /// The epoch of a reader: 0 before anybody claimed it.
    pub fn epoch(&self, reader: ReaderId) -> Result<u64> {
        self.read(|txn| {
            let stored = txn.open_table(READERS)?.get(key(reader))?;
            Ok(stored.map_or(0, |stored| stored.value().0))
        })
    }

    /// Raises a reader's epoch and answers with what it last committed.
    pub fn claim(&self, reader: ReaderId) -> Result<Claim> {
        let key = key(reader);
        self.write(|txn| {
            let (epoch, state) = {
                let mut readers = txn.open_table(READERS)?;
                let stored = readers.get(key)?.map(|stored| (stored.value().0, stored.value().1.to_owned()));
                let (epoch, state) = stored.unwrap_or_default();
                readers.insert(key, (epoch + 1, state.as_slice()))?;
                (epoch + 1, state)
            };
            let saves = txn.open_table(SAVES)?;
            let of_reader = saves.range((key.0, key.1, key.2, 0)..=(key.0, key.1, key.2, u64::MAX))?;
            let saves = of_reader.map(|entry| {
                let (key, bytes) = entry?;
                Ok(Save { number: key.value().3, bytes: bytes.value().to_owned() })
            });
            Ok(Claim { epoch, state: decode(&state)?, saves: saves.collect::<Result<_, redb::Error>>()? })
        })
    }

    /// Notes why a reader stalls; `None` = it was taken over.
    pub fn note_stalled(&self, reader: ReaderId, epoch: u64, why: &str) -> Result<Option<()>> {
        let key = key(reader);
        self.write(|txn| {
            let mut readers = txn.open_table(READERS)?;
            let Some(stored) =
                readers.get(key)?.map(|stored| (stored.value().0, stored.value().1.to_owned()))
            else {
                return Ok(None);
            };
            if stored.0 != epoch {
                return Ok(None);
            }
            let known = decode(&stored.1)?.unwrap_or_else(|| ReaderState::new(reader));
            let state = ReaderState { stalled: Some(why.to_owned()), ..known };
            readers.insert(key, (epoch, encode(&state).as_slice()))?;
            Ok(Some(()))
        })
    }

    /// Readers that have committed something, by partition.
    pub fn readers(&self) -> Result<Vec<ReaderState>> {
        self.read(|txn| {
            let mut found = Vec::new();
            for entry in txn.open_table(READERS)?.iter()? {
                found.extend(decode(entry?.1.value().1)?);
            }
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the versions before 2026-11-27 stored.
    #[test]
    fn states_without_the_newest_fields_are_read() {
        let reader = ReaderId { partition: 3, purpose: Purpose::Live };
        let ledger = Ledger { counted: 7, ..Ledger::default() };
        let groups = vec![(TenantId::from_stored(1), RowId::from_stored(2))];
        let summary = rmp_serde::to_vec(&(&groups, None::<Timestamp>, ledger)).unwrap();
        let bytes = rmp_serde::to_vec(&(reader, 9u64, None::<Timestamp>, summary, false)).unwrap();
        let summary = ReaderSummary { groups, ledger, ..ReaderSummary::default() };
        let expected = ReaderState { next_offset: 9, summary, ..ReaderState::new(reader) };
        assert_eq!(decode(&bytes).unwrap(), Some(expected.clone()));
        assert_eq!(decode(&encode(&expected)).unwrap(), Some(expected));
    }
}
