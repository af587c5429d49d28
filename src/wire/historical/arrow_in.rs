//! Spines as Arrow IPC streams.
//!
//! Ids are strings of any Arrow kind, dictionaries of them, or integers (their decimal text). Times are timestamps of
//! any unit *with a time zone*, rounded down to microseconds, or RFC 3339 strings. A timestamp without a time zone is
//! refused: whether it means UTC or some local time only its owner knows, and a wrong guess leaks the future.

use super::{
    Rows,
    names::{self, AddedNames, ColumnNames},
};
use crate::{
    error::{Error, Kind, Result},
    feature::Round,
    registry::Plan,
    serving::training::{Piece, Spine, SpineNames, SpineReader},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder},
    buffer::Buffer,
    compute::cast,
    datatypes::{
        DataType, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
        TimestampNanosecondType, TimestampSecondType,
    },
    ipc::reader::StreamDecoder,
};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// How IPC streams stand in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArrowFraming {
    /// Each part is a stream of its own.
    StreamPerPart,
    /// All parts together are one stream, whose batches have at most so many bytes.
    OneStream { batch_bytes_max: usize },
}

/// Reads record batches.
pub(super) struct ArrowReader {
    framing: ArrowFraming,
    plan: Arc<Plan>,
    columns: ColumnNames,
    added: AddedNames,
    decoder: StreamDecoder,
    /// Bytes since the last batch: what the decoder holds.
    undecoded: usize,
    schema: Option<SchemaRef>,
    names: Option<Arc<SpineNames>>,
    first_row: usize,
    batches: VecDeque<RecordBatch>,
    ids: Vec<StringBuilder>,
    times: Vec<i64>,
    bytes: usize,
}

impl ArrowReader {
    pub fn new(framing: ArrowFraming, plan: Arc<Plan>, columns: ColumnNames, json_details: bool) -> Self {
        Self {
            framing,
            added: AddedNames::new(&plan, json_details),
            ids: plan.keys.iter().map(|_| StringBuilder::new()).collect(),
            plan,
            columns,
            decoder: StreamDecoder::new(),
            undecoded: 0,
            schema: None,
            names: None,
            first_row: 0,
            batches: VecDeque::new(),
            times: Vec::new(),
            bytes: 0,
        }
    }

    fn decode(&mut self, part: Bytes) -> Result<()> {
        let mut buffer = Buffer::from(part);
        while !buffer.is_empty() {
            let before = buffer.len();
            let known = self.decoder.schema().is_some();
            // The decoder checks what it reads; should some malice get past its checks, it is one call that fails.
            let decoded = catch_unwind(AssertUnwindSafe(|| self.decoder.decode(&mut buffer)));
            let batch = match decoded {
                Ok(Ok(batch)) => batch,
                Ok(Err(error)) => return Err(unreadable(error)),
                Err(_) => return Err(unreadable("its messages contradict themselves")),
            };
            if !known && let Some(schema) = self.decoder.schema() {
                self.accept_schema(schema)?;
            }
            self.undecoded += before - buffer.len();
            self.check_undecoded()?;
            if let Some(batch) = batch {
                self.undecoded = 0;
                self.accept(batch)?;
            }
        }
        Ok(())
    }

    fn check_undecoded(&self) -> Result<()> {
        match self.framing {
            ArrowFraming::OneStream { batch_bytes_max } if self.undecoded > batch_bytes_max => {
                let message = format!(
                    "a record batch has at most {batch_bytes_max} bytes; write the spine in smaller batches, such as with max_chunksize"
                );
                Err(Error::new(Kind::TooLarge, message)
                    .at(format!("spine[{}]", self.first_row + self.times.len())))
            }
            _ => Ok(()),
        }
    }

    fn accept_schema(&mut self, schema: SchemaRef) -> Result<()> {
        if let Some(first) = &self.schema {
            if first.fields() != schema.fields() {
                return Err(Error::invalid(
                    "spine",
                    "the columns of the spine differ from those it began with",
                ));
            }
            return Ok(());
        }
        for (position, field) in schema.fields().iter().enumerate() {
            self.added
                .check(field.name())
                .map_err(|why| Error::invalid(format!("spine.{}", field.name()), why))?;
            if schema.fields()[..position].iter().any(|other| other.name() == field.name()) {
                let message = "two columns of the spine bear this name; rename one";
                return Err(Error::invalid(format!("spine.{}", field.name()), message));
            }
        }
        let has = |name: &str| schema.column_with_name(name).is_some();
        let names = names::resolve(&self.plan, &self.columns, has).map_err(|error| error.within("spine"))?;
        self.names = Some(Arc::new(names));
        self.schema = Some(schema);
        Ok(())
    }

    fn accept(&mut self, batch: RecordBatch) -> Result<()> {
        let names = self.names.clone().ok_or_else(|| unreadable("a batch stands before the schema"))?;
        let first = self.first_row + self.times.len();
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| unreadable("a column is missing"));
        for (name, ids) in names.keys.iter().zip(&mut self.ids) {
            append_ids(column(name)?, name, first, ids)?;
        }
        append_times(column(&names.time)?, &names.time, first, &mut self.times)?;
        let sizes =
            batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
        self.bytes += sizes.sum::<usize>();
        self.batches.push_back(batch);
        Ok(())
    }
}

