//! Rows as they were: one consistent view for a whole call, and what can be asked of it.

use super::{
    Result, StoredRow,
    statistics::{ColumnStatistics, StatisticsQuery},
};
use crate::feature::{Column, RowId, RowSchema, Timestamp};
use arrow::{array::StringArray, buffer::ScalarBuffer};
use async_trait::async_trait;
use std::sync::Arc;

/// Where views are taken.
#[async_trait]
pub trait Views: Send + Sync + 'static {
    /// One view for a whole call: everything visible now, and nothing that comes later.
    async fn snapshot(&self, groups: &[Arc<RowSchema>]) -> Result<Arc<dyn Snapshot>>;

    /// When a row of each group was last written, by any process, by position. None = never.
    async fn last_written(&self, groups: &[RowId]) -> Result<Vec<Option<Timestamp>>>;
}

/// A consistent view of the rows of some groups.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// The moment before which nothing can still appear in these groups.
    fn settled_at(&self) -> Timestamp;

    /// Whether everything visible was created at or before `settled_at`: then a read of the whole snapshot can be
    /// repeated as one known at that moment.
    fn is_settled(&self) -> bool;

    /// For every (key, time) the newest row of each group with event timestamp ≤ time, created within `known_at`.
    /// Answers one [`Picks`] for each of `query.reads`.
    async fn as_of(&self, query: AsOf) -> Result<Vec<Picks>>;

    /// Rows of one entity in one group in their order, oldest first.
    async fn scan(&self, scan: Scan) -> Result<Vec<StoredRow>>;

    /// How the values of some columns of one group are spread, by hour of event time: one answer for each column.
    ///
    /// Corrected rows are left out, and so is what retention drops. All but the distinct entities of the total adds up
    /// over hours, so a database may keep whole hours ready (a continuous aggregate over the newest row of each entity
    /// and event timestamp) and look at rows only in the hours that the span cuts, and for that one count.
    async fn statistics(&self, query: StatisticsQuery) -> Result<Vec<ColumnStatistics>>;
}

/// Which past rows to read: `keys[i]` as of `times[i]`.
#[derive(Clone, Debug)]
pub struct AsOf {
    /// All of one entity type.
    pub reads: Vec<GroupRead>,
    /// Storage keys, never null.
    pub keys: StringArray,
    /// UTC microseconds, inclusive.
    pub times: ScalarBuffer<i64>,
    pub known_at: KnownAt,
}

/// Some columns of one group, by their positions in `group.columns`.
#[derive(Clone, Debug)]
pub struct GroupRead {
    pub group: Arc<RowSchema>,
    pub columns: Vec<u32>,
}

/// What was known when a past row is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownAt {
    /// Everything in the snapshot.
    Snapshot,
    /// What was created at or before one moment.
    At(Timestamp),
    /// What was created at or before each row's own time.
    Row,
}

/// The rows that an [`AsOf`] chose in one group.
#[derive(Clone, Debug)]
pub struct Picks {
    /// By (key, time): the row's event timestamp in UTC microseconds, or [`NO_ROW`].
    pub event_timestamps: ScalarBuffer<i64>,
    /// For each of the columns asked. Cells without a row are left out.
    pub columns: Vec<Column>,
}

/// Stands where no row was found.
pub const NO_ROW: i64 = i64::MIN;

/// Which rows of one entity in one group to list.
#[derive(Clone, Debug)]
pub struct Scan {
    pub group: Arc<RowSchema>,
    pub key: String,
    /// Event timestamps, inclusive.
    pub from: Timestamp,
    /// Event timestamps, exclusive.
    pub to: Timestamp,
    /// Only rows after this place in the order.
    pub after: Option<(Timestamp, Timestamp, u64)>,
    /// At most this many rows.
    pub limit: usize,
}
