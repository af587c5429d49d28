//! A training set over REST: the body's form in, the accepted form out.

use super::{
    AnswerWriter, BatchRequest, Rows, SpineReader, Summary,
    arrow_in::{ArrowFraming, ArrowReader},
    arrow_out::{ArrowFileWriter, metadata},
    columns::{Joiner, Rebatch},
    infer::Columnizer,
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
    serving::{
        Service,
        historical::{Answer as FeatureAnswer, Spine, TrainingSet},
    },
};
use arrow::array::{Array, RecordBatch, StringArray};
use bytes::{Bytes, BytesMut};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How long an answer's head waits for its first rows, while the caller may be waiting for the head.
const HEAD_WAIT: Duration = Duration::from_millis(100);
/// The first rows that decide on the columns of JSON rows: at most so many, of at most so many bytes.
const INFER_ROWS: usize = 65_536;
const INFER_BYTES: usize = 16 << 20;
/// Cells and rows of a batch of a file.
const BATCH_CELLS: usize = 1 << 21;
const BATCH_ROWS_MAX: usize = 65_536;
const BATCH_ROWS_MIN: usize = 1_024;

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
    let features = call.set.plan().features.len();
    let duplex = matches!(spine, BatchSpine::Lines(_)) && format == BatchFormat::Lines;
    let mut messages = call.start(spine);
    let head_wait = if duplex { HEAD_WAIT } else { Duration::MAX };
    let first = match tokio::time::timeout(head_wait, messages.next()).await {
        Ok(first) => first.transpose()?,
        Err(_) => None,
    };
    let body = stream::iter(first.map(Ok)).chain(messages).boxed();
    Ok(Answer { features, settled_at, repeatable, body })
}

struct RestCall {
    limits: Arc<crate::serving::Limits>,
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

/// Rows on their way into a file: batches of one size and one schema, whatever the pieces were.
pub(super) struct FileRows {
    pub joiner: Joiner,
    columnizer: Columnizer,
    features: usize,
    /// JSON rows that came before enough were there to know their columns.
    undecided: VecDeque<(StringArray, Spine, FeatureAnswer)>,
    decided: bool,
    batches: Option<Rebatch>,
}

impl FileRows {
    pub fn new(set: &TrainingSet, details: bool) -> Self {
        let plan = set.plan().clone();
        Self {
            features: plan.features.len() * if details { 3 } else { 1 },
            joiner: Joiner::new(plan, details, metadata(set)),
            columnizer: Columnizer::default(),
            undecided: VecDeque::new(),
            decided: false,
            batches: None,
        }
    }

    pub fn push(&mut self, rows: Rows, spine: &Spine, answer: FeatureAnswer) -> Result<()> {
        match rows {
            Rows::Json(texts) if !self.decided => {
                self.undecided.push_back((texts, spine.clone(), answer));
                let rows: usize = self.undecided.iter().map(|(texts, ..)| texts.len()).sum();
                let bytes: usize = self.undecided.iter().map(|(texts, ..)| texts.value_data().len()).sum();
                if rows >= INFER_ROWS || bytes >= INFER_BYTES { self.decide() } else { Ok(()) }
            }
            rows => self.join(rows, spine, &answer),
        }
    }

    pub fn finish(&mut self) -> Result<()> {
        if self.decided { Ok(()) } else { self.decide() }
    }

    /// The next batch that is full, or whatever is left at the end.
    pub fn batch(&mut self, at_end: bool) -> Result<Option<RecordBatch>> {
        let Some(batches) = &mut self.batches else { return Ok(None) };
        match batches.full()? {
            None if at_end => batches.rest(),
            full => Ok(full),
        }
    }

    fn decide(&mut self) -> Result<()> {
        self.decided = true;
        let undecided = std::mem::take(&mut self.undecided);
        if let Some((_, spine, _)) = undecided.front() {
            let (mut rows, mut bytes) = (0, 0);
            // Counted row by row, so that the same spine has the same columns however it came.
            let first = undecided.iter().flat_map(|(texts, ..)| texts.iter().flatten()).take_while(|text| {
                rows += 1;
                bytes += text.len();
                rows == 1 || (rows <= INFER_ROWS && bytes <= INFER_BYTES)
            });
            self.columnizer.infer_json(first, &spine.names.time)?;
        }
        for (texts, spine, answer) in undecided {
            self.join(Rows::Json(texts), &spine, &answer)?;
        }
        Ok(())
    }

    fn join(&mut self, rows: Rows, spine: &Spine, answer: &FeatureAnswer) -> Result<()> {
        let mut at = 0;
        for batch in self.columnizer.batches(rows, spine)? {
            let cells = batch.num_columns() + self.features;
            let batches = self.batches.get_or_insert_with(|| {
                let rows_max = (BATCH_CELLS / cells.max(1)).max(1).ilog2();
                Rebatch::new((1 << rows_max).clamp(BATCH_ROWS_MIN, BATCH_ROWS_MAX))
            });
            batches.push(self.joiner.join(&batch, answer, at)?);
            at += batch.num_rows();
        }
        Ok(())
    }
}
