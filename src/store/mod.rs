//! Storage: what the service asks of whatever stands behind it, one trait a file.
//!
//! ```text
//! latest    LatestReads     the newest rows
//! view      Views, Snapshot rows as they were, and statistics
//! commits   Commits         rows written
//! registry  RegistryStore   what is registered
//! log       EventSink, EventSource, PartitionReader, Ticks: records in, records out
//! readers   Progress        what readers of the log keep
//! ```
//!
//! To add a backend, implement the traits in a file or folder of its own and add one line to the conformance suite
//! (`tests/conformance`). All methods take batches and answer by position; one is a batch of one.

mod commits;
pub mod embedded;
mod entity_rows;
mod error;
mod latest;
pub mod log;
pub mod readers;
mod registry;
pub mod statistics;
mod stored_row;
mod ticket;
mod view;

pub use commits::{AnswerWriter, Commit, Commits, Committed, Idempotency, Receipt, RowBatch};
pub use entity_rows::{EntityRows, RowRef};
pub use error::{Refusal, Result, StoreError};
pub use latest::{LatestRead, LatestReads};
pub use registry::{RecordBody, RegistryChanges, RegistryPage, RegistryRecord, RegistryStore, Revision};
pub use stored_row::StoredRow;
pub use ticket::{Room, Ticket};
pub use view::{AsOf, GroupRead, KnownAt, NO_ROW, Picks, Scan, Snapshot, Views};

/// Rows of feature groups: written in transactions, read as they are now or as they were.
///
/// Rows are ordered by the whole triple (event timestamp, created, sequence) everywhere; the greatest wins.
pub trait DurableStore: LatestReads + Views + Commits {}
