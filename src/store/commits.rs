//! Rows written: one transaction, one `created`, and a receipt that says what was new.

use super::Result;
use crate::feature::{Column, RowSchema, TenantId, Timestamp};
use arrow::{
    array::StringArray,
    buffer::{BooleanBuffer, ScalarBuffer},
};
use async_trait::async_trait;
use std::sync::Arc;

/// Where rows are written.
#[async_trait]
pub trait Commits: Send + Sync + 'static {
    /// Makes rows durable and visible in one transaction, with one `created` for all of them.
    ///
    /// `created` = max(the store's clock, anything stated or stored before + 1 µs). A row equal to the newest at its
    /// event timestamp, earlier rows of the same commit included, is unchanged and not stored again. Commits that are
    /// under way at once are made in the order in which they were first polled.
    async fn commit(&self, commit: Commit) -> Result<Committed>;

    /// Event timestamps before this moment are no longer kept: a write or an `as_of` before it must be refused.
    fn retention_bound(&self) -> Option<Timestamp> {
        None
    }
}

/// One transaction of rows.
pub struct Commit {
    pub tenant: TenantId,
    /// At most one batch for each group.
    pub batches: Vec<RowBatch>,
    pub idempotency: Option<Idempotency>,
}

/// Rows of one group, as columns. All parts are of one length.
#[derive(Clone, Debug)]
pub struct RowBatch {
    pub group: Arc<RowSchema>,
    /// Storage keys (`feature::entity`), never null.
    pub keys: StringArray,
    /// UTC microseconds.
    pub event_timestamps: ScalarBuffer<i64>,
    /// Positions in the request's body: they break ties and come back in the receipt. Ascending.
    pub sequences: ScalarBuffer<u32>,
    /// One for each of `group.columns`, in their order.
    pub columns: Vec<Column>,
}

/// Writes down what a caller is answered with a receipt.
pub type AnswerWriter = Box<dyn FnOnce(&Receipt) -> Vec<u8> + Send>;

/// Makes a repeated commit harmless for 24 hours.
pub struct Idempotency {
    /// Unique within the tenant.
    pub key: String,
    /// SHA-256 of the request: the same key with another one is refused.
    pub fingerprint: [u8; 32],
    /// Writes down the answer that a repeat will get; stored in the same transaction.
    pub answer: AnswerWriter,
}

/// What became of a commit.
#[derive(Debug)]
pub enum Committed {
    /// Durable now.
    Fresh(Receipt),
    /// Its idempotency key was seen before: the answer of that time, and nothing was written.
    Replayed(Vec<u8>),
}

/// Proof that a commit is durable.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// When the store learned the rows.
    pub created: Timestamp,
    /// For each batch: bit set = the row was there already. None = every row is new.
    pub unchanged: Vec<Option<BooleanBuffer>>,
}
