//! Which rows of a batch are there already.
//!
//! A row is *unchanged* if it equals the newest row at exactly its event timestamp, earlier rows of the same batch
//! included. Both sides are sorted, so a large batch is merged with the segments that its time range overlaps, and with
//! no others.

use super::{
    memtable::{Memtable, newest_at},
    packing::pack_known,
    prepare::PreparedBatch,
    segment::{Cursor, Segment},
    state::GroupState,
};
use crate::feature::{RowSchema, row::RowPacker};
use arrow::{
    array::{Array, BooleanBufferBuilder},
    buffer::BooleanBuffer,
};
use std::sync::Arc;

/// What stands before a batch: the published rows, and those of earlier commits of the same transaction.
pub struct Before<'a> {
    pub published: &'a GroupState,
    pub staged_rows: Option<&'a Memtable>,
    pub staged_segments: &'a [Arc<Segment>],
}

/// Bit set = unchanged, by row of the batch. None = every row is new.
pub fn unchanged(prepared: &PreparedBatch, before: &Before<'_>) -> Option<BooleanBuffer> {
    let batch = &prepared.batch;
    let events = &batch.event_timestamps;
    let mut stored = Stored::new(prepared, before);
    let mut packer = RowPacker::default();
    let (mut newest, mut row_bytes) = (Vec::new(), Vec::new());
    let mut answer: Option<BooleanBufferBuilder> = None;
    for (key, rows) in prepared.entities() {
        stored.seek(key);
        for same_time in rows.chunk_by(|a, b| events[*a as usize] == events[*b as usize]) {
            let mut known = stored.newest_at(events[same_time[0] as usize], &mut packer, &mut newest);
            if !known && same_time.len() == 1 {
                continue;
            }
            for row in same_time {
                row_bytes.clear();
                pack_batch_row(prepared, *row, &mut packer, &mut row_bytes);
                if known && newest == row_bytes {
                    answer
                        .get_or_insert_with(|| {
                            let mut bits = BooleanBufferBuilder::new(batch.keys.len());
                            bits.append_n(batch.keys.len(), false);
                            bits
                        })
                        .set_bit(*row as usize, true);
                } else {
                    std::mem::swap(&mut newest, &mut row_bytes);
                    known = true;
                }
            }
        }
    }
    answer.map(|mut bits| bits.finish())
}

/// Packs a row of a batch as the store keeps it.
pub fn pack_batch_row(prepared: &PreparedBatch, row: u32, packer: &mut RowPacker, out: &mut Vec<u8>) {
    let batch = &prepared.batch;
    let columns =
        batch.columns.iter().zip(&batch.group.columns).map(|(column, schema)| Some((column, schema.dtype)));
    pack_known(columns, row as usize, packer, out);
}

/// The rows of one key after another, wherever they lie.
struct Stored<'a> {
    schema: &'a RowSchema,
    memtables: Vec<&'a Memtable>,
    segments: Vec<(&'a Segment, Cursor, std::ops::Range<usize>)>,
    key: &'a str,
}

impl<'a> Stored<'a> {
    fn new(prepared: &'a PreparedBatch, before: &'a Before<'a>) -> Self {
        let (least, greatest) = prepared.events;
        let segments = before.published.segments.iter().chain(before.staged_segments);
        Self {
            schema: &before.published.schema,
            memtables: before
                .published
                .memtables()
                .map(|table| &**table)
                .chain(before.staged_rows)
                .filter(|table| !table.is_empty())
                .collect(),
            segments: segments
                .filter(|segment| segment.meta.events.0 <= greatest && segment.meta.events.1 >= least)
                .map(|segment| (&**segment, Cursor::default(), 0..0))
                .collect(),
            key: "",
        }
    }

    fn seek(&mut self, key: &'a str) {
        self.key = key;
        for (segment, cursor, rows) in &mut self.segments {
            *rows = cursor.seek(segment, key);
        }
    }

    /// Packs the newest row of the key at exactly `event` into `out`; false if there is none.
    fn newest_at(&self, event: i64, packer: &mut RowPacker, out: &mut Vec<u8>) -> bool {
        let mut newest = None;
        out.clear();
        for table in &self.memtables {
            let rows = table.read();
            let Some(row) = rows.get(self.key).and_then(|rows| newest_at(rows, event)) else { continue };
            if newest < Some(row.order()) {
                newest = Some(row.order());
                out.clear();
                out.extend_from_slice(&row.values);
            }
        }
        let mut newest =
            newest.map(|(event, created, sequence)| (event.micros(), created.micros(), sequence));
        let mut place = None;
        for (segment, _, rows) in &self.segments {
            let end = segment.events.partition_point(rows.clone(), |other| other <= event);
            if end == rows.start || segment.events.get(end - 1) != event {
                continue;
            }
            let order = segment.order(end - 1);
            if newest < Some(order) {
                newest = Some(order);
                place = Some((segment, end - 1));
            }
        }
        if let Some((segment, row)) = place {
            out.clear();
            segment.pack(row, self.schema, packer, out);
        }
        newest.is_some()
    }
}
