//! The tables of one volume. They are read in a transaction of whoever knows which volume that is (see `volumes`).
//!
//! ```text
//! meta      format, partitions, the log that the volume belongs to, its number
//! volumes   number of a volume ─> where it begins in each partition: this one, and all that were kept when it began
//! blobs     (partition, first offset) ─> records
//! heads     (partition, first offset) ─> head of the blob, and bytes of the partition's blobs up to its end
//! ```

use super::{
    blob::{Blob, HEAD_BYTES, Head},
    mark::{self, Mark},
};
use crate::store::{
    embedded::engine::corrupted,
    log::{FindRecords, Found},
};
use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};

pub const FORMAT: u64 = 2;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const VOLUMES: TableDefinition<u64, &[u8]> = TableDefinition::new("volumes");
const BLOBS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("blobs");
/// The heads of the blobs once more, so that looking for records reads few pages.
const HEADS: TableDefinition<(u32, u64), &[u8; HEAD_BYTES + 8]> = TableDefinition::new("heads");

const META_FORMAT: &str = "format";
const META_PARTITIONS: &str = "partitions";
const META_LOG: &str = "log";
const META_NUMBER: &str = "number";
/// Heads that one search looks at.
const FIND_HEADS_MAX: usize = 64 * 1024;

/// Which volume of which log this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub format: u64,
    pub partitions: u32,
    /// Drawn when the log began, so that nobody takes another log's volume for one of this.
    pub log: u64,
    pub number: u64,
}

/// Where a volume begins in each partition. It ends where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub number: u64,
    pub begin: Vec<Mark>,
}

/// A search under way: it goes on from volume to volume.
#[derive(Debug)]
pub struct Search {
    pub found: Found,
    bytes_left: usize,
    heads_left: usize,
}

impl Search {
    pub fn new(query: &FindRecords) -> Self {
        let found = Found::default();
        Self { found, bytes_left: query.bytes_max.max(1), heads_left: FIND_HEADS_MAX }
    }
}

/// Makes the tables of a volume, the last one of `volumes`.
pub fn begin(txn: &WriteTransaction, identity: &Identity, volumes: &[Volume]) -> Result<(), redb::Error> {
    txn.open_table(BLOBS)?;
    txn.open_table(HEADS)?;
    let mut meta = txn.open_table(META)?;
    meta.insert(META_FORMAT, identity.format)?;
    meta.insert(META_PARTITIONS, u64::from(identity.partitions))?;
    meta.insert(META_LOG, identity.log)?;
    meta.insert(META_NUMBER, identity.number)?;
    let mut table = txn.open_table(VOLUMES)?;
    for volume in volumes {
        table.insert(volume.number, mark::encode(&volume.begin).as_slice())?;
    }
    Ok(())
}

/// `None` if this is no volume.
pub fn identity(txn: &ReadTransaction) -> Result<Option<Identity>, redb::Error> {
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let value = |name| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |value| value.value()));
    Ok(Some(Identity {
        format: value(META_FORMAT)?,
        partitions: value(META_PARTITIONS)? as u32,
        log: value(META_LOG)?,
        number: value(META_NUMBER)?,
    }))
}

/// The volumes that are kept, oldest first, as the newest one knows them.
pub fn volumes(txn: &ReadTransaction, partitions: u32) -> Result<Vec<Volume>, redb::Error> {
    let table = txn.open_table(VOLUMES)?;
    let volume = |entry: Result<(redb::AccessGuard<u64>, redb::AccessGuard<&[u8]>), _>| {
        let (number, begin) = entry?;
        let begin = mark::decode(begin.value(), partitions)
            .ok_or_else(|| corrupted("where a volume of the event log begins"))?;
        Ok(Volume { number: number.value(), begin })
    };
    table.iter()?.map(volume).collect()
}

/// Forgets volumes that nobody needs any more.
pub fn forget(txn: &WriteTransaction, numbers: &[u64]) -> Result<(), redb::Error> {
    let mut table = txn.open_table(VOLUMES)?;
    numbers.iter().try_for_each(|number| table.remove(number).map(drop))?;
    Ok(())
}

/// Where a partition ends that begins at a mark, and the log time of its first record in this volume.
pub fn end(txn: &ReadTransaction, partition: u32, begin: Mark) -> Result<(Mark, Option<i64>), redb::Error> {
    let heads = txn.open_table(HEADS)?;
    let mut all = heads.range((partition, 0)..=(partition, u64::MAX))?;
    let Some((_, first)) = all.next().transpose()? else { return Ok((begin, None)) };
    let oldest = split(first.value()).0.log_time;
    let mut all = heads.range((partition, 0)..=(partition, u64::MAX))?;
    let Some((key, last)) = all.next_back().transpose()? else { return Ok((begin, None)) };
    let (head, bytes) = split(last.value());
    let end = Mark { offset: key.value().1 + u64::from(head.records), log_time: head.log_time, bytes };
    Ok((end, Some(oldest)))
}

