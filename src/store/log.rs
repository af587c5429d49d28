//! The event log: producers append to it, and readers follow the partitions that they are assigned.
//!
//! ```text
//!   EventSink::append ──> |0|1|2|3|4|…  each partition in the order of its offsets; its log time never runs back
//!                              │
//!   EventSource::assignments ──┴─> Assigned(reader) ── read ──> Batch ── read ──> Batch …   Revoked, or Lost
//! ```
//!
//! The log knows nothing of what is registered: it hands out a record's tenant as it was written, and a record that it
//! cannot read as [`Body::Invalid`]. What readers make of the records is kept in a store (see `readers`), which may be
//! another one than the log's.

use super::{Result, Room, Ticket};
pub use crate::event::Payload;
use crate::feature::{TenantId, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// One log, by what it can do.
#[derive(Clone)]
pub struct EventLog {
    pub sink: Arc<dyn EventSink>,
    pub source: Arc<dyn EventSource>,
    pub ticks: Arc<dyn Ticks>,
}

impl EventLog {
    /// A log that is one object.
    pub fn of(log: &Arc<impl EventSink + EventSource + Ticks>) -> Self {
        Self { sink: log.clone(), source: log.clone(), ticks: log.clone() }
    }
}

/// Where producers append.
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    /// The partition of records with this key.
    fn partition(&self, key: &[u8]) -> u32;

    /// Waits until so many bytes of records may wait for the log. Room is given in the order in which it was asked for.
    async fn room(&self, bytes: usize) -> Result<Room>;

    /// Makes records durable, in the order of the calls.
    fn append(&self, room: Room, records: Vec<NewRecord>) -> Ticket<Appended>;

    /// Whether an append is made whole or not at all.
    fn is_atomic(&self) -> bool;

    /// Why the last append could not be made durable; none = it was, or there was none.
    fn failure(&self) -> Option<super::StoreError>;
}

/// What became of an append, by position.
#[derive(Debug)]
pub enum Appended {
    All(Vec<RecordId>),
    /// Some may be durable: never from a log whose appends are atomic.
    Part(Vec<Result<RecordId>>),
}

/// Where readers find their partitions.
#[async_trait]
pub trait EventSource: Send + Sync + 'static {
    async fn identity(&self) -> Result<LogIdentity>;

    /// The partitions that this process is to read, from now on.
    async fn assignments(&self) -> Result<Box<dyn Assignments>>;

    /// Another reader of a partition, whoever is assigned it: for backfills, and to look at single records.
    async fn reader(&self, partition: u32) -> Result<Box<dyn PartitionReader>>;

    /// What a partition holds now.
    async fn extent(&self, partition: u32) -> Result<Extent>;

    /// A hint that everything before an offset is counted, durably: the log may drop it when it is old.
    fn committed(&self, partition: u32, next_offset: u64);

    /// What finds records by the time of their events; none = only reading does.
    fn index(&self) -> Option<&dyn EventIndex>;

    /// What makes the settled time of windows go on without commits; none = only commits do.
    fn promises(&self) -> Option<&dyn Promises>;
}

/// Which log this is. Progress in one log means nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    pub id: u64,
    /// Their numbers are 0 to this, exclusive.
    pub partitions: u32,
}

/// Tells a process which partitions to read.
#[async_trait]
pub trait Assignments: Send {
    /// Waits for the next change. It may be dropped while it waits: no change is missed.
    async fn next(&mut self) -> Result<Assignment>;
}

/// A change of what a process is to read.
pub enum Assignment {
    Assigned {
        partition: u32,
        reader: Box<dyn PartitionReader>,
    },
    /// Commit what was read and stop, then say so: somebody else goes on from there.
    Revoked {
        partition: u32,
        done: oneshot::Sender<()>,
    },
    /// Stop at once: somebody else reads it already.
    Lost {
        partition: u32,
    },
}

/// Reads one partition from an offset on.
#[async_trait]
pub trait PartitionReader: Send {
    /// The next read begins here, or at the oldest record that is kept.
    async fn seek(&mut self, offset: u64) -> Result<()>;

