//! Storage: what the service asks of whatever stands behind it.
//!
//! To add a backend, implement [`DurableStore`] and [`RegistryStore`] in a file or folder of its own and add one line to
//! the conformance suite (`tests/conformance`). All methods take batches and answer by position; one is a batch of one.

use crate::{
    access::ApiKey,
    error::Result,
    feature::{
        Column, GroupSchema, PackedRow, TenantId, Timestamp,
        definition::{EntityType, EntityTypeId, Feature, FeatureSet, Group},
    },
};
use arrow::{
    array::StringArray,
    buffer::{BooleanBuffer, ScalarBuffer},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use statistics::{ColumnStatistics, StatisticsQuery};
use std::sync::Arc;

pub mod embedded;
mod entity_rows;
pub mod events;
pub mod statistics;

pub use entity_rows::{EntityRows, RowRef};

/// Rows of feature groups: written in transactions, read as they are now or as they were.
///
/// Rows are ordered by the whole triple (event timestamp, created, sequence) everywhere; the greatest wins.
#[async_trait]
pub trait DurableStore: Send + Sync + 'static {
    /// Makes rows durable and visible in one transaction, with one `created` for all of them.
    ///
    /// `created` = max(the store's clock, anything stated or stored before + 1 µs). A row equal to the newest at its
    /// event timestamp, earlier rows of the same commit included, is unchanged and not stored again. Commits that are
    /// under way at once are made in the order in which they were first polled.
    async fn commit(&self, commit: Commit) -> Result<Committed>;

    /// The newest rows of every key, by its position. Each answer knows every group that was asked for, and may know
    /// others.
    async fn latest(&self, read: LatestRead<'_>) -> Result<Vec<EntityRows>>;

    /// Event timestamps before this moment are no longer kept: a write or an `as_of` before it must be refused.
    fn retention_bound(&self) -> Option<Timestamp> {
        None
    }

    /// Drops an entity from what the store holds in memory: the next read takes it from where it is durable.
    fn invalidate(&self, _entity_type: EntityTypeId, _key: &str) {}

    /// One view for a whole call: everything visible now, and nothing that comes later.
    async fn snapshot(&self, groups: &[Arc<GroupSchema>]) -> Result<Arc<dyn Snapshot>>;
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
    pub group: Arc<GroupSchema>,
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
    /// SHA-256 of the request: the same key with another one is refused with `Kind::Aborted`.
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

/// Which newest rows to read.
#[derive(Clone, Copy, Debug)]
pub struct LatestRead<'a> {
    /// All groups are of this entity type.
    pub entity_type: EntityTypeId,
    pub groups: &'a [Arc<GroupSchema>],
    /// Storage keys.
    pub keys: &'a [&'a str],
}

/// A row as a store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    pub event_timestamp: Timestamp,
    pub created: Timestamp,
    pub sequence: u64,
    /// Packed by `feature::row`.
    pub values: Box<[u8]>,
}

impl StoredRow {
    /// The row's cells, read in place.
    pub fn packed(&self) -> PackedRow<'_> {
        PackedRow::new(&self.values).expect("a store returns rows that were packed")
    }

    /// Its place in the total order of rows.
    pub fn order(&self) -> (Timestamp, Timestamp, u64) {
        (self.event_timestamp, self.created, self.sequence)
    }
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
    pub group: Arc<GroupSchema>,
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
    pub group: Arc<GroupSchema>,
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

/// The catalogue of all tenants: small, loaded whole, changed in transactions.
#[async_trait]
pub trait RegistryStore: Send + Sync + 'static {
    /// Everything registered, and the revision it stands at.
    async fn load(&self) -> Result<RegistryState>;

    /// Puts records in one transaction if the revision is still `expected`, and returns the new one. Otherwise
    /// `Kind::Aborted`: load again and decide again.
    async fn change(&self, expected: u64, records: Vec<RegistryRecord>) -> Result<u64>;
}

/// Everything registered. Records stand in the order they were first put.
#[derive(Clone, Debug, Default)]
pub struct RegistryState {
    pub revision: u64,
    pub records: Vec<RegistryRecord>,
}

/// One registered thing of one tenant. Putting one with the same identity replaces it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegistryRecord {
    pub tenant: TenantId,
    pub body: RecordBody,
}

/// The kinds of record, each with its identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RecordBody {
    /// Identity: the tenant. Holds its name.
    Tenant(String),
    /// Identity: `id`.
    ApiKey(ApiKey),
    /// Identity: `id`.
    EntityType(EntityType),
    /// Identity: `id`.
    Group(Group),
    /// Identity: `id`.
    Feature(Box<Feature>),
    /// Identity: name and version.
    FeatureSet(FeatureSet),
}
