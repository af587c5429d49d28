//! Events: the log that they wait in, and what the readers of the log make durable.
//!
//! ```text
//!   append ──> EventLog, one partition each: |0|1|2|3|4|…       read ──> a reader: rows, state, late, dead
//!                                                   │                                     │
//!                                             log time grows                    StreamStore::commit_stream
//! ```
//!
//! A log with another broker behind it implements [`EventLog`]; a durable store that keeps windows implements
//! [`StreamStore`]. Whoever reads a partition claims it first, which fences whoever read it before.

use super::{Result, StoreError};
pub use crate::event::Payload;
use crate::{
    feature::{RowId, RowSchema, TenantId, Timestamp},
    window::{Ledger, MissedWindows, WindowRows},
};
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// Records in partitions, each in the order of its offsets. Log time never runs back within a partition.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// How many partitions there are: 0 to this, exclusive. It never changes.
    fn partitions(&self) -> u32;

    /// Makes records durable, all or none, and answers with the place of each. Appends that are under way at once are
    /// made in the order in which they were first polled.
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Place>>;

    /// Appends a record that only carries log time.
    async fn tick(&self, partition: u32) -> Result<()>;

    /// Records from an offset on, about `bytes_max` bytes of them. Waits up to `wait` for the first; none = none came. The
    /// first has a greater offset than asked where older ones are not kept any more.
    async fn read(&self, partition: u32, from: u64, bytes_max: usize, wait: Duration) -> Result<Vec<Record>>;

    /// What a partition holds now.
    async fn bounds(&self, partition: u32) -> Result<LogBounds>;

    /// Why the last append could not be made durable; none = it was, or there was none.
    fn failure(&self) -> Option<StoreError>;

    /// Records from an offset on whose events may lie in a span of event time; others may be left out. An answer is about
    /// `bytes_max` bytes; it says where to go on.
    async fn find(&self, query: FindRecords) -> Result<Found>;
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

/// Where a record was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub partition: u32,
    pub offset: u64,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: u64,
    pub log_time: Timestamp,
    pub body: Body,
}

/// What a record carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Log time alone.
    Tick,
    Event {
        tenant: TenantId,
        payload: Payload,
    },
}

/// Offsets and time of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
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

/// What readers of the log keep, each with the next offset in one transaction.
#[async_trait]
pub trait StreamStore: Send + Sync + 'static {
    /// Takes a reader over: who had it before is fenced. Answers with what it last committed.
    async fn claim(&self, reader: ReaderId) -> Result<Claim>;

    /// Makes rows, state, late events, dead letters and the next offset durable and visible in one transaction.
    ///
    /// [`StoreError::Fenced`] if somebody else has claimed the reader since.
    async fn commit_stream(&self, commit: StreamCommit) -> Result<()>;

    /// Tells that every row which records before this offset cause is committed: nothing of the partition before it can
    /// still appear. Not durable.
    fn settled(&self, partition: u32, next_offset: u64);

    /// Readers that have committed something, with what they stand at, by partition.
    async fn readers(&self) -> Result<Vec<ReaderState>>;

    /// Notes why a reader cannot go on from what it last committed; its next commit takes the note back.
    ///
    /// `Kind::FailedPrecondition` if somebody else has claimed the reader since.
    async fn note_stalled(&self, reader: ReaderId, epoch: u64, why: &str) -> Result<()>;

    /// Late events of a tenant by partition and offset.
    async fn late_events(&self, query: SideQuery) -> Result<Vec<LateEvent>>;

    /// Dead letters of a tenant by partition and offset.
    async fn dead_letters(&self, query: SideQuery) -> Result<Vec<DeadLetter>>;
}

/// Who reads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReaderId {
    pub partition: u32,
    pub purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Purpose {
    /// The one that counts every event once.
    Live,
    /// A pass over the retained log for groups that were registered later, named by the first of them.
    Backfill(RowId),
}

/// A reader taken over.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Goes into every commit.
    pub epoch: u64,
    pub state: Option<ReaderState>,
    /// What rebuilds its aggregator, oldest first.
    pub saves: Vec<Save>,
}

/// How far a reader has come. Every process that shares the store reads the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderState {
    pub reader: ReaderId,
    pub next_offset: u64,
    /// The greatest log time before it.
    pub log_time: Option<Timestamp>,
    pub summary: ReaderSummary,
    /// A backfill has read everything that it is for.
    pub done: bool,
    /// Why the reader cannot go on from here; it tries again.
    pub stalled: Option<String>,
}

/// What `larder streams` and `larder streams --backfills` show of a reader beside its progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReaderSummary {
    /// The groups that it counts for, with their tenants.
    pub groups: Vec<(TenantId, RowId)>,
    /// The end of the first live window, of the first group of a backfill.
    pub joins_at: Option<Timestamp>,
    pub ledger: Ledger,
    pub state: StateSize,
}

/// What the open windows of a reader take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSize {
    /// Entities with open windows, by event type.
    pub entities: u64,
    /// Pairs of entity and pane.
    pub panes: u64,
    pub bytes: u64,
}

impl ReaderState {
    /// A reader that has read nothing.
    pub fn new(reader: ReaderId) -> Self {
        let summary = ReaderSummary::default();
        Self { reader, next_offset: 0, log_time: None, summary, done: false, stalled: None }
    }
}

/// A part of an aggregator's state, by the reader's own numbers, which grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Save {
    pub number: u64,
    pub bytes: Vec<u8>,
}

/// One transaction of a reader.
#[derive(Debug)]
pub struct StreamCommit {
    pub epoch: u64,
    pub state: ReaderState,
    /// New state, if any, and the numbers of saves that nothing needs any more.
    pub save: Option<Save>,
    pub drop_saves: Vec<u64>,
    pub rows: Vec<StreamRows>,
    pub created: Created,
    pub late: Vec<LateEvent>,
    pub dead: Vec<DeadLetter>,
    /// Readers to begin, with their first save.
    pub opens: Vec<(ReaderState, Save)>,
}

/// When rows were learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// At the log time of the records that caused them.
    AsLogged,
    /// By the store's clock, with their commit.
    AtCommit,
}

/// Rows of one group, never judged by what is there already.
#[derive(Debug)]
pub struct StreamRows {
    pub group: Arc<RowSchema>,
    pub rows: WindowRows,
}

/// An event that missed closed windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LateEvent {
    pub tenant: TenantId,
    pub place: Place,
    pub log_time: Timestamp,
    pub entity_type: Option<String>,
    pub entity_id: String,
    pub event_type: String,
    pub event_timestamp: Timestamp,
    pub event_id: Option<String>,
    /// It missed every window.
    pub late: bool,
    pub missed: Vec<MissedWindows>,
}

/// A record that could not be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub tenant: TenantId,
    pub place: Place,
    pub log_time: Timestamp,
    pub reason: String,
    pub record: Vec<u8>,
}

/// A page of a side table.
#[derive(Clone, Debug)]
pub struct SideQuery {
    pub tenant: TenantId,
    /// Only records after this place.
    pub after: Option<Place>,
    pub limit: usize,
    /// Late events alone: empty = all.
    pub event_type: String,
    pub entity_id: String,
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
