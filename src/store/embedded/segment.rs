//! Immutable history: one Arrow IPC file of one group's rows, read where it lies.
//!
//! ```text
//! entity            dictionary<int32, utf8>, the dictionary in byte order     ┐ rows are sorted
//! event_timestamp   timestamp[us, UTC]                                        │ by these four,
//! created           timestamp[us, UTC]                                        │ in this order
//! sequence          uint64                                                    ┘
//! country@1         the feature's type; null = written null, or left out
//! country@1 left_out  bool, only where a row left the feature out
//! ```
//!
//! Uncompressed and aligned, so that pandas, Polars and DuckDB read it too, and a mapped page is a page of values. Every
//! record batch but the last has `1 << batch_rows_log2` rows. An entity's rows are found by binary search: its code in
//! the dictionary, then its codes' range, then the moment.

use crate::{
    feature::{Column, RowId, RowSchema, row::RowPacker},
    store::{Result, StoreError, StoredRow},
};
use arrow::{
    array::{Array, AsArray, RecordBatch, StringArray},
    buffer::{Buffer, ScalarBuffer},
    datatypes::{Int32Type, TimestampMicrosecondType, UInt64Type},
    error::ArrowError,
    ipc::{
        convert::try_fb_to_schema,
        reader::{FileDecoder, read_footer_length},
        root_as_footer,
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, ops::Range, sync::Arc};

pub const ENTITY: &str = "entity";
pub const EVENT_TIMESTAMP: &str = "event_timestamp";
pub const CREATED: &str = "created";
pub const SEQUENCE: &str = "sequence";
pub const LEFT_OUT_SUFFIX: &str = " left_out";

/// What the manifest keeps of a segment. Times in UTC microseconds, inclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMeta {
    pub id: u64,
    pub group: RowId,
    pub rows: u64,
    pub bytes: u64,
    pub batch_rows_log2: u8,
    pub events: (i64, i64),
    pub created: (i64, i64),
    /// Rows before this moment were dropped, but for each entity's newest.
    pub reduced_to: Option<i64>,
}

/// A segment, open for reading.
#[derive(Debug)]
pub struct Segment {
    pub meta: SegmentMeta,
    /// Entity keys in byte order; row codes point here.
    pub keys: StringArray,
    codes: Chunks<i32>,
    pub events: Chunks<i64>,
    pub created: Chunks<i64>,
    pub sequences: Chunks<u64>,
    /// By `name@version`: one column for each record batch.
    columns: HashMap<String, Vec<Column>>,
}

/// One value a row, cut into record batches.
#[derive(Debug)]
pub struct Chunks<T: arrow::datatypes::ArrowNativeType> {
    chunks: Vec<ScalarBuffer<T>>,
    log2: u8,
}

impl<T: arrow::datatypes::ArrowNativeType> Chunks<T> {
    #[inline]
    pub fn get(&self, row: usize) -> T {
        self.chunks[row >> self.log2][row & ((1 << self.log2) - 1)]
    }