/// Adds blobs, and moves the marks of their partitions behind them.
pub fn append(txn: &WriteTransaction, blobs: &[(u32, Blob)], marks: &mut [Mark]) -> Result<(), redb::Error> {
    let (mut bytes, mut heads) = (txn.open_table(BLOBS)?, txn.open_table(HEADS)?);
    for (partition, blob) in blobs {
        let mark = &mut marks[*partition as usize];
        *mark = Mark {
            offset: blob.end(),
            log_time: blob.head.log_time,
            bytes: mark.bytes + blob.bytes().len() as u64,
        };
        let mut head = [0; HEAD_BYTES + 8];
        head[..HEAD_BYTES].copy_from_slice(&blob.head.encode());
        head[HEAD_BYTES..].copy_from_slice(&mark.bytes.to_le_bytes());
        bytes.insert((*partition, blob.first), blob.bytes())?;
        heads.insert((*partition, blob.first), &head)?;
    }
    Ok(())
}

/// The log time of a record, or of the oldest one after it.
pub fn log_time_at(txn: &ReadTransaction, partition: u32, offset: u64) -> Result<Option<i64>, redb::Error> {
    let heads = txn.open_table(HEADS)?;
    let first = first_at(&heads, partition, offset)?;
    for entry in heads.range((partition, first)..=(partition, u64::MAX))? {
        let (key, head) = entry?;
        let (head, _) = split(head.value());
        if key.value().1 + u64::from(head.records) > offset {
            return Ok(Some(head.log_time));
        }
    }
    Ok(None)
}

/// Adds blobs from the one on that holds an offset, until they have no less than `bytes_left` bytes.
pub fn read(
    txn: &ReadTransaction,
    partition: u32,
    from: u64,
    bytes_left: &mut usize,
    found: &mut Vec<Blob>,
) -> Result<(), redb::Error> {
    let blobs = txn.open_table(BLOBS)?;
    let first = first_at(&blobs, partition, from)?;
    for entry in blobs.range((partition, first)..=(partition, u64::MAX))? {
        if *bytes_left == 0 {
            break;
        }
        let (key, value) = entry?;
        let blob = parse(key.value().1, value.value())?;
        *bytes_left = bytes_left.saturating_sub(blob.bytes().len());
        found.push(blob);
    }
    Ok(())
}

/// Searches this volume; true if that ends the search.
pub fn find(txn: &ReadTransaction, query: &FindRecords, search: &mut Search) -> Result<bool, redb::Error> {
    let (blobs, heads) = (txn.open_table(BLOBS)?, txn.open_table(HEADS)?);
    let first = first_at(&heads, query.partition, query.from)?;
    for entry in heads.range((query.partition, first)..=(query.partition, u64::MAX))? {
        let (key, head) = entry?;
        let (partition, first) = key.value();
        if search.bytes_left == 0 || search.heads_left == 0 {
            search.found.next = Some(first);
            return Ok(true);
        }
        search.heads_left -= 1;
        let (head, _) = split(head.value());
        if first + u64::from(head.records) <= query.from || !head.may_hold(query.event_from, query.event_to) {
            continue;
        }
        let bytes = blobs.get((partition, first))?.ok_or_else(|| corrupted("a blob is missing"))?;
        let blob = parse(first, bytes.value())?;
        let records = &mut search.found.records;
        blob.read(query.from, &mut search.bytes_left, records)
            .ok_or_else(|| corrupted("a blob of the event log"))?;
        let next = records.last().map_or(0, |record| record.offset + 1);
        if next < blob.end() {
            search.found.next = Some(next);
            return Ok(true);
        }
    }
    Ok(false)
}

/// A head as it is kept, and the bytes of the partition up to the blob's end.
fn split(value: &[u8; HEAD_BYTES + 8]) -> (Head, u64) {
    let head = value.first_chunk().expect("longer than a head");
    let bytes = value.last_chunk().expect("longer than a number");
    (Head::decode(head), u64::from_le_bytes(*bytes))
}

/// The first offset of the blob that holds an offset, or the offset itself.
fn first_at<V: redb::Value + 'static>(
    table: &impl ReadableTable<(u32, u64), V>,
    partition: u32,
    offset: u64,
) -> Result<u64, redb::Error> {
    let before = table.range((partition, 0)..=(partition, offset))?.next_back().transpose()?;
    Ok(before.map_or(offset, |(key, _)| key.value().1))
}

fn parse(first: u64, bytes: &[u8]) -> Result<Blob, redb::Error> {
    Blob::parse(first, Bytes::copy_from_slice(bytes)).ok_or_else(|| corrupted("a blob of the event log"))
}
