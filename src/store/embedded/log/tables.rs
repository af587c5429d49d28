//! The log's tables in its engine.

use super::blob::{Blob, HEAD_BYTES, Head};
use crate::{
    error::{Error, Kind, Result},
    feature::Timestamp,
    store::{
        embedded::engine::{Engine, corrupted},
        events::{FindRecords, Found, LogBounds},
    },
};
use bytes::Bytes;
use redb::{ReadableTable, TableDefinition};

const FORMAT: u64 = 1;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// (partition, first offset) to a blob.
const BLOBS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("blobs");
/// The heads of the blobs once more, so that looking for records reads few pages.
const HEADS: TableDefinition<(u32, u64), &[u8; HEAD_BYTES]> = TableDefinition::new("heads");

const META_FORMAT: &str = "format";
const META_PARTITIONS: &str = "partitions";
/// Heads that one search looks at.
const FIND_HEADS_MAX: usize = 64 * 1024;

/// The log as it is kept.
#[derive(Debug)]
pub struct Tables {
    engine: Engine,
}

impl Tables {
    /// Makes what is missing, and refuses a log of another format or another number of partitions.
    pub fn prepare(engine: Engine, partitions: u32) -> Result<Self> {
        let stored = engine.write(|txn| {
            txn.open_table(BLOBS)?;
            txn.open_table(HEADS)?;
            let mut meta = txn.open_table(META)?;
            let mut stored = |name, value| -> Result<u64, redb::Error> {
                let known = meta.get(name)?.map(|known| known.value());
                if known.is_none() {
                    meta.insert(name, value)?;
                }
                Ok(known.unwrap_or(value))
            };
            Ok((stored(META_FORMAT, FORMAT)?, stored(META_PARTITIONS, u64::from(partitions))?))
        })?;
        let refused = |message| Err(Error::new(Kind::FailedPrecondition, message));
        match stored {
            (FORMAT, known) if known == u64::from(partitions) => Ok(Self { engine }),
            (FORMAT, known) => refused(format!(
                "the event log has {known} partitions and {partitions} are set; set {known}, or start with an empty \
                 data directory: an entity's events must stay in one partition"
            )),
            (other, _) => refused(format!(
                "the event log has format {other}, this program knows {FORMAT}; use a newer larder"
            )),
        }
    }

    /// What a partition holds.
    pub fn bounds(&self, partition: u32) -> Result<LogBounds> {
        self.engine.read(|txn| {
            let heads = txn.open_table(HEADS)?;
            let mut all = heads.range((partition, 0)..=(partition, u64::MAX))?;
            let start = all.next().transpose()?.map(|(key, _)| key.value().1);
            let mut all = heads.range((partition, 0)..=(partition, u64::MAX))?;
            let Some((key, head)) = all.next_back().transpose()? else {
                return Ok(LogBounds { start: 0, end: 0, log_time: None });
            };
            let (first, head) = (key.value().1, Head::decode(head.value()));
            Ok(LogBounds {
                start: start.unwrap_or(first),
                end: first + u64::from(head.records),
                log_time: Some(Timestamp::from_stored(head.log_time)),
            })
        })
    }

    /// The log time of a record, or of the oldest one after it.
    pub fn log_time_at(&self, partition: u32, offset: u64) -> Result<Option<i64>> {
        self.engine.read(|txn| {
            let heads = txn.open_table(HEADS)?;
            let first = first_at(&heads, partition, offset)?;
            let found = heads.range((partition, first)..=(partition, u64::MAX))?.next().transpose()?;
            Ok(found.map(|(_, head)| Head::decode(head.value()).log_time))
        })
    }

    /// Makes blobs durable.
    pub fn append(&self, blobs: &[(u32, Blob)]) -> Result<()> {
        self.engine.write(|txn| {
            let (mut bytes, mut heads) = (txn.open_table(BLOBS)?, txn.open_table(HEADS)?);
            for (partition, blob) in blobs {
                bytes.insert((*partition, blob.first), blob.bytes())?;
                heads.insert((*partition, blob.first), &blob.head.encode())?;
            }
            Ok(())
        })
    }

    /// Blobs from the one on that holds an offset, about `bytes_max` bytes of them.
    pub fn read(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Vec<Blob>> {
        self.engine.read(|txn| {
            let blobs = txn.open_table(BLOBS)?;
            let first = first_at(&blobs, partition, from)?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            for entry in blobs.range((partition, first)..=(partition, u64::MAX))? {
                let (key, value) = entry?;
                let blob = parse(key.value().1, value.value())?;
                bytes += blob.bytes().len();
                found.push(blob);
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(found)
        })
    }

    pub fn find(&self, query: &FindRecords) -> Result<Found> {
        self.engine.read(|txn| {
            let (blobs, heads) = (txn.open_table(BLOBS)?, txn.open_table(HEADS)?);
            let first = first_at(&heads, query.partition, query.from)?;
            let mut found = Found::default();
            let mut bytes_left = query.bytes_max.max(1);
            let all = heads.range((query.partition, first)..=(query.partition, u64::MAX))?;
            for (number, entry) in all.enumerate() {
                let (key, head) = entry?;
                let (partition, first) = key.value();
                if bytes_left == 0 || number == FIND_HEADS_MAX {
                    found.next = Some(first);
                    break;
                }
                let head = Head::decode(head.value());
                if first + u64::from(head.records) <= query.from
                    || !head.may_hold(query.event_from, query.event_to)
                {
                    continue;
                }
                let bytes = blobs.get((partition, first))?.ok_or_else(|| corrupted("a blob is missing"))?;
                let blob = parse(first, bytes.value())?;
                blob.read(query.from, &mut bytes_left, &mut found.records)
                    .ok_or_else(|| corrupted("a blob of the event log"))?;
                let next = found.records.last().map_or(0, |record| record.offset + 1);
                if next < blob.end() {
                    found.next = Some(next);
                    break;
                }
            }
            Ok(found)
        })
    }

    /// Removes a partition's oldest blobs, at most `blobs_max` of them: those with an older log time than `before` whose
    /// records all lie before the offset `keep_from`. The newest blob always stays, since offsets go on from it. Answers
    /// with the first offset that is left and whether more may be removed.
    pub fn remove(
        &self,
        partition: u32,
        before: i64,
        keep_from: u64,
        blobs_max: usize,
    ) -> Result<(u64, bool)> {
        let outdated = self.engine.read(|txn| {
            let heads = txn.open_table(HEADS)?;
            let mut outdated = Vec::new();
            for entry in heads.range((partition, 0)..=(partition, u64::MAX))? {
                let (key, head) = entry?;
                let (first, head) = (key.value().1, Head::decode(head.value()));
                // The first one that stays ends the list.
                outdated.push(first);
                let end = first + u64::from(head.records);
                if outdated.len() > blobs_max || head.log_time >= before || end > keep_from {
                    break;
                }
            }
            Ok(outdated)
        })?;
        let Some((kept, outdated)) = outdated.split_last() else { return Ok((0, false)) };
        if !outdated.is_empty() {
            self.engine.write(|txn| {
                let (mut blobs, mut heads) = (txn.open_table(BLOBS)?, txn.open_table(HEADS)?);
                for first in outdated {
                    blobs.remove((partition, *first))?;
                    heads.remove((partition, *first))?;
                }
                Ok(())
            })?;
        }
        Ok((*kept, outdated.len() == blobs_max))
    }
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
