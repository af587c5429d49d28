//! Training sets on the wire: spines in, rows with features out, as streams in bounded memory.
//!
//! ```text
//!   caller ──parts──> Spool ──> SpineReader ──Piece──> TrainingSet ──Answer──> AnswerWriter ──messages──> caller
//!            (api)    memory,   typed rows,            (serving)               typed rows, JSON,
//!                     then disk JSON, Arrow                                    Arrow, Parquet
//! ```
//!
//! `pump` moves them: a piece is answered when it is full, when the caller has been silent for 50 ms, or at the end. A
//! caller that sends everything before it reads anything fills the spool's memory, then its file, never a deadlock.
//! How the spine was cut into parts and pieces changes no row, and no byte of a file format.
//!
//! To add a form of spine, implement `SpineReader`; to add a form of answer, implement `AnswerWriter`.

mod arrow_in;
mod arrow_out;
mod batches;
mod grpc;
mod infer;
mod join;
mod json_in;
mod json_out;
mod names;
mod parquet_out;
mod plain;
mod pump;
mod request;
mod reservation;
mod rest;
pub mod shape;
mod spool;
mod typed;

pub use grpc::serve as serve_grpc;
pub use pump::Patience;
pub use request::BatchRequest;
pub use rest::{Answer as RestAnswer, BatchFormat, BatchSpine, Output, serve as serve_rest};

use crate::{
    error::Result,
    serving::historical::{Answer, Spine},
    wire::proto::SpineRow,
};
use arrow::array::{Array, RecordBatch, StringArray};
use spool::Part;
use std::collections::VecDeque;

/// The next rows of a spine: what serving needs of them, and the rows themselves, to be handed back.
struct Piece {
    spine: Spine,
    rows: Rows,
}

/// Rows of a spine as they came.
enum Rows {
    Typed(VecDeque<SpineRow>),
    /// The text of each row, an object.
    Json(StringArray),
    Arrow(VecDeque<RecordBatch>),
}

impl Rows {
    /// Takes the first `count` rows off.
    fn take_front(&mut self, count: usize) -> Rows {
        match self {
            Rows::Typed(rows) => Rows::Typed(rows.drain(..count).collect()),
            Rows::Json(rows) => {
                let front = rows.slice(0, count);
                *rows = rows.slice(count, rows.len() - count);
                Rows::Json(front)
            }
            Rows::Arrow(batches) => {
                let (mut front, mut missing) = (VecDeque::new(), count);
                while missing > 0 {
                    let Some(batch) = batches.pop_front() else { break };
                    let taken = missing.min(batch.num_rows());
                    if taken < batch.num_rows() {
                        batches.push_front(batch.slice(taken, batch.num_rows() - taken));
                    }
                    front.push_back(batch.slice(0, taken));
                    missing -= taken;
                }
                Rows::Arrow(front)
            }
        }
    }
}

/// Turns parts of a body into rows of a spine.
trait SpineReader: Send + 'static {
    type Part: Part;
    /// Whether its rows are typed, so that the answer's are too unless the caller says otherwise.
    const IS_TYPED: bool;

    /// Reads one more part.
    fn push(&mut self, part: Self::Part) -> Result<()>;

    /// The caller has sent everything.
    fn finish(&mut self) -> Result<()>;

    /// Rows that were read and not taken yet.
    fn rows(&self) -> usize;

    /// About the memory that these rows take, in bytes.
    fn bytes(&self) -> usize;

    /// Takes the rows that were read.
    fn take(&mut self) -> Piece;
}

/// Turns answers into messages, in order.
trait AnswerWriter: Send + 'static {
    type Message: Send + 'static;

    /// The spine's hash, for forms that need it before the first row; the others get it in the end.
    fn begin(&mut self, _spine_hash: String) {}

    /// Takes the next rows.
    fn push(&mut self, rows: Rows, spine: &Spine, answer: Answer) -> Result<()>;

    /// What to send to a caller that is silent before its first row, because it may be waiting for the answer's head.
    fn greeting(&self) -> Option<Self::Message> {
        None
    }

    /// No more rows come.
    fn finish(&mut self, summary: Summary) -> Result<()>;

    /// The next message that is ready.
    fn message(&mut self) -> Result<Option<Self::Message>>;
}

/// What is known of a spine when it was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub rows: usize,
    /// SHA-256 over the spine as it was read, in hexadecimal.
    pub spine_hash: String,
}
