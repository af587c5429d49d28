//! Side tables: late events and dead letters, for people to look at.
//!
//! ```text
//! (tenant, partition, reader, last offset) ──> [log time of the newest: i64][records of one commit: msgpack]
//! ```
//!
//! A chunk is what one commit of a reader had for a tenant, cut where it is long. Chunks of one reader never overlap, so
//! a page merges its readers, which are few.

use super::{Shared, engine::corrupted, manifest::Manifest, readers};
use crate::{
    feature::TenantId,
    store::Result,
    store::{
        log::RecordId,
        readers::{DeadLetter, LateEvent, ReaderId, SideQuery},
    },
};
use redb::{ReadTransaction, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, time::Duration};

/// (tenant, partition, purpose, group, last offset).
pub type Key = (u64, u32, u8, u64, u64);
pub type Chunks = TableDefinition<'static, Key, &'static [u8]>;
pub const LATE: Chunks = Chunks::new("late_events");
pub const DEAD: Chunks = Chunks::new("dead_letters");

/// Where a chunk is cut: a page decodes no more than it needs.
const CHUNK_RECORDS_MAX: usize = 256;
const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// How often outdated chunks are looked for.
pub const REMOVE_EVERY: Duration = Duration::from_secs(60);
/// Chunks removed in one transaction: the writer waits for it.
const REMOVE_CHUNKS_MAX: usize = 256;

/// A record of a side table.
pub trait SideRecord: Serialize + DeserializeOwned {
    fn tenant(&self) -> TenantId;
    fn place(&self) -> RecordId;
    /// In UTC microseconds.
    fn log_time(&self) -> i64;
    /// Roughly.
    fn bytes(&self) -> usize;
    fn is_asked(&self, query: &SideQuery) -> bool;
}

impl SideRecord for LateEvent {
    fn tenant(&self) -> TenantId {
        self.tenant
    }

    fn place(&self) -> RecordId {
        self.place
    }

    fn log_time(&self) -> i64 {
        self.log_time.micros()
    }

    fn bytes(&self) -> usize {
        128 + self.entity_id.len() + 32 * self.missed.len()
    }

    fn is_asked(&self, query: &SideQuery) -> bool {
        let is = |asked: &String, own: &String| asked.is_empty() || asked == own;
        is(&query.event_type, &self.event_type) && is(&query.entity_id, &self.entity_id)
    }
}

impl SideRecord for DeadLetter {
    fn tenant(&self) -> TenantId {
        self.tenant
    }

    fn place(&self) -> RecordId {
        self.place
    }

    fn log_time(&self) -> i64 {
        self.log_time.micros()
    }

    fn bytes(&self) -> usize {
        128 + self.record.len()
    }

    fn is_asked(&self, _: &SideQuery) -> bool {
        true
    }
}

/// Records of one commit as chunks.
#[derive(Debug)]
pub struct SideChunks(Vec<(Key, Vec<u8>)>);

impl SideChunks {
    pub fn new<R: SideRecord>(reader: ReaderId, records: Vec<R>) -> Self {
        let (_, purpose, group) = readers::key(reader);
        let mut by_tenant: BTreeMap<(u64, u32), Vec<R>> = BTreeMap::new();
        for record in records {
            by_tenant.entry((record.tenant().get(), record.place().partition)).or_default().push(record);
        }
        let mut chunks = Vec::new();
        for ((tenant, partition), mut records) in by_tenant {
            records.sort_by_key(SideRecord::place);
            let mut rest = records.as_slice();
            while let Some(first) = rest.first() {
                let mut bytes = first.bytes();
                let more = rest[1..].iter().take(CHUNK_RECORDS_MAX - 1).take_while(|record| {
                    bytes += record.bytes();
                    bytes <= CHUNK_BYTES_MAX
                });
                let chunk;
                (chunk, rest) = rest.split_at(1 + more.count());
                let last = &chunk[chunk.len() - 1];
                let mut encoded = last.log_time().to_le_bytes().to_vec();
                rmp_serde::encode::write(&mut encoded, chunk).expect("records of a side table encode");
                chunks.push(((tenant, partition, purpose, group, last.place().offset), encoded));
            }
        }
        Self(chunks)
    }
}

/// Removes what is older than events are kept.
pub fn remove_outdated(shared: &Shared) -> Result<()> {
    while !shared.compactor.is_stopped() {
        if shared.manifest.remove_sides(shared.event_retention_bound(), REMOVE_CHUNKS_MAX)?
            < REMOVE_CHUNKS_MAX
        {
            break;
        }
    }
    Ok(())
}

pub fn prepare(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(LATE)?;
    txn.open_table(DEAD)?;
    Ok(())
}

pub fn put(txn: &WriteTransaction, late: &SideChunks, dead: &SideChunks) -> Result<(), redb::Error> {
    for (table, chunks) in [(LATE, late), (DEAD, dead)] {
        if !chunks.0.is_empty() {
            let mut table = txn.open_table(table)?;
            for (key, bytes) in &chunks.0 {
                table.insert(*key, bytes.as_slice())?;
            }
        }
    }
    Ok(())
}

