//! The engine's tables: what is durable beside the segments, and the transactions that keep both in step.

use super::{
    directory::Directory,
    engine::{Engine, corrupted},
    readers::{self, ReaderChanges},
    segment::SegmentMeta,
    tail::{self, KeyedRow},
    upgrade,
};
use crate::{
    feature::{Dtype, EntityTypeId, RowId, RowSchema, TenantId, definition::ColumnSchema},
    store::{Result, StoreError},
};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, fs, sync::Arc};

const FORMAT: i64 = 3;
/// The engine holds little (the recent tail, the registry) and its rows are kept in memory beside it.
const CACHE_BYTES: usize = 8 << 20;
/// How long an idempotency key is remembered.
const IDEMPOTENCY_MICROS: i64 = 24 * 3_600 * 1_000_000;
/// Expired idempotency keys removed with each new one, so that none piles up and no commit waits for many.
const EXPIRED_PER_COMMIT_MAX: usize = 8;

const META: TableDefinition<&str, i64> = TableDefinition::new("meta");
pub const GROUPS: TableDefinition<u64, &[u8]> = TableDefinition::new("groups");
/// (group, commit) to the rows that the commit wrote to the group (see `tail`).
pub const TAIL: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("tail");
const SEGMENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("segments");
/// Segments that were named once: their files are garbage, wherever a crash left them.
const REMOVED: TableDefinition<u64, ()> = TableDefinition::new("removed");
/// Fingerprint, created, answer.
pub type Replay = (&'static [u8; 32], i64, &'static [u8]);
/// (tenant, key) to what a repeat gets.
pub const IDEMPOTENCY: TableDefinition<(u64, &str), Replay> = TableDefinition::new("idempotency");
pub const IDEMPOTENCY_BY_AGE: TableDefinition<(i64, u64, &str), ()> =
    TableDefinition::new("idempotency_by_age");

const META_FORMAT: &str = "format";
const META_SETTLED: &str = "settled_reserved";
const META_RETENTION: &str = "retention_bound";

/// The engine with the store's tables.
#[derive(Debug)]
pub struct Manifest {
    engine: Engine,
}

/// Everything that a start needs.
#[derive(Debug, Default)]
pub struct Recovered {
    pub groups: Vec<RowSchema>,
    pub segments: Vec<SegmentMeta>,
    pub removed: HashSet<u64>,
    pub tail: Vec<(RowId, u64, Vec<KeyedRow>)>,
    pub settled_reserved: Option<i64>,
    pub retention_bound: Option<i64>,
}

/// What one group of commits makes durable, all or nothing.
#[derive(Debug, Default)]
pub struct Changes {
    /// Records of `tail`.
    pub tail: Vec<(RowId, u64, Vec<u8>)>,
    pub segments: Vec<SegmentMeta>,
    pub answers: Vec<StoredAnswer>,
    /// What readers of the event log changed, in their order.
    pub readers: Vec<ReaderChanges>,
    /// Records of the tail that segments now hold: of this group, up to this commit.
    pub flushed: Option<(RowId, u64)>,
    /// Segments that others replace.
    pub removed: Vec<u64>,
    pub retention_bound: Option<i64>,
}

/// The answer to a request that bore an idempotency key.
#[derive(Clone, Debug)]
pub struct StoredAnswer {
    pub tenant: TenantId,
    pub key: String,
    pub fingerprint: [u8; 32],
    pub created: i64,
    pub answer: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct GroupRecord {
    entity_type: EntityTypeId,
    windowed: bool,
    columns: Vec<(String, Dtype)>,
}

impl Manifest {
    /// Opens or makes the engine's file. A second process is refused.
    pub fn open(directory: &Directory) -> Result<Self> {
        let path = directory.engine();
        if fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
            return Self::prepare(Engine::open(&path, CACHE_BYTES)?);
        }
        // Under its own name it is whole: a start that dies here is begun again.
        let mut manifest = Self::prepare(Engine::create(&directory.engine_unfinished(), CACHE_BYTES)?)?;
        manifest.engine.rename(&path)?;
        directory.sync()?;
        Ok(manifest)
    }

