//! A training set's messages over gRPC: options first, then the spine in typed or Arrow parts.

use super::{
    BatchRequest, Rows,
    arrow_in::{ArrowFraming, ArrowReader},
    arrow_out::ArrowMessageWriter,
    typed::{TypedReader, TypedWriter},
};
use crate::{
    error::{Error, Result},
    registry::Plan,
    serving::training::{AnswerWriter, Answering, HashedPart, SpineReader, Summary, TrainingSet},
    wire::{
        online,
        proto::{
            GetHistoricalFeaturesRequest, GetHistoricalFeaturesResponse, HistoricalFormat, HistoricalHeader,
            HistoricalSummary, SpineRows, get_historical_features_request::Part,
            get_historical_features_response::Part as Reply,
        },
        value::timestamp_to,
    },
};
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;

/// What a message of the caller holds.
pub enum Asked {
    Options(BatchRequest),
    Rows(HashedPart<SpineRows>),
    Arrow(HashedPart<Bytes>),
}

impl Asked {
    pub fn from_message(message: GetHistoricalFeaturesRequest) -> Result<Self> {
        match message.part {
            Some(Part::Options(options)) => BatchRequest::from_proto(options).map(Self::Options),
            Some(Part::Rows(rows)) => {
                let encoded = rows.encode_to_vec();
                Ok(Self::Rows((rows, encoded.into())))
            }
            Some(Part::ArrowIpc(bytes)) => Ok(Self::Arrow((bytes.clone(), bytes))),
            None => Err(Error::invalid("part", "the message is empty")),
        }
    }

    /// The options, which the first message carries.
    pub fn options(self) -> Result<BatchRequest> {
        match self {
            Self::Options(request) => Ok(request),
            Self::Rows(_) | Self::Arrow(_) => Err(no_options()),
        }
    }

    /// A further part of a spine that began with typed rows.
    pub fn rows(self) -> Result<HashedPart<SpineRows>> {
        match self {
            Self::Rows(rows) => Ok(rows),
            Self::Arrow(_) => Err(mixed()),
            Self::Options(_) => Err(options_again()),
        }
    }

    /// A further part of a spine that began with Arrow.
    pub fn arrow(self) -> Result<HashedPart<Bytes>> {
        match self {
            Self::Arrow(bytes) => Ok(bytes),
            Self::Rows(_) => Err(mixed()),
            Self::Options(_) => Err(options_again()),
        }
    }
}

/// A call whose first message carries no options.
pub fn no_options() -> Error {
    Error::invalid("options", "the first message of the call carries the options")
}

pub fn options_again() -> Error {
    Error::invalid("options", "the options come once, in the first message")
}

fn mixed() -> Error {
    Error::invalid("part", "a spine comes in one form; send all of it as rows or all of it as arrow_ipc")
}

/// The first message of an answer.
pub fn header_to(set: &TrainingSet, request_id: &str) -> GetHistoricalFeaturesResponse {
    reply(Reply::Header(HistoricalHeader {
        schema: Some(online::schema_message(set.plan())),
        settled_at: Some(timestamp_to(set.settled_at())),
        repeatable: set.is_repeatable(),
        request_id: request_id.to_owned(),
    }))
}

/// The last message of an answer.
pub fn summary_to(summary: Summary) -> GetHistoricalFeaturesResponse {
    let rows = summary.rows as u64;
    reply(Reply::Summary(HistoricalSummary { rows, spine_hash: summary.spine_hash }))
}

pub(super) fn reply(part: Reply) -> GetHistoricalFeaturesResponse {
    GetHistoricalFeaturesResponse { part: Some(part) }
}

/// Reads typed rows.
pub fn rows_reader(request: &BatchRequest, plan: &Arc<Plan>) -> Box<dyn SpineReader<SpineRows, Rows>> {
    Box::new(TypedReader::new(plan.clone(), request.columns.clone()))
}

/// Reads Arrow IPC streams, one a message.
pub fn arrow_reader(request: &BatchRequest, plan: &Arc<Plan>) -> Box<dyn SpineReader<Bytes, Rows>> {
    let columns = request.columns.clone();
    Box::new(ArrowReader::new(ArrowFraming::StreamPerPart, plan.clone(), columns, false))
}

/// Writes what the options ask for; a spine of typed rows is answered by typed rows unless they say otherwise.
pub fn message_writer(
    request: &BatchRequest,
    is_typed: bool,
    set: &mut TrainingSet,
    message_bytes_max: usize,
) -> (Box<dyn AnswerWriter<Rows, GetHistoricalFeaturesResponse>>, Answering) {
    let as_rows = match request.format {
        HistoricalFormat::Unspecified => is_typed,
        HistoricalFormat::Rows => true,
        HistoricalFormat::Arrow => false,
    };
    // Typed rows always carry statuses.
    set.carry_statuses(as_rows || request.details);
    let plan = set.plan().clone();
    let writer: Box<dyn AnswerWriter<Rows, GetHistoricalFeaturesResponse>> = if as_rows {
        Box::new(TypedWriter::new(plan, message_bytes_max))
    } else {
        Box::new(ArrowMessageWriter::new(plan, request.details, set, message_bytes_max))
    };
    (writer, Answering::Promptly)
}