impl Manifest {
    pub fn late_events(&self, query: &SideQuery) -> Result<Vec<LateEvent>> {
        self.read(|txn| page(txn, LATE, query))
    }

    pub fn dead_letters(&self, query: &SideQuery) -> Result<Vec<DeadLetter>> {
        self.read(|txn| page(txn, DEAD, query))
    }

    /// Removes chunks whose records all have an older log time than `before`, at most `chunks_max`; the number of them.
    pub fn remove_sides(&self, before: i64, chunks_max: usize) -> Result<usize> {
        let mut removed = 0;
        for definition in [LATE, DEAD] {
            let outdated = self.read(|txn| outdated(txn, definition, before, chunks_max - removed))?;
            if !outdated.is_empty() {
                self.write(|txn| {
                    let mut table = txn.open_table(definition)?;
                    for key in &outdated {
                        table.remove(*key)?;
                    }
                    Ok(())
                })?;
            }
            removed += outdated.len();
        }
        Ok(removed)
    }
}

/// Records after a place, by place. A page ends with all records of its last place, so it may be a few longer than asked.
fn page<R: SideRecord>(
    txn: &ReadTransaction,
    chunks: Chunks,
    query: &SideQuery,
) -> Result<Vec<R>, redb::Error> {
    let table = txn.open_table(chunks)?;
    let mut found: Vec<R> = Vec::new();
    let mut partition = query.after.map_or(0, |after| after.partition);
    while found.len() < query.limit {
        // Of each reader of the partition as many as a page has, then the first of them all.
        let from = match query.after {
            Some(after) if after.partition == partition => after.offset.saturating_add(1),
            _ => 0,
        };
        let left = query.limit - found.len();
        let mut of_partition: Vec<R> = Vec::new();
        let mut next = (query.tenant.get(), partition, 0, 0, 0);
        let end = (query.tenant.get(), u32::MAX, u8::MAX, u64::MAX, u64::MAX);
        let mut later = None;
        while let Some((key, _)) = table.range(next..=end)?.next().transpose()? {
            let (tenant, of, purpose, group, _) = key.value();
            if of != partition {
                later = Some(of);
                break;
            }
            let reader = |offset| (tenant, of, purpose, group, offset);
            let mut count = 0;
            for entry in table.range(reader(from)..=reader(u64::MAX))? {
                let chunk: Vec<R> = decode(entry?.1.value())?.1;
                let asked = chunk
                    .into_iter()
                    .filter(|record| record.place().offset >= from && record.is_asked(query));
                let before = of_partition.len();
                of_partition.extend(asked);
                count += of_partition.len() - before;
                if count > left {
                    break;
                }
            }
            next = match group.checked_add(1) {
                Some(group) => (tenant, of, purpose, group, 0),
                None => (tenant, of, purpose + 1, 0, 0),
            };
        }
        of_partition.sort_by_key(SideRecord::place);
        if let Some(last) = of_partition.get(left - 1).map(SideRecord::place) {
            of_partition.truncate(of_partition.partition_point(|record| record.place() <= last));
        }
        found.extend(of_partition);
        match later {
            Some(later) => partition = later,
            None => break,
        }
    }
    Ok(found)
}

fn outdated(
    txn: &ReadTransaction,
    chunks: Chunks,
    before: i64,
    chunks_max: usize,
) -> Result<Vec<Key>, redb::Error> {
    let table = txn.open_table(chunks)?;
    let mut outdated = Vec::new();
    let mut next: Option<Key> = Some((0, 0, 0, 0, 0));
    while let Some(start) = next.take()
        && outdated.len() < chunks_max
    {
        // The chunks of one reader and tenant are in the order of log time.
        let Some((first, _)) = table.range(start..)?.next().transpose()? else { break };
        let (tenant, partition, purpose, group, _) = first.value();
        let end = (tenant, partition, purpose, group, u64::MAX);
        for entry in table.range(first.value()..=end)? {
            let (key, bytes) = entry?;
            if outdated.len() == chunks_max || log_time(bytes.value())? >= before {
                break;
            }
            outdated.push(key.value());
        }
        next = Some(match group.checked_add(1) {
            Some(group) => (tenant, partition, purpose, group, 0),
            None => (tenant, partition, purpose + 1, 0, 0),
        });
    }
    Ok(outdated)
}

fn log_time(bytes: &[u8]) -> Result<i64, redb::Error> {
    let log_time = bytes.first_chunk().ok_or_else(|| corrupted("a chunk of a side table"))?;
    Ok(i64::from_le_bytes(*log_time))
}

fn decode<R: SideRecord>(bytes: &[u8]) -> Result<(i64, Vec<R>), redb::Error> {
    let log_time = log_time(bytes)?;
    Ok((log_time, rmp_serde::from_slice(&bytes[8..]).map_err(corrupted)?))
}
