//! Training sets on the wire: the forms of spines, and those of answers. `serving::training` moves rows from one to the
//! other.
//!
//! | | spine ([`SpineReader`](crate::serving::training::SpineReader)) | answer ([`AnswerWriter`](crate::serving::training::AnswerWriter)) |
//! |---|---|---|
//! | gRPC | typed rows, Arrow | typed rows, Arrow |
//! | REST | JSON, lines of it, Arrow | JSON, lines of it, Arrow, Parquet |

mod arrow_in;
mod arrow_out;
mod batches;
mod grpc;
mod infer;
mod json_in;
mod json_out;
mod names;
mod parquet_out;
mod plain;
mod request;
mod rest;
pub mod shape;
mod typed;

pub use grpc::{
    Asked, arrow_reader, header_to, message_writer, no_options, options_again, rows_reader, summary_to,
};
pub use request::BatchRequest;
pub use rest::{BatchFormat, Output, SpineForm, body_reader, body_writer, first_line, hashed, versions};

use crate::{proto::SpineRow, serving::training};
use arrow::array::{Array, RecordBatch, StringArray};
use std::collections::VecDeque;

/// Rows of a spine as they came.
pub enum Rows {
    Typed(VecDeque<SpineRow>),
    /// The text of each row, an object.
    Json(StringArray),
    Arrow(VecDeque<RecordBatch>),
}

impl training::Rows for Rows {
    fn take_front(&mut self, count: usize) -> Self {
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
