//! Writing segments: from a sorted bulk batch, from a memtable, or (see `compact`) from other segments.

use super::{
    medium::{Medium, SegmentFile},
    memtable::{Memtable, RecentRow},
    prepare::PreparedBatch,
    segment::{CREATED, ENTITY, EVENT_TIMESTAMP, LEFT_OUT_SUFFIX, SEQUENCE, Segment, SegmentMeta},
    storage_error,
};
use crate::{
    feature::{Column, ColumnBuilder, RowSchema, row::CellState},
    store::{Result, StoredRow},
};
use arrow::{
    array::{
        ArrayRef, BooleanArray, DictionaryArray, Int32Array, RecordBatch, StringArray,
        TimestampMicrosecondArray, UInt32Array, UInt64Array,
    },
    buffer::{BooleanBuffer, ScalarBuffer},
    compute::take,
    datatypes::{DataType, Field, Schema, TimeUnit},
    ipc::writer::FileWriter,
};
use std::{collections::HashMap, sync::Arc};

/// Rows in a record batch: large enough to scan, small enough to write with little memory.
pub const BATCH_ROWS_LOG2: u8 = 16;

/// Which of a group's columns a segment holds.
#[derive(Clone, Debug)]
pub struct Layout {
    pub group: Arc<RowSchema>,
    /// For each of the group's columns: None = no row gives it; else whether some row leaves it out.
    pub columns: Vec<Option<bool>>,
}

/// Some rows in order: `batch_rows` of them, but for the last.
pub struct Rows {
    /// Positions in the segment's dictionary.
    pub codes: Vec<i32>,
    pub events: ScalarBuffer<i64>,
    pub created: ScalarBuffer<i64>,
    pub sequences: ScalarBuffer<u64>,
    /// Those of the layout's columns that the segment holds.
    pub columns: Vec<Column>,
}

/// A segment that is being written. Its rows come in order.
pub struct SegmentWriter<'a> {
    medium: &'a Medium,
    writer: FileWriter<SegmentFile>,
    schema: Arc<Schema>,
    layout: Layout,
    keys: Arc<StringArray>,
    meta: SegmentMeta,
}

impl Layout {
    fn schema(&self) -> Schema {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let entity = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let mut fields = vec![
            Field::new(ENTITY, entity, false),
            Field::new(EVENT_TIMESTAMP, time.clone(), false),
            Field::new(CREATED, time, false),
            Field::new(SEQUENCE, DataType::UInt64, false),
        ];
        for (column, held) in self.group.columns.iter().zip(&self.columns) {
            let Some(left_out) = held else { continue };
            fields.push(Field::new(&column.name, column.dtype.arrow(), true));
            if *left_out {
                fields.push(Field::new(
                    format!("{}{LEFT_OUT_SUFFIX}", column.name),
                    DataType::Boolean,
                    false,
                ));
            }
        }
        let metadata = HashMap::from([("larder.group".to_string(), self.group.id.to_string())]);
        Schema::new(fields).with_metadata(metadata)
    }
}

impl<'a> SegmentWriter<'a> {
    pub fn create(
        medium: &'a Medium,
        id: u64,
        layout: Layout,
        keys: Arc<StringArray>,
        batch_rows_log2: u8,
    ) -> Result<Self> {
        let schema = Arc::new(layout.schema());
        let writer = FileWriter::try_new(medium.create(id)?, &schema)
            .map_err(|error| storage_error("write", "a segment", error))?;
        let meta = SegmentMeta {
            id,
            group: layout.group.id,
            rows: 0,
            bytes: 0,
            batch_rows_log2,
            events: (i64::MAX, i64::MIN),
            created: (i64::MAX, i64::MIN),
            reduced_to: None,
        };
        Ok(Self { medium, writer, schema, layout, keys, meta })
    }

    pub fn write(&mut self, rows: Rows) -> Result<()> {
        let widen = |range: &mut (i64, i64), times: &[i64]| {
            for time in times {
                *range = (range.0.min(*time), range.1.max(*time));
            }
        };
        widen(&mut self.meta.events, &rows.events);
        widen(&mut self.meta.created, &rows.created);
        self.meta.rows += rows.codes.len() as u64;
        let times = |times| TimestampMicrosecondArray::new(times, None).with_timezone("UTC");
        let keys: ArrayRef = self.keys.clone();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(
                DictionaryArray::try_new(Int32Array::from(rows.codes), keys)
                    .map_err(|error| storage_error("write", "a segment", error))?,
            ),
            Arc::new(times(rows.events)),
            Arc::new(times(rows.created)),
            Arc::new(UInt64Array::new(rows.sequences, None)),
        ];
        for (column, left_out) in rows.columns.into_iter().zip(self.layout.columns.iter().flatten()) {
            let len = column.values.len();
            columns.push(column.values);
            if *left_out {
                let bits = column.left_out.unwrap_or_else(|| BooleanBuffer::new_unset(len));
                columns.push(Arc::new(BooleanArray::new(bits, None)));
            }
        }
        RecordBatch::try_new(self.schema.clone(), columns)
            .and_then(|batch| self.writer.write(&batch))
            .map_err(|error| storage_error("write", "a segment", error))
    }

    /// Notes how far retention went.
    pub fn reduced_to(&mut self, bound: Option<i64>) {
        self.meta.reduced_to = bound;
    }

    /// Makes the file durable (its name in the directory not yet) and opens it.
    pub fn finish(mut self) -> Result<Arc<Segment>> {
        let id = self.meta.id;
        let finished =
            self.writer.finish().and_then(|()| self.writer.into_inner()).map_err(|error| error.to_string());
        let bytes = finished
            .and_then(|file| file.finish().map_err(|error| error.to_string()))
            .map_err(|error| storage_error("write", format_args!("segment {id:012}.arrow"), error))
            .inspect_err(|_| self.medium.remove(id))?;
        self.meta.bytes = bytes.len() as u64;
        Segment::open(self.meta, bytes).map(Arc::new)
    }
}