impl SpineReader<Bytes, Rows> for ArrowReader {
    fn push(&mut self, part: Bytes) -> Result<()> {
        if self.framing == ArrowFraming::StreamPerPart {
            self.decoder = StreamDecoder::new();
        }
        self.decode(part)?;
        match self.framing {
            ArrowFraming::StreamPerPart => self.decoder.finish().map_err(unreadable),
            ArrowFraming::OneStream { .. } => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<()> {
        if self.schema.is_none() {
            return Err(unreadable("it has no schema"));
        }
        self.decoder.finish().map_err(|_| unreadable("it breaks off within a message"))
    }

    fn rows(&self) -> usize {
        self.times.len()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn take(&mut self) -> Piece<Rows> {
        let mut batches = mem::take(&mut self.batches);
        if let Some(schema) = self.schema.as_ref().filter(|_| batches.is_empty()) {
            batches.push_back(RecordBatch::new_empty(schema.clone()));
        }
        let names = self.names.clone().unwrap_or_else(|| names::of_nothing(&self.plan));
        let spine = Spine {
            first_row: self.first_row,
            ids: self.ids.iter_mut().map(StringBuilder::finish).collect(),
            times: mem::take(&mut self.times).into(),
            names,
        };
        self.first_row += spine.len();
        self.bytes = 0;
        Piece { spine, rows: Rows::Arrow(batches) }
    }
}

fn unreadable(why: impl std::fmt::Display) -> Error {
    Error::invalid("spine", format!("this is not a readable Arrow IPC stream: {why}"))
}

/// The first null of a column, as a refusal.
fn refuse_nulls(array: &ArrayRef, name: &str, first: usize) -> Result<()> {
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    match nulls.and_then(|nulls| (0..nulls.len()).find(|row| nulls.is_null(*row))) {
        None => Ok(()),
        Some(row) => {
            let message = "must not be null; every row of the spine names its entities and its moment";
            Err(Error::invalid(format!("spine[{}].{name}", first + row), message))
        }
    }
}

fn append_ids(array: &ArrayRef, name: &str, first: usize, ids: &mut StringBuilder) -> Result<()> {
    use DataType::*;
    let is_text = |kind: &DataType| matches!(kind, Utf8 | LargeUtf8 | Utf8View);
    let right = match array.data_type() {
        Dictionary(_, value) => is_text(value) || value.is_integer(),
        kind => is_text(kind) || kind.is_integer(),
    };
    if !right {
        let message = format!(
            "the column {name:?} of type {} holds no ids; ids are strings or integers",
            array.data_type()
        );
        return Err(Error::invalid(format!("spine.{name}"), message));
    }
    refuse_nulls(array, name, first)?;
    let texts = cast(array, &Utf8).map_err(unreadable)?;
    let texts: &StringArray = texts.as_string();
    ids.append_array(texts).map_err(Error::internal)
}

fn append_times(array: &ArrayRef, name: &str, first: usize, times: &mut Vec<i64>) -> Result<()> {
    use DataType::*;
    refuse_nulls(array, name, first)?;
    let refuse = |row: usize, why: String| Error::invalid(format!("spine[{}].{name}", first + row), why);
    let start = times.len();
    match array.data_type() {
        Timestamp(_, None) => {
            let message = format!(
                "the column {name:?} has no time zone; say which it is, such as dt.tz_localize(\"UTC\") in pandas or dt.replace_time_zone(\"UTC\") in Polars"
            );
            return Err(Error::invalid(format!("spine.{name}"), message));
        }
        Timestamp(TimeUnit::Second, _) => {
            let seconds = array.as_primitive::<TimestampSecondType>().values();
            times.extend(seconds.iter().map(|time| time.saturating_mul(1_000_000)));
        }
        Timestamp(TimeUnit::Millisecond, _) => {
            let millis = array.as_primitive::<TimestampMillisecondType>().values();
            times.extend(millis.iter().map(|time| time.saturating_mul(1_000)));
        }
        Timestamp(TimeUnit::Microsecond, _) => {
            times.extend_from_slice(array.as_primitive::<TimestampMicrosecondType>().values());
        }
        Timestamp(TimeUnit::Nanosecond, _) => {
            let nanos = array.as_primitive::<TimestampNanosecondType>().values();
            times.extend(nanos.iter().map(|time| time.div_euclid(1_000)));
        }
        Utf8 | LargeUtf8 | Utf8View | Dictionary(..) => {
            let texts = cast(array, &Utf8).map_err(unreadable)?;
            for (row, text) in texts.as_string::<i32>().iter().enumerate() {
                let time = crate::feature::Timestamp::parse(text.unwrap_or_default(), Round::Down);
                times.push(time.map_err(|why| refuse(row, why))?.micros());
            }
        }
        other => {
            let message = format!(
                "the column {name:?} of type {other} holds no moments; use timestamps with a time zone or RFC 3339 strings"
            );
            return Err(Error::invalid(format!("spine.{name}"), message));
        }
    }
    match times[start..].iter().position(|time| crate::feature::Timestamp::from_micros(*time).is_none()) {
        None => Ok(()),
        Some(row) => {
            Err(refuse(row, "the moment is outside the years 1 to 9999 (is its unit right?)".into()))
        }
    }
}
