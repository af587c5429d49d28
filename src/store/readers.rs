//! What the readers of the event log make durable: rows, state, late events and dead letters, and how far they have read.
//!
//! ```text
//!   claim ──> what was committed last ──> read and count ──> commit_stream ──> read and count ──> commit_stream …
//! ```
//!
//! A claim fences whoever read before: their next commit is refused with [`StoreError::Fenced`](super::StoreError), and
//! nothing of it is written. After a commit whose answer was lost a reader claims its place again: what it then finds is
//! either all of that commit, or nothing.

use super::{Result, log::RecordId};
use crate::{
    feature::{RowId, RowSchema, TenantId, Timestamp},
    window::{Ledger, MissedWindows, WindowRows},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What readers of the log keep, each with the next offset in one transaction.
#[async_trait]
pub trait Progress: Send + Sync + 'static {
    /// Takes a reader over: who had it before is fenced. Answers with what it last committed.
    async fn claim(&self, reader: ReaderId) -> Result<Claim>;

    /// Makes rows, state, late events, dead letters and the next offset durable and visible in one transaction.
    ///
    /// [`StoreError::Fenced`](super::StoreError) if somebody else has claimed the reader since.
    async fn commit_stream(&self, commit: StreamCommit) -> Result<()>;

    /// Readers that have committed something, with what they stand at, by partition.
    async fn readers(&self) -> Result<Vec<ReaderState>>;

    /// Notes why a reader cannot go on from what it last committed; its next commit takes the note back.
    ///
    /// [`StoreError::Fenced`](super::StoreError) if somebody else has claimed the reader since.
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
    pub place: RecordId,
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
    pub place: RecordId,
    pub log_time: Timestamp,
    pub reason: String,
    pub record: Vec<u8>,
}

/// A page of a side table.
#[derive(Clone, Debug)]
pub struct SideQuery {
    pub tenant: TenantId,
    /// Only records after this place.
    pub after: Option<RecordId>,
    pub limit: usize,
    /// Late events alone: empty = all.
    pub event_type: String,
    pub entity_id: String,
}
