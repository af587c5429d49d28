//! Training sets: features beside every row of a spine, as streams in bounded memory.
//!
//! ```text
//!   caller ──parts──> Spool ──> SpineReader ──Piece──> TrainingSet ──Answer──> AnswerWriter ──messages──> caller
//!            (api)    memory,   typed rows,                                    typed rows, JSON,
//!                     then disk JSON, Arrow                                    Arrow, Parquet
//! ```
//!
//! A [`TrainingSet`] answers pieces; a [`Pump`] moves them: a piece is answered when it is full, when the caller has been
//! silent for 50 ms, or at the end. A caller that sends everything before it reads anything fills the spool's memory, then
//! its file, never a deadlock. How the spine was cut into parts and pieces changes no row, and no byte of a file format.
//!
//! The forms of spines and answers are the transports' own: whoever adds one implements [`SpineReader`] or
//! [`AnswerWriter`], as `wire::historical` does.

mod join;
mod judge;
mod outlet;
mod pump;
mod reservation;
mod set;
mod spool;

pub use join::Joiner;
pub use outlet::{Messages, Outlet, spawn};
pub use pump::{Answering, HashedPart, Patience, Pump};
pub use reservation::SHARE_BYTES;
pub use set::{Answer, AnswerColumn, Spine, SpineNames, TrainingSet, TrainingSetOptions};
pub use spool::Part;

use crate::error::Result;

/// The next rows of a spine: what is asked of the store, and the rows themselves, to be handed back.
pub struct Piece<R> {
    pub spine: Spine,
    pub rows: R,
}

/// Rows of a spine as they came.
pub trait Rows: Send + 'static {
    /// Takes the first `count` rows off.
    fn take_front(&mut self, count: usize) -> Self;
}

/// Turns parts of a body into rows of a spine.
pub trait SpineReader<P, R>: Send + 'static {
    /// Reads one more part.
    fn push(&mut self, part: P) -> Result<()>;

    /// The caller has sent everything.
    fn finish(&mut self) -> Result<()>;

    /// Rows that were read and not taken yet.
    fn rows(&self) -> usize;

    /// About the memory that these rows take, in bytes.
    fn bytes(&self) -> usize;

    /// Takes the rows that were read.
    fn take(&mut self) -> Piece<R>;
}

/// Turns answers into messages, in order.
pub trait AnswerWriter<R, M>: Send + 'static {
    /// The spine's hash, for forms that need it before the first row; the others get it in the end.
    fn begin(&mut self, _spine_hash: String) {}

    /// Takes the next rows.
    fn push(&mut self, rows: R, spine: &Spine, answer: Answer) -> Result<()>;

    /// What to send to a caller that is silent before its first row, because it may be waiting for the answer's head.
    fn greeting(&self) -> Option<M> {
        None
    }

    /// No more rows come.
    fn finish(&mut self, summary: Summary) -> Result<()>;

    /// The next message that is ready.
    fn message(&mut self) -> Result<Option<M>>;
}

/// What is known of a spine when it was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub rows: usize,
    /// SHA-256 over the spine as it was read, in hexadecimal.
    pub spine_hash: String,
}

impl Summary {
    /// Of a spine that ended before it began.
    pub fn of_nothing() -> Self {
        Self { rows: 0, spine_hash: spool::Spool::<bytes::Bytes>::new(0, 0).hash() }
    }
}
