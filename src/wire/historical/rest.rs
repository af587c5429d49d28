//! A training set over REST: the body's form in, the accepted form out.

use super::{
    AnswerWriter, BatchRequest, SpineReader, Summary,
    arrow_in::{ArrowFraming, ArrowReader},
    arrow_out::ArrowFileWriter,
    json_in::{Framing, JsonRowReader},
    json_out::{JsonAnswerWriter, JsonForm},
    names,
    parquet_out::ParquetWriter,
    pump::{Answering, HashedPart, Messages, Patience, Pump, spawn},
};
use crate::{
    access::Caller,
    error::{Error, Kind, Result},
    feature::Timestamp,
    serving::{Limits, Service, historical::TrainingSet},
};
use bytes::{Bytes, BytesMut};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use std::sync::Arc;

/// The spine of a request.
pub enum BatchSpine {
    /// The text of an array of rows.
    Array(Bytes),
    /// `application/x-ndjson`: the request on the first line, then a row a line.
    Lines(BoxStream<'static, Result<Bytes>>),
    /// `application/vnd.apache.arrow.stream`.
    Arrow(BoxStream<'static, Result<Bytes>>),
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFormat {
    Json,
    Lines,
    ArrowStream,
    Parquet,
}

/// An answer whose head is known.
pub struct Answer {
    /// Features in a row.
    pub features: usize,
    pub settled_at: Timestamp,
    pub repeatable: bool,
    /// Which version each feature is: `country=profile.country@1,score=score@1`.
    pub versions: String,
    pub body: BoxStream<'static, Result<Output>>,
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

/// Answers a spine. Refuses before the first byte whatever it can.
pub async fn serve(
    service: &Service,
    caller: &Caller,
    request: Option<BatchRequest>,
    spine: BatchSpine,
    format: BatchFormat,
    patience: Patience,
) -> Result<Answer> {
    let (request, spine) = match (request, spine) {
        (Some(request), spine) => (request, spine),
        (None, BatchSpine::Lines(lines)) => {
            let (request, rest) = first_line(lines, service.limits.line_bytes_max).await?;
            (request, BatchSpine::Lines(rest))
        }
        (None, _) => return Err(Error::invalid("request", "say which features to put beside the spine")),
    };
    let mut options = request.options.clone();
    options.statuses = request.details;
    let set = TrainingSet::open(service, caller, options).await?;
    names::check(set.plan(), &request.columns)?;
    let call = RestCall { limits: service.limits.clone(), set: Arc::new(set), request, format, patience };
    let (settled_at, repeatable) = (call.set.settled_at(), call.set.is_repeatable());
    let plan = call.set.plan().clone();
    let features = plan.features.len();
    let versions: Vec<_> =
        plan.features.iter().map(|feature| format!("{}={}", feature.name, feature.reference)).collect();
    let mut messages = call.start(spine);
    // The head waits for the first rows or the first silence, so that an error before them has its status.
    let first = messages.next().await.transpose()?;
    let first = first.filter(|output| !matches!(output, Output::Bytes(bytes) if bytes.is_empty()));
    let body = stream::iter(first.map(Ok)).chain(messages).boxed();
    Ok(Answer { features, settled_at, repeatable, versions: versions.join(","), body })
}

struct RestCall {
    limits: Arc<Limits>,
    set: Arc<TrainingSet>,
    request: BatchRequest,
    format: BatchFormat,
    patience: Patience,
}

impl RestCall {
    fn start(self, spine: BatchSpine) -> Messages<Output> {
        let json_details =
            self.request.details && matches!(self.format, BatchFormat::Json | BatchFormat::Lines);
        let (plan, columns) = (self.set.plan().clone(), self.request.columns.clone());
        let rows = |framing| {
            let line_bytes_max = self.limits.line_bytes_max.max(self.limits.body_bytes_max);
            JsonRowReader::new(framing, plan.clone(), columns.clone(), json_details, line_bytes_max)
        };
        match spine {
            BatchSpine::Array(text) => {
                let reader = rows(Framing::Array);
                self.write(reader, stream::iter([Ok(hashed(text))]).boxed())
            }
            BatchSpine::Lines(parts) => {
                let line_bytes_max = self.limits.line_bytes_max;
                let reader = JsonRowReader::new(Framing::Lines, plan, columns, json_details, line_bytes_max);
                self.write(reader, parts.map(|part| part.map(hashed)).boxed())
            }
            BatchSpine::Arrow(parts) => {
                let framing = ArrowFraming::OneStream { batch_bytes_max: self.limits.line_bytes_max };
                let reader = ArrowReader::new(framing, plan, columns, json_details);
                self.write(reader, parts.map(|part| part.map(hashed)).boxed())
            }
        }
    }

    fn write<R: SpineReader<Part = Bytes>>(
        self,
        reader: R,
        parts: BoxStream<'static, Result<HashedPart<Bytes>>>,
    ) -> Messages<Output> {
        let (set, details, int64) = (self.set.clone(), self.request.details, self.request.int64);
        let json = |form| JsonAnswerWriter::new(form, set.clone(), details, int64);
        match self.format {
            BatchFormat::Json => self.pump(reader, json(JsonForm::Document), Answering::WhenFull, parts),
            BatchFormat::Lines => self.pump(reader, json(JsonForm::Lines), Answering::Promptly, parts),
            BatchFormat::ArrowStream => {
                let writer = ArrowFileWriter::new(&set, details);
                self.pump(reader, writer, Answering::AtTheEnd, parts)
            }
            BatchFormat::Parquet => {
                self.pump(reader, ParquetWriter::new(&set, details), Answering::WhenFull, parts)
            }
        }
    }

    fn pump<R: SpineReader<Part = Bytes>, W: AnswerWriter<Message = Output>>(
        self,
        reader: R,
        writer: W,
        answering: Answering,
        parts: BoxStream<'static, Result<HashedPart<Bytes>>>,
    ) -> Messages<Output> {
        let pump = Pump::new(self.set, reader, writer, answering, self.patience, &self.limits);
        spawn(self.patience.deadline, |outlet| async move { pump.run(parts, &outlet).await })
    }
}

fn hashed(part: Bytes) -> HashedPart<Bytes> {
    (part.clone(), part)
}

/// Reads the request that stands on the first line.
async fn first_line(
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