    pub fn in_memory() -> Result<Self> {
        Self::prepare(Engine::in_memory()?)
    }

    /// Makes what is missing in an engine, and refuses one of another format.
    pub fn prepare(engine: Engine) -> Result<Self> {
        engine
            .write(|txn| {
                let mut meta = txn.open_table(META)?;
                let format = meta.get(META_FORMAT)?.map(|format| format.value());
                match format {
                    None => drop(meta.insert(META_FORMAT, FORMAT)?),
                    Some(FORMAT) => {}
                    Some(2) => {
                        upgrade::to_3(txn)?;
                        meta.insert(META_FORMAT, FORMAT)?;
                    }
                    Some(other) => return Ok(Err(other)),
                }
                txn.open_table(GROUPS)?;
                txn.open_table(TAIL)?;
                txn.open_table(SEGMENTS)?;
                txn.open_table(REMOVED)?;
                txn.open_table(IDEMPOTENCY)?;
                txn.open_table(IDEMPOTENCY_BY_AGE)?;
                super::registry::prepare(txn)?;
                readers::prepare(txn)?;
                Ok(Ok(()))
            })?
            .map_err(|format| {
                StoreError::Unusable(format!(
                    "the data directory has format {format}, this program knows {FORMAT}; use a newer larder"
                ))
            })?;
        Ok(Self { engine })
    }

