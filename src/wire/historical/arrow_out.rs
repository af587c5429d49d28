//! Answers as Arrow: IPC streams of their own in gRPC messages, or one stream as a body.

use super::{
    Rows,
    batches::{FileRows, Rebatch},
    grpc::{reply, summary_to},
    infer::Columnizer,
    rest::Output,
};
use crate::{
    error::{Error, Kind, Result},
    registry::Plan,
    serving::training::{Answer, AnswerWriter, Joiner, Spine, Summary, TrainingSet},
    wire::proto::{GetHistoricalFeaturesResponse, get_historical_features_response::Part as Reply},
};
use arrow::{
    array::{Array, RecordBatch},
    ipc::writer::{StreamEncoder, StreamWriter},
};
use bytes::{Bytes, BytesMut};
use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
};

/// What every answer in columns says of itself, but for the spine's hash.
pub(super) fn metadata(set: &TrainingSet) -> HashMap<String, String> {
    let plan = set.plan();
    let features: serde_json::Map<_, _> = plan
        .features
        .iter()
        .map(|feature| (feature.name.clone(), feature.reference.clone().into()))
        .collect();
    let mut metadata = HashMap::from([
        ("larder.settled_at".to_owned(), set.settled_at().to_string()),
        ("larder.repeatable".to_owned(), set.is_repeatable().to_string()),
        ("larder.features".to_owned(), serde_json::Value::Object(features).to_string()),
    ]);
    if let Some(name) = &plan.feature_set {
        metadata.insert("larder.feature_set".to_owned(), name.clone());
    }
    metadata
}

/// Writes messages that each hold a whole Arrow IPC stream.
pub(super) struct ArrowMessageWriter {
    columnizer: Columnizer,
    joiner: Joiner,
    message_bytes_max: usize,
    rows: Rebatch,
    /// Too large for one message: to be tried in halves.
    halves: VecDeque<RecordBatch>,
    summary: Option<Summary>,
}

impl ArrowMessageWriter {
    pub fn new(plan: Arc<Plan>, details: bool, set: &TrainingSet, message_bytes_max: usize) -> Self {
        Self {
            columnizer: Columnizer::default(),
            joiner: Joiner::new(plan, details, metadata(set)),
            message_bytes_max,
            rows: Rebatch::new(1),
            halves: VecDeque::new(),
            summary: None,
        }
    }

    fn encode(batch: &RecordBatch) -> Result<Vec<u8>> {
        let bytes = Vec::with_capacity(slice_bytes(batch) + (64 << 10));
        let mut writer = StreamWriter::try_new(bytes, batch.schema_ref()).map_err(Error::internal)?;
        writer.write(batch).and_then(|()| writer.into_inner()).map_err(Error::internal)
    }
}

impl AnswerWriter<Rows, GetHistoricalFeaturesResponse> for ArrowMessageWriter {
    fn push(&mut self, rows: Rows, spine: &Spine, answer: Answer) -> Result<()> {
        let mut joined = Vec::new();
        let mut at = 0;
        for batch in self.columnizer.batches(rows, spine)? {
            joined.push(self.joiner.join(&batch, &answer, at)?);
            at += batch.num_rows();
        }
        // A quarter of the greatest message: large enough to be cheap, small enough that few of them wait.
        let row_bytes = joined.iter().map(slice_bytes).sum::<usize>() / spine.len().max(1);
        self.rows = Rebatch::new((self.message_bytes_max / 4 / row_bytes.max(1)).max(1));
        joined.into_iter().for_each(|batch| self.rows.push(batch));
        Ok(())
    }

    fn finish(&mut self, summary: Summary) -> Result<()> {
        self.summary = Some(summary);
        Ok(())
    }

    fn message(&mut self) -> Result<Option<GetHistoricalFeaturesResponse>> {
        loop {
            let next = match self.halves.pop_front() {
                Some(half) => Some(half),
                None => match self.rows.full()? {
                    Some(full) => Some(full),
                    None => self.rows.rest()?,
                },
            };
            let Some(batch) = next.filter(|batch| batch.num_rows() > 0) else {
                return Ok(self.summary.take().map(summary_to));
            };
            let bytes = Self::encode(&batch)?;
            if bytes.len() + 16 <= self.message_bytes_max {
                return Ok(Some(reply(Reply::ArrowIpc(bytes.into()))));
            }
            let half = batch.num_rows() / 2;
            if half == 0 {
                let message = format!(
                    "a row of {} bytes is over the limit of {} for a message; ask for fewer features",
                    bytes.len(),
                    self.message_bytes_max
                );
                return Err(Error::new(Kind::TooLarge, message));
            }
            self.halves.push_front(batch.slice(half, batch.num_rows() - half));
            self.halves.push_front(batch.slice(0, half));
        }
    }
}

/// The memory of a batch's own rows.
fn slice_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

/// Writes one Arrow IPC stream, in batches of one size, the spine's hash in its schema.
pub(super) struct ArrowFileWriter {
    rows: FileRows,
    encoder: Option<StreamEncoder>,
    chunk: BytesMut,
    summary: Option<Summary>,
    ended: bool,
}

impl ArrowFileWriter {
    pub fn new(set: &TrainingSet, details: bool) -> Self {
        Self {
            rows: FileRows::new(set, details),
            encoder: None,
            chunk: BytesMut::new(),
            summary: None,
            ended: false,
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            None => self.encoder.insert(StreamEncoder::try_new(batch.schema_ref()).map_err(Error::internal)?),
        };
        if batch.num_rows() > 0 {
            for buffer in encoder.encode(batch).map_err(Error::internal)? {
                self.chunk.extend_from_slice(&buffer);
            }
        }
        Ok(())
    }
}

impl AnswerWriter<Rows, Output> for ArrowFileWriter {
    fn begin(&mut self, spine_hash: String) {
        self.rows.joiner.add_metadata("larder.spine_hash", spine_hash);
    }

    fn push(&mut self, rows: Rows, spine: &Spine, answer: Answer) -> Result<()> {
        self.rows.push(rows, spine, answer)
    }

    fn finish(&mut self, summary: Summary) -> Result<()> {
        self.summary = Some(summary);
        self.rows.finish()
    }

    fn message(&mut self) -> Result<Option<Output>> {
        while self.chunk.is_empty() {
            let Some(batch) = self.rows.batch(self.summary.is_some())? else { break };
            self.write(&batch)?;
        }
        if self.chunk.is_empty() && self.summary.is_some() && !mem::replace(&mut self.ended, true) {
            let encoder = self.encoder.take().ok_or_else(|| Error::internal("an answer without a schema"))?;
            for buffer in encoder.finish().map_err(Error::internal)? {
                self.chunk.extend_from_slice(&buffer);
            }
        }
        if !self.chunk.is_empty() {
            return Ok(Some(Output::Bytes(Bytes::from(mem::take(&mut self.chunk)))));
        }
        Ok(self.summary.take().map(Output::End))
    }
}
