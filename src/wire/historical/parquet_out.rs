//! Answers as a Parquet file.

use super::{Rows, arrow_out::metadata, batches::FileRows, rest::Output};
use crate::{
    error::{Error, Result},
    serving::training::{Answer, AnswerWriter, Spine, Summary, TrainingSet},
};
use arrow::array::RecordBatch;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::{metadata::KeyValue, properties::WriterProperties},
};
use std::{collections::BTreeMap, mem};

/// Batches in one row group.
const GROUP_BATCHES: usize = 4;

/// Writes one Parquet file, in row groups of one size; what the training set says of itself stands in its footer.
pub(super) struct ParquetWriter {
    rows: FileRows,
    metadata: BTreeMap<String, String>,
    writer: Option<ArrowWriter<Vec<u8>>>,
    batches: usize,
    summary: Option<Summary>,
    ended: bool,
}

impl ParquetWriter {
    pub fn new(set: &TrainingSet, details: bool) -> Self {
        Self {
            rows: FileRows::new(set, details),
            metadata: metadata(set).into_iter().collect(),
            writer: None,
            batches: 0,
            summary: None,
            ended: false,
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_created_by("larder".into())
                    .set_max_row_group_row_count(None);
                let writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build()));
                self.writer.insert(writer.map_err(Error::internal)?)
            }
        };
        writer.write(batch).map_err(Error::internal)?;
        self.batches += 1;
        if self.batches.is_multiple_of(GROUP_BATCHES) {
            writer.flush().map_err(Error::internal)?;
        }
        Ok(())
    }

    fn close(&mut self, spine_hash: String) -> Result<Vec<u8>> {
        let mut writer = self.writer.take().ok_or_else(|| Error::internal("an answer without a schema"))?;
        self.metadata.insert("larder.spine_hash".into(), spine_hash);
        for (key, value) in mem::take(&mut self.metadata) {
            writer.append_key_value_metadata(KeyValue::new(key, value));
        }
        writer.into_inner().map_err(Error::internal)
    }
}

impl AnswerWriter<Rows, Output> for ParquetWriter {
    fn push(&mut self, rows: Rows, spine: &Spine, answer: Answer) -> Result<()> {
        self.rows.push(rows, spine, answer)
    }

    fn finish(&mut self, summary: Summary) -> Result<()> {
        self.summary = Some(summary);
        self.rows.finish()
    }

    fn message(&mut self) -> Result<Option<Output>> {
        loop {
            if let Some(batch) = self.rows.batch(self.summary.is_some())? {
                self.write(&batch)?;
                // What the writer has finished is taken from under it; it counts its offsets by itself.
                let written =
                    self.writer.as_mut().map(|writer| mem::take(writer.inner_mut())).unwrap_or_default();
                if !written.is_empty() {
                    return Ok(Some(Output::Bytes(written.into())));
                }
                continue;
            }
            if let Some(summary) = self.summary.clone().filter(|_| !self.ended) {
                self.ended = true;
                return Ok(Some(Output::Bytes(self.close(summary.spine_hash)?.into())));
            }
            return Ok(self.summary.take().map(Output::End));
        }
    }
}
