//! A training set's bodies over REST: the body's form in, the accepted form out.

use super::{
    BatchRequest, Rows,
    arrow_in::{ArrowFraming, ArrowReader},
    arrow_out::ArrowFileWriter,
    json_in::{Framing, JsonRowReader},
    json_out::{JsonAnswerWriter, JsonForm},
    parquet_out::ParquetWriter,
};
use crate::{
    error::{Error, Kind, Result},
    serving::{
        Limits,
        training::{AnswerWriter, Answering, HashedPart, SpineReader, Summary, TrainingSet},
    },
};
use bytes::{Bytes, BytesMut};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use std::sync::Arc;

/// The form of a spine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpineForm {
    /// An array of rows, in one part.
    Array,
    /// A row a line.
    Lines,
    /// One Arrow IPC stream.
    Arrow,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFormat {
    Json,
    Lines,
    ArrowStream,
    Parquet,
}

/// A part of an answer's body.
pub enum Output {
    Bytes(Bytes),
    /// All rows were sent.
    End(Summary),
}

impl Output {
    /// Names and values of the trailers.
    pub fn trailers(summary: &Summary) -> [(&'static str, String); 2] {
        [("x-larder-rows", summary.rows.to_string()), ("x-larder-spine-hash", summary.spine_hash.clone())]
    }
}

/// Which version each feature of an answer is: `country=profile.country@1,score=score@1`.
pub fn versions(set: &TrainingSet) -> String {
    let version = |feature: &crate::registry::PlanFeature| format!("{}={}", feature.name, feature.reference);
    set.plan().features.iter().map(version).collect::<Vec<_>>().join(",")
}

/// Reads a spine that is answered in this form.
pub fn body_reader(
    request: &BatchRequest,
    spine: SpineForm,
    format: BatchFormat,
    set: &TrainingSet,
    limits: &Limits,
) -> Box<dyn SpineReader<Bytes, Rows>> {
    let json_details = request.details && matches!(format, BatchFormat::Json | BatchFormat::Lines);
    let (plan, columns) = (set.plan().clone(), request.columns.clone());
    let rows = |framing, line_bytes_max| {
        JsonRowReader::new(framing, plan.clone(), columns.clone(), json_details, line_bytes_max)
    };
    match spine {
        SpineForm::Array => Box::new(rows(Framing::Array, limits.line_bytes_max.max(limits.body_bytes_max))),
        SpineForm::Lines => Box::new(rows(Framing::Lines, limits.line_bytes_max)),
        SpineForm::Arrow => {
            let framing = ArrowFraming::OneStream { batch_bytes_max: limits.line_bytes_max };
            Box::new(ArrowReader::new(framing, plan, columns, json_details))
        }
    }
}

/// Writes an answer in this form.
pub fn body_writer(
    request: &BatchRequest,
    format: BatchFormat,
    set: &Arc<TrainingSet>,
) -> (Box<dyn AnswerWriter<Rows, Output>>, Answering) {
    let details = request.details;
    let json = |form| Box::new(JsonAnswerWriter::new(form, set.clone(), details, request.int64));
    match format {
        BatchFormat::Json => (json(JsonForm::Document), Answering::WhenFull),
        BatchFormat::Lines => (json(JsonForm::Lines), Answering::Promptly),
        BatchFormat::ArrowStream => (Box::new(ArrowFileWriter::new(set, details)), Answering::AtTheEnd),
        BatchFormat::Parquet => (Box::new(ParquetWriter::new(set, details)), Answering::WhenFull),
    }
}

/// A part of a body, over whose bytes the spine's hash runs.
pub fn hashed(part: Bytes) -> HashedPart<Bytes> {
    (part.clone(), part)
}

/// Reads the request that stands on the first line; the spine follows it.
pub async fn first_line(
    mut lines: impl Stream<Item = Result<Bytes>> + Send + Unpin + 'static,
    bytes_max: usize,
) -> Result<(BatchRequest, BoxStream<'static, Result<Bytes>>)> {
    let mut line = BytesMut::new();
    let rest = loop {
        let Some(part) = lines.next().await.transpose()? else { break Bytes::new() };
        match part.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                line.extend_from_slice(&part[..end]);
                break part.slice(end + 1..);
            }
            None => line.extend_from_slice(&part),
        }
        if line.len() > bytes_max {
            return Err(Error::new(
                Kind::TooLarge,
                format!("the first line has more than {bytes_max} bytes"),
            ));
        }
    };
    let (request, spine) = BatchRequest::from_json(&line.freeze())?;
    if spine.is_some() {
        let message = "the spine comes a row a line after the first line, not within it";
        return Err(Error::invalid("spine", message));
    }
    Ok((request, stream::iter([Ok(rest)]).chain(lines).boxed()))
}