    /// About `bytes_max` bytes of records. At the end of the partition it waits up to `wait` for the first. It may be
    /// dropped while it waits: the next read begins where this one would have.
    async fn read(&mut self, bytes_max: usize, wait: Duration) -> Result<Batch>;
}

/// Records that follow each other, and how far the partition goes.
#[derive(Clone, Debug)]
pub struct Batch {
    pub records: Vec<Record>,
    /// The next batch begins here. Offsets that hold no record of ours are passed over.
    pub next_offset: u64,
    /// The offset that the next record of the partition will get, as known when this batch was read.
    pub end_offset: u64,
    pub end: BatchEnd,
}

/// What comes after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// More records.
    More,
    /// Nothing: it was the end of the partition.
    Reached,
    /// Records of a transaction that is still open: log time must not be moved past them.
    HeldBack,
}

/// Makes log time go on where no events do.
#[async_trait]
pub trait Ticks: Send + Sync + 'static {
    /// Each partition gets a record with a log time after `past`, unless its log time is after it already.
    async fn ask(&self, partitions: &[u32], past: Timestamp) -> Result<()>;
}

/// Finds records by the time of their events.
#[async_trait]
pub trait EventIndex: Send + Sync {
    /// Records from an offset on whose events may lie in a span of event time; others may be left out. An answer is about
    /// `bytes_max` bytes; it says where to go on.
    async fn find(&self, query: FindRecords) -> Result<Found>;
}

/// What a log promises that shares a clock with the store of the rows.
pub trait Promises: Send + Sync {
    /// Tells that every row which records before this offset cause is committed: nothing of the partition before it can
    /// still appear. Not durable.
    fn settled(&self, partition: u32, next_offset: u64);
}

/// A record to append.
#[derive(Clone, Debug)]
pub struct NewRecord {
    pub tenant: TenantId,
    /// The entity id: it decides the partition.
    pub key: Bytes,
    pub event_timestamp: Timestamp,
    pub payload: Payload,
}

impl NewRecord {
    /// Roughly what it takes in memory.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.payload.bytes().len()
    }
}

/// Which record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordId {
    pub partition: u32,
    pub offset: u64,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: u64,
    pub log_time: Timestamp,
    /// None = the log keeps no keys, and put the record where its entity id belongs.
    pub key: Option<Bytes>,
    pub body: Body,
}

/// What a record carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Log time alone.
    Tick,
    Event {
        tenant: TenantRef,
        payload: Payload,
    },
    /// It is no event: it becomes a dead letter with this reason.
    Invalid {
        tenant: TenantRef,
        reason: String,
        bytes: Bytes,
    },
}

/// A tenant as the log names it. Only the registry knows whether there is such a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantRef {
    Id(TenantId),
    Name(String),
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The oldest record that is kept, or `end`.
    pub start: u64,
    /// The offset that the next record will get.
    pub end: u64,
    /// Of the newest record.
    pub log_time: Option<Timestamp>,
}

/// Records whose events may lie in `[event_from, event_to)`.
#[derive(Clone, Copy, Debug)]
pub struct FindRecords {
    pub partition: u32,
    pub from: u64,
    pub event_from: Timestamp,
    pub event_to: Timestamp,
    pub bytes_max: usize,
}

/// What was found, and the offset to go on at; None = the end.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub records: Vec<Record>,
    pub next: Option<u64>,
}

/// The partition of a key: that of Kafka's own partitioner, so that a topic of as many partitions holds the same.
///
/// Murmur2 of the key with its sign bit cleared, modulo the number of partitions
/// (`org.apache.kafka.clients.producer.internals.BuiltInPartitioner`).
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    if partitions == 1 { 0 } else { (murmur2(key) & 0x7fff_ffff) % partitions }
}

/// Kafka's `Utils.murmur2`: 32 bits, with its own seed.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Kafka's own test, `UtilsTest.testMurmur2`.
    #[test]
    fn keys_hash_as_in_kafka() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
        assert_eq!(partition_of(b"foobar", 1), 0);
        assert_eq!(partition_of(b"abc", 8), 479_470_107 % 8);
    }
}
