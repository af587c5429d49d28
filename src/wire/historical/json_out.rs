//! Answers as JSON: one document, or a row a line.

use super::{Rows, plain::JsonColumns, rest::Output};
use crate::{
    error::Result,
    feature::{CellStatus, Timestamp},
    registry::Plan,
    serving::training::{Answer, AnswerWriter, Spine, Summary, TrainingSet},
    store::NO_ROW,
    wire::json::{Int64Form, JsonWriter},
};
use arrow::array::StringArray;
use bytes::Bytes;
use std::{collections::VecDeque, mem, sync::Arc};

/// A message is about this long.
const CHUNK_BYTES: usize = 256 << 10;

/// How rows stand in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonForm {
    Document,
    Lines,
}

/// Writes rows that are JSON objects: the spine's own members as they came, then the features.
pub(super) struct JsonAnswerWriter {
    form: JsonForm,
    set: Arc<TrainingSet>,
    details: bool,
    int64: Int64Form,
    rows: Option<Pending>,
    chunk: Vec<u8>,
    /// The document's beginning was written.
    opened: bool,
    /// The first row was written.
    begun: bool,
    summary: Option<Summary>,
    ended: bool,
}

struct Pending {
    rows: RowTexts,
    answer: Answer,
    written: usize,
    count: usize,
}

/// Where the members that a row came with are taken from.
enum RowTexts {
    Json(StringArray),
    Arrow(VecDeque<JsonColumns>),
}

impl JsonAnswerWriter {
    pub fn new(form: JsonForm, set: Arc<TrainingSet>, details: bool, int64: Int64Form) -> Self {
        Self {
            form,
            set,
            details,
            int64,
            rows: None,
            chunk: Vec::new(),
            opened: false,
            begun: false,
            summary: None,
            ended: false,
        }
    }

    fn write_row(&mut self, pending: &mut Pending) -> Result<()> {
        let plan = self.set.plan().clone();
        let at = pending.written;
        if self.form == JsonForm::Document && self.begun {
            self.chunk.push(b',');
        }
        self.begun = true;
        // The commas before members depend on what stands before them, so a row begins its own buffer's end.
        match &mut pending.rows {
            RowTexts::Json(texts) => write_members(texts.value(at), self.form, &mut self.chunk),
            RowTexts::Arrow(batches) => {
                while batches.front().is_some_and(JsonColumns::is_exhausted) {
                    batches.pop_front();
                }
                self.chunk.push(b'{');
                if let Some(columns) = batches.front_mut() {
                    columns.write_next(&mut JsonWriter { out: &mut self.chunk, int64: self.int64 });
                }
            }
        }
        let mut writer = JsonWriter { out: &mut self.chunk, int64: self.int64 };
        for (feature, column) in plan.features.iter().zip(&pending.answer.features) {
            writer.key(&feature.name).arrow(&column.values, at, feature.feature.dtype);
        }
        if self.details {
            write_details(&plan, &pending.answer, at, &mut writer);
        }
        self.chunk.push(b'}');
        if self.form == JsonForm::Lines {
            self.chunk.push(b'\n');
        }
        pending.written += 1;
        Ok(())
    }

    fn write_end(&mut self, summary: &Summary) {
        if self.form == JsonForm::Lines {
            return;
        }
        self.chunk.extend_from_slice(b"],\"settled_at\":");
        let plan = self.set.plan();
        let mut writer = JsonWriter::new(&mut self.chunk);
        writer.timestamp(self.set.settled_at());
        writer.key("repeatable").boolean(self.set.is_repeatable());
        writer.key("features").object(|writer| {
            for feature in &plan.features {
                writer.key(&feature.name).object(|writer| {
                    writer.key("ref").string(&feature.reference);
                    writer.key("dtype").string(&feature.feature.dtype.name());
                });
            }
        });
        writer.key("spine_hash").string(&summary.spine_hash);
        self.chunk.push(b'}');
    }
}

impl AnswerWriter<Rows, Output> for JsonAnswerWriter {
    fn push(&mut self, rows: Rows, spine: &Spine, answer: Answer) -> Result<()> {
        let rows = match rows {
            Rows::Json(texts) => RowTexts::Json(texts),
            Rows::Arrow(batches) => {
                RowTexts::Arrow(batches.into_iter().map(JsonColumns::new).collect::<Result<_>>()?)
            }
            Rows::Typed(_) => return Err(crate::error::Error::internal("typed rows have no JSON answer")),
        };
        self.rows = Some(Pending { rows, answer, written: 0, count: spine.len() });
        Ok(())
    }

    fn finish(&mut self, summary: Summary) -> Result<()> {
        self.summary = Some(summary);
        Ok(())
    }

    fn greeting(&self) -> Option<Output> {
        Some(Output::Bytes(Bytes::new()))
    }

    fn message(&mut self) -> Result<Option<Output>> {
        let due = self.rows.is_some() || self.summary.is_some();
        if self.form == JsonForm::Document && due && !mem::replace(&mut self.opened, true) {
            self.chunk.extend_from_slice(b"{\"rows\":[");
        }
        if let Some(mut pending) = self.rows.take() {
            while pending.written < pending.count && self.chunk.len() < CHUNK_BYTES {
                self.write_row(&mut pending)?;
            }
            if pending.written < pending.count {
                self.rows = Some(pending);
            }
        }
        if let Some(summary) = self.summary.clone().filter(|_| !self.ended) {
            self.ended = true;
            self.write_end(&summary);
        }
        if !self.chunk.is_empty() {
            return Ok(Some(Output::Bytes(mem::take(&mut self.chunk).into())));
        }
        Ok(self.summary.take().map(Output::End))
    }
}

/// The text of a row without its closing brace.
fn write_members(text: &str, form: JsonForm, out: &mut Vec<u8>) {
    let open = text.trim_ascii_end().strip_suffix('}').unwrap_or(text).trim_ascii_end().as_bytes();
    match form {
        JsonForm::Document => out.extend_from_slice(open),
        // Between tokens a line feed is space; within strings there is none.
        JsonForm::Lines => {
            out.extend(open.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }))
        }
    }
}

fn write_details(plan: &Plan, answer: &Answer, at: usize, writer: &mut JsonWriter<'_>) {
    let status = |feature: usize| {
        let statuses = answer.features[feature].statuses.as_ref();
        statuses.and_then(|statuses| CellStatus::from_number(statuses[at])).unwrap_or(CellStatus::Error)
    };
    writer.key("statuses").object(|writer| {
        for (position, feature) in plan.features.iter().enumerate() {
            writer.key(&feature.name).string(status(position).name());
        }
    });
    writer.key("event_timestamps").object(|writer| {
        for (position, feature) in plan.features.iter().enumerate() {
            let event = answer.event_timestamps[feature.group][at];
            let writer = writer.key(&feature.name);
            match status(position) {
                CellStatus::NotFound | CellStatus::Error => writer.null(),
                _ if event == NO_ROW => writer.null(),
                _ => writer.timestamp(Timestamp::from_stored(event)),
            }
        }
    });
}