    /// The first row of `rows` for which `before` does not hold; it must hold for all rows before that one.
    #[inline]
    pub fn partition_point(&self, rows: Range<usize>, before: impl Fn(T) -> bool) -> usize {
        let (mut low, mut high) = (rows.start, rows.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The same, for an answer that is expected near the start.
    #[inline]
    fn gallop(&self, rows: Range<usize>, before: impl Fn(T) -> bool) -> usize {
        let mut step = 1;
        let mut low = rows.start;
        while low + step < rows.end && before(self.get(low + step)) {
            low += step;
            step *= 2;
        }
        self.partition_point(low..rows.end.min(low + step + 1), before)
    }
}

impl Segment {
    /// Reads the outline of a finished segment; values stay where they are.
    pub fn open(meta: SegmentMeta, bytes: Buffer) -> Result<Self> {
        let damaged = |error: &dyn std::fmt::Display| {
            StoreError::damaged(format!("segment {:012}.arrow", meta.id), error.to_string())
        };
        if bytes.len() as u64 != meta.bytes {
            return Err(damaged(&format!("{} bytes instead of {}", bytes.len(), meta.bytes)));
        }
        let batches = decode(&bytes).map_err(|error| damaged(&error))?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if batches.is_empty() || rows as u64 != meta.rows {
            return Err(damaged(&format!("{rows} rows instead of {}", meta.rows)));
        }
        Self::outline(meta.clone(), &batches).ok_or_else(|| damaged(&"columns are missing"))
    }

    fn outline(meta: SegmentMeta, batches: &[RecordBatch]) -> Option<Self> {
        let log2 = meta.batch_rows_log2;
        let times = |name: &str| {
            let chunks = batches.iter().map(|batch| {
                Some(
                    batch
                        .column_by_name(name)?
                        .as_primitive_opt::<TimestampMicrosecondType>()?
                        .values()
                        .clone(),
                )
            });
            Some(Chunks { chunks: chunks.collect::<Option<_>>()?, log2 })
        };
        let entity =
            |batch: &RecordBatch| batch.column_by_name(ENTITY)?.as_dictionary_opt::<Int32Type>().cloned();
        let codes = batches.iter().map(|batch| Some(entity(batch)?.keys().values().clone()));
        let sequences = batches.iter().map(|batch| {
            Some(batch.column_by_name(SEQUENCE)?.as_primitive_opt::<UInt64Type>()?.values().clone())
        });
        let mut columns = HashMap::new();
        for field in batches[0].schema().fields().iter().skip(4) {
            if field.name().ends_with(LEFT_OUT_SUFFIX) {
                continue;
            }
            let left_out = format!("{}{LEFT_OUT_SUFFIX}", field.name());
            let of_batches = batches.iter().map(|batch| {
                let left_out = match batch.column_by_name(&left_out) {
                    Some(left_out) => Some(left_out.as_boolean_opt()?.values().clone()),
                    None => None,
                };
                Some(Column { values: batch.column_by_name(field.name())?.clone(), left_out })
            });
            columns.insert(field.name().clone(), of_batches.collect::<Option<Vec<_>>>()?);
        }
        Some(Self {
            keys: entity(&batches[0])?.values().as_string_opt::<i32>()?.clone(),
            codes: Chunks { chunks: codes.collect::<Option<_>>()?, log2 },
            events: times(EVENT_TIMESTAMP)?,
            created: times(CREATED)?,
            sequences: Chunks { chunks: sequences.collect::<Option<_>>()?, log2 },
            columns,
            meta,
        })
    }

    pub fn rows(&self) -> usize {
        self.meta.rows as usize
    }

    /// A column's parts by record batch; `None` if every row leaves it out.
    pub fn column(&self, name: &str) -> Option<&[Column]> {
        self.columns.get(name).map(Vec::as_slice)
    }

    /// The record batch of a row, and its place in there.
    #[inline]
    pub fn place(&self, row: usize) -> (usize, usize) {
        (row >> self.meta.batch_rows_log2, row & ((1 << self.meta.batch_rows_log2) - 1))
    }

    /// A row's place in the total order.
    #[inline]
    pub fn order(&self, row: usize) -> (i64, i64, u64) {
        (self.events.get(row), self.created.get(row), self.sequences.get(row))
    }

    /// The rows of one entity; empty if it has none.
    pub fn rows_of(&self, key: &str) -> Range<usize> {
        Cursor::default().seek(self, key)
    }

    /// The rows of each key in turn, for merging.
    pub fn rows_of_code(&self, code: usize, from: usize) -> Range<usize> {
        let end = self.codes.gallop(from..self.rows(), |other| other as usize <= code);
        from..end
    }

    /// Packs a row, as far as `schema` knows its columns.
    pub fn pack(&self, row: usize, schema: &RowSchema, packer: &mut RowPacker, out: &mut Vec<u8>) {
        let (batch, at) = self.place(row);
        let columns = schema.columns.iter().map(|column| {
            let parts = self.columns.get(&column.name)?;
            Some((&parts[batch], column.dtype))
        });
        super::packing::pack_known(columns, at, packer, out);
    }

    pub fn stored_row(&self, row: usize, schema: &RowSchema) -> StoredRow {
        use crate::feature::Timestamp;
        let mut values = Vec::new();
        self.pack(row, schema, &mut RowPacker::default(), &mut values);
        StoredRow {
            event_timestamp: Timestamp::from_stored(self.events.get(row)),
            created: Timestamp::from_stored(self.created.get(row)),
            sequence: self.sequences.get(row),
            values: values.into(),
        }
    }
}

/// Finds the rows of ascending keys: each search begins where the last one ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    code: usize,
    row: usize,
}

impl Cursor {
    /// The rows of `key`, which must not be less than the last one sought.
    pub fn seek(&mut self, segment: &Segment, key: &str) -> Range<usize> {
        let keys = &segment.keys;
        let (len, key) = (keys.len(), key.as_bytes());
        let before = |code: usize| keys.value(code).as_bytes() < key;
        let mut step = 1;
        let mut low = self.code;
        if low < len && before(low) {
            while low + step < len && before(low + step) {
                low += step;
                step *= 2;
            }
            let mut high = len.min(low + step);
            low += 1;
            while low < high {
                let middle = low + (high - low) / 2;
                if before(middle) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
        }
        let skipped = low - self.code;
        self.code = low;
        if low == len || keys.value(low).as_bytes() != key {
            return 0..0;
        }
        let rest = self.row..segment.rows();
        let first = |code: i32| (code as usize) < low;
        let start = match skipped {
            0 => segment.codes.gallop(rest, first),
            _ if skipped < 64 => segment.codes.gallop(rest, first),
            _ => segment.codes.partition_point(rest, first),
        };
        let end = segment.codes.gallop(start..segment.rows(), |code| code as usize <= low);
        self.row = start;
        start..end
    }
}

fn decode(bytes: &Buffer) -> Result<Vec<RecordBatch>, ArrowError> {
    let cut = || ArrowError::IpcError("the file is cut short".into());
    let trailer = bytes.len().checked_sub(10).ok_or_else(cut)?;
    let footer_len = read_footer_length(bytes[trailer..].try_into().expect("ten bytes"))?;
    let footer_at = trailer.checked_sub(footer_len).ok_or_else(cut)?;
    let footer = root_as_footer(&bytes[footer_at..trailer])
        .map_err(|error| ArrowError::IpcError(error.to_string()))?;
    let schema = Arc::new(try_fb_to_schema(footer.schema().ok_or_else(cut)?)?);
    let decoder = FileDecoder::new(schema, footer.version());
    // SAFETY: the manifest names only files that this program wrote whole, validated and synced, and their length was
    // compared; validating again would read every page at each start.
    let mut decoder = unsafe { decoder.with_skip_validation(true) };
    let part = |block: &arrow::ipc::Block| -> Result<Buffer, ArrowError> {
        let (at, len) =
            (block.offset() as usize, block.bodyLength() as usize + block.metaDataLength() as usize);
        if at.checked_add(len).is_none_or(|end| end > bytes.len()) {
            return Err(cut());
        }
        Ok(bytes.slice_with_length(at, len))
    };
    for block in footer.dictionaries().iter().flatten() {
        decoder.read_dictionary(block, &part(block)?)?;
    }
    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        batches.extend(decoder.read_record_batch(block, &part(block)?)?);
    }
    Ok(batches)
}