    /// Runs one transaction and commits it; durable when this returns, where there is a disk.
    pub fn write<T>(&self, body: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> Result<T> {
        self.engine.write(body)
    }

    pub fn read<T>(&self, body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T> {
        self.engine.read(body)
    }

    pub fn recover(&self) -> Result<Recovered> {
        self.read(|txn| {
            let mut found = Recovered::default();
            let meta = txn.open_table(META)?;
            found.settled_reserved = meta.get(META_SETTLED)?.map(|value| value.value());
            found.retention_bound = meta.get(META_RETENTION)?.map(|value| value.value());
            for entry in txn.open_table(GROUPS)?.iter()? {
                let (id, bytes) = entry?;
                found.groups.push(decode_group(RowId::from_stored(id.value()), bytes.value())?);
            }
            for entry in txn.open_table(SEGMENTS)?.iter()? {
                found.segments.push(rmp_serde::from_slice(entry?.1.value()).map_err(corrupted)?);
            }
            for entry in txn.open_table(REMOVED)?.iter()? {
                found.removed.insert(entry?.0.value());
            }
            for entry in txn.open_table(TAIL)?.iter()? {
                let (key, bytes) = entry?;
                let (group, commit) = key.value();
                let rows = tail::decode(bytes.value()).ok_or_else(|| corrupted("a record of the tail"))?;
                found.tail.push((RowId::from_stored(group), commit, rows));
            }
            Ok(found)
        })
    }

    /// `groups` are those that are new or have new columns.
    pub fn apply(&self, changes: &Changes, groups: &[Arc<RowSchema>]) -> Result<()> {
        self.write(|txn| {
            if !groups.is_empty() {
                let mut stored = txn.open_table(GROUPS)?;
                for group in groups {
                    stored.insert(group.id.get(), encode_group(group).as_slice())?;
                }
            }
            if !changes.tail.is_empty() && self.engine.durable {
                let mut tail = txn.open_table(TAIL)?;
                for (group, commit, record) in &changes.tail {
                    tail.insert((group.get(), *commit), record.as_slice())?;
                }
            }
            if let Some((group, last)) = changes.flushed {
                txn.open_table(TAIL)?.retain_in((group.get(), 0)..=(group.get(), last), |_, _| false)?;
            }
            if !changes.segments.is_empty() || !changes.removed.is_empty() {
                let mut segments = txn.open_table(SEGMENTS)?;
                for meta in &changes.segments {
                    let bytes = rmp_serde::to_vec(meta).expect("a segment's record encodes");
                    segments.insert(meta.id, bytes.as_slice())?;
                }
                let mut removed = txn.open_table(REMOVED)?;
                for id in &changes.removed {
                    segments.remove(id)?;
                    removed.insert(id, ())?;
                }
            }
            if let Some(bound) = changes.retention_bound {
                txn.open_table(META)?.insert(META_RETENTION, bound)?;
            }
            for changes in &changes.readers {
                readers::put(txn, changes)?;
            }
            put_answers(txn, &changes.answers)
        })
    }

    /// Forgets the segments that were removed: their files are gone.
    pub fn forget_removed(&self) -> Result<()> {
        let is_empty = self.read(|txn| Ok(txn.open_table(REMOVED)?.is_empty()?))?;
        if is_empty {
            return Ok(());
        }
        self.write(|txn| Ok(txn.open_table(REMOVED)?.retain(|_, ()| false)?))
    }

    /// Makes sure that settled times up to `until` are remembered.
    pub fn reserve_settled(&self, until: i64) -> Result<()> {
        if !self.engine.durable {
            return Ok(());
        }
        self.write(|txn| {
            let mut meta = txn.open_table(META)?;
            let stored = meta.get(META_SETTLED)?.map(|value| value.value());
            if stored.is_none_or(|stored| stored < until) {
                meta.insert(META_SETTLED, until)?;
            }
            Ok(())
        })
    }

    /// The answer that a key got within the last 24 hours, with its request's fingerprint.
    pub fn answer(&self, tenant: TenantId, key: &str, now: i64) -> Result<Option<StoredAnswer>> {
        self.read(|txn| {
            let found = txn.open_table(IDEMPOTENCY)?.get((tenant.get(), key))?;
            Ok(found.and_then(|found| {
                let (fingerprint, created, answer) = found.value();
                (created > now - IDEMPOTENCY_MICROS).then(|| StoredAnswer {
                    tenant,
                    key: key.to_owned(),
                    fingerprint: *fingerprint,
                    created,
                    answer: answer.to_owned(),
                })
            }))
        })
    }
}

fn put_answers(txn: &WriteTransaction, answers: &[StoredAnswer]) -> Result<(), redb::Error> {
    let Some(newest) = answers.last().map(|answer| answer.created) else { return Ok(()) };
    let mut by_key = txn.open_table(IDEMPOTENCY)?;
    let mut by_age = txn.open_table(IDEMPOTENCY_BY_AGE)?;
    let mut expired = Vec::new();
    for entry in
        by_age.range(..(newest - IDEMPOTENCY_MICROS, 0, ""))?.take(EXPIRED_PER_COMMIT_MAX * answers.len())
    {
        let entry = entry?.0;
        let (created, tenant, key) = entry.value();
        expired.push((created, tenant, key.to_owned()));
    }
    for (created, tenant, key) in expired {
        by_age.remove((created, tenant, key.as_str()))?;
        // The key may have been used again since.
        if by_key.get((tenant, key.as_str()))?.is_some_and(|found| found.value().1 == created) {
            by_key.remove((tenant, key.as_str()))?;
        }
    }
    for answer in answers {
        let key = (answer.tenant.get(), answer.key.as_str());
        by_key.insert(key, (&answer.fingerprint, answer.created, answer.answer.as_slice()))?;
        by_age.insert((answer.created, answer.tenant.get(), answer.key.as_str()), ())?;
    }
    Ok(())
}

fn encode_group(group: &RowSchema) -> Vec<u8> {
    let columns = group.columns.iter().map(|column| (column.name.clone(), column.dtype)).collect();
    let record = GroupRecord { entity_type: group.entity_type, windowed: group.windowed, columns };
    rmp_serde::to_vec(&record).expect("a group's record encodes")
}

fn decode_group(id: RowId, bytes: &[u8]) -> Result<RowSchema, redb::Error> {
    let record: GroupRecord = rmp_serde::from_slice(bytes).map_err(corrupted)?;
    let columns = record.columns.into_iter().map(|(name, dtype)| ColumnSchema { name, dtype }).collect();
    Ok(RowSchema { id, entity_type: record.entity_type, windowed: record.windowed, columns })
}