/// Writes a sorted batch, but for the rows that are `unchanged`; `created` is that of the commit.
pub fn write_batch(
    medium: &Medium,
    id: u64,
    prepared: &PreparedBatch,
    unchanged: Option<&BooleanBuffer>,
    created: i64,
) -> Result<Arc<Segment>> {
    let batch = &prepared.batch;
    let is_new = |row: u32| unchanged.is_none_or(|unchanged| !unchanged.value(row as usize));
    let mut order: Vec<u32> = Vec::with_capacity(prepared.order.len());
    let mut codes: Vec<i32> = Vec::with_capacity(prepared.order.len());
    let mut witnesses = Vec::with_capacity(prepared.starts.len());
    for (_, rows) in prepared.entities() {
        let before = order.len();
        order.extend(rows.iter().copied().filter(|row| is_new(*row)));
        if order.len() > before {
            codes.resize(order.len(), witnesses.len() as i32);
            witnesses.push(order[before]);
        }
    }
    let keys = StringArray::from_iter_values(witnesses.iter().map(|row| batch.keys.value(*row as usize)));
    let columns = batch.columns.iter().map(|column| match &column.left_out {
        Some(left_out) if left_out.count_set_bits() == left_out.len() => None,
        left_out => Some(left_out.is_some()),
    });
    let layout = Layout { group: batch.group.clone(), columns: columns.collect() };
    let held: Vec<&Column> =
        batch.columns.iter().zip(&layout.columns).filter_map(|(c, held)| held.map(|_| c)).collect();
    let mut writer = SegmentWriter::create(medium, id, layout.clone(), Arc::new(keys), BATCH_ROWS_LOG2)?;
    let chunk = 1 << BATCH_ROWS_LOG2;
    for (order, codes) in order.chunks(chunk).zip(codes.chunks(chunk)) {
        let indices = UInt32Array::from(order.to_vec());
        let mut columns = Vec::with_capacity(held.len());
        for column in &held {
            let values = take(&column.values, &indices, None)
                .map_err(|error| storage_error("write", "a segment", error))?;
            let left_out = column
                .left_out
                .as_ref()
                .map(|bits| order.iter().map(|row| bits.value(*row as usize)).collect::<BooleanBuffer>());
            columns.push(Column { values, left_out });
        }
        writer.write(Rows {
            codes: codes.to_vec(),
            events: order.iter().map(|row| batch.event_timestamps[*row as usize]).collect(),
            created: prepared.created_of(order, created),
            sequences: prepared.sequences_of(order),
            columns,
        })?;
    }
    writer.finish()
}

/// Writes all rows of memtables that nobody adds to any more. At least one row.
pub fn write_memtable(
    medium: &Medium,
    id: u64,
    group: &Arc<RowSchema>,
    memtable: &Memtable,
) -> Result<Arc<Segment>> {
    let all = memtable.read();
    let mut entities: Vec<(&str, &[RecentRow])> =
        all.iter().map(|(key, rows)| (&**key, rows.as_slice())).collect();
    entities.sort_unstable_by_key(|(key, _)| *key);
    let keys = StringArray::from_iter_values(entities.iter().map(|(key, _)| *key));
    let rows: Vec<(i32, &StoredRow)> = entities
        .iter()
        .enumerate()
        .flat_map(|(code, (_, rows))| rows.iter().map(move |recent| (code as i32, &*recent.row)))
        .collect();
    let left_out = |column: usize| {
        rows.iter().filter(|(_, row)| row.packed().state(column) == CellState::LeftOut).count()
    };
    let columns = (0..group.columns.len()).map(|column| match left_out(column) {
        count if count == rows.len() => None,
        count => Some(count > 0),
    });
    let layout = Layout { group: group.clone(), columns: columns.collect() };
    let mut writer = SegmentWriter::create(medium, id, layout.clone(), Arc::new(keys), BATCH_ROWS_LOG2)?;
    for rows in rows.chunks(1 << BATCH_ROWS_LOG2) {
        let held = group.columns.iter().enumerate().zip(&layout.columns).filter(|(_, held)| held.is_some());
        let columns = held.map(|((at, column), _)| {
            let mut builder = ColumnBuilder::new(column.dtype, rows.len());
            rows.iter().for_each(|(_, row)| builder.push_packed(row.packed(), at));
            builder.finish()
        });
        writer.write(Rows {
            columns: columns.collect(),
            codes: rows.iter().map(|(code, _)| *code).collect(),
            events: rows.iter().map(|(_, row)| row.event_timestamp.micros()).collect(),
            created: rows.iter().map(|(_, row)| row.created.micros()).collect(),
            sequences: rows.iter().map(|(_, row)| row.sequence).collect(),
        })?;
    }
    writer.finish()
}
