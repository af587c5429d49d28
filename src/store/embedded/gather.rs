//! Collects the cells of chosen rows into columns, in the order of the spine.
//!
//! Values of one width are copied in the order of the keys, in which they lie in the segments, and scattered over the
//! answer: reading far apart costs more than writing far apart. Everything else is interleaved by Arrow.

use super::{
    as_of::{NONE, Part, PartPicks, asked, in_parallel},
    segment::Segment,
};
use crate::{
    feature::{Column, ColumnBuilder, Dtype},
    store::{GroupRead, NO_ROW, Picks, Result, StoreError},
};
use arrow::{
    array::{Array, ArrayData, make_array, new_null_array},
    buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer},
    compute::interleave,
    datatypes::ArrowNativeType,
};
use std::sync::Arc;

/// What was chosen in one group.
pub struct Picked<'a> {
    /// Rows of the spine.
    pub rows: usize,
    pub parts: &'a [Part],
    pub picks: &'a [PartPicks],
    pub segments: &'a [Arc<Segment>],
    pub read: &'a GroupRead,
}

/// Where the cells of one column lie: by source, the parts of the column.
struct Sources<'a> {
    /// None = the segment does not have the column.
    segments: Vec<Option<&'a [Column]>>,
    /// The rows taken out of memtables, by part of the spine.
    memtables: Vec<Column>,
}

pub fn gather(picked: &Picked<'_>) -> Result<Picks> {
    let mut events = vec![NO_ROW; picked.rows];
    for_each_part(picked, &mut events, |part, picks, events| {
        for (row, event) in part.order.iter().zip(&picks.events) {
            events[*row as usize] = *event;
        }
    });
    let columns = asked(picked.read)
        .map(|(at, schema)| {
            let sources = Sources {
                segments: picked.segments.iter().map(|segment| segment.column(&schema.name)).collect(),
                memtables: picked.picks.iter().map(|picks| from_memtables(picks, at, schema.dtype)).collect(),
            };
            match schema.dtype.width() {
                Some(4) => copied::<u32>(picked, &sources, &events, schema.dtype),
                Some(8) => copied::<u64>(picked, &sources, &events, schema.dtype),
                Some(16) => copied::<i128>(picked, &sources, &events, schema.dtype),
                _ => interleaved(picked, &sources, &events, schema.dtype),
            }
        })
        .collect::<Result<_>>()?;
    Ok(Picks { event_timestamps: events.into(), columns })
}

fn from_memtables(picks: &PartPicks, column: usize, dtype: Dtype) -> Column {
    let mut builder = ColumnBuilder::new(dtype, picks.from_memtables.len());
    picks.from_memtables.iter().for_each(|row| builder.push_packed(row.packed(), column));
    builder.finish()
}

/// Runs `body` on each part of the spine and its share of `out`.
fn for_each_part<T: Send>(
    picked: &Picked<'_>,
    out: &mut [T],
    body: impl Fn(&Part, &PartPicks, &mut [T]) + Sync,
) {
    let mut rest = out;
    let mut shares = Vec::with_capacity(picked.parts.len());
    for (part, picks) in picked.parts.iter().zip(picked.picks) {
        let (share, after) = rest.split_at_mut(part.rows.len());
        rest = after;
        shares.push((part, picks, std::sync::Mutex::new(share)));
    }
    in_parallel(&shares, |(part, picks, share)| {
        let mut share = share.lock().expect("each share is taken once");
        body(part, picks, &mut share);
    });
}

/// The cells of a column whose values are as wide as `N`.
fn copied<N: ArrowNativeType + Send>(
    picked: &Picked<'_>,
    sources: &Sources<'_>,
    events: &[i64],
    dtype: Dtype,
) -> Result<Column> {
    let mut values = vec![N::default(); picked.rows];
    let log2: Vec<u8> = picked.segments.iter().map(|segment| segment.meta.batch_rows_log2).collect();
    let batches: Vec<Vec<ScalarBuffer<N>>> = sources
        .segments
        .iter()
        .map(|parts| parts.iter().copied().flatten().map(|part| values_of(&part.values)).collect())
        .collect();
    for_each_part(picked, &mut values, |part, picks, values| {
        let number =
            picked.parts.iter().position(|other| std::ptr::eq(other, part)).expect("a part of the spine");
        let memtable = values_of::<N>(&sources.memtables[number].values);
        for (row, pick) in part.order.iter().zip(&picks.picks) {
            let (source, at) = (pick.source as usize, pick.row as usize);
            let value = match batches.get(source) {
                Some(batches) => {
                    let log2 = log2[source];
                    batches.get(at >> log2).map(|batch| batch[at & ((1 << log2) - 1)])
                }
                None if pick.source == NONE => None,
                None => Some(memtable[at]),
            };
            if let Some(value) = value {
                values[*row as usize] = value;
            }
        }
    });
    let (nulls, left_out) = states(picked, sources, events);
    let data = ArrayData::builder(dtype.arrow()).len(picked.rows).nulls(nulls);
    let data = data.add_buffer(Buffer::from_vec(values)).build().map_err(StoreError::defect)?;
    Ok(Column { values: make_array(data), left_out })
}

/// The values of a column, whatever they mean.
fn values_of<N: ArrowNativeType>(column: &dyn Array) -> ScalarBuffer<N> {
    let data = column.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// The bitmaps of nulls and left-out cells.
fn states(
    picked: &Picked<'_>,
    sources: &Sources<'_>,
    events: &[i64],
) -> (Option<NullBuffer>, Option<BooleanBuffer>) {
    let plain = |column: &Column| column.values.null_count() == 0 && column.left_out.is_none();
    let all_found = !events.contains(&NO_ROW);
    let all_plain = sources.memtables.iter().all(plain)
        && sources.segments.iter().all(|parts| parts.is_some_and(|parts| parts.iter().all(plain)));
    if all_found && all_plain {
        return (None, None);
    }
    let bytes = picked.rows.div_ceil(8);
    let (mut valid, mut given) = (vec![0u8; bytes], vec![0u8; bytes]);
    for (number, (part, picks)) in picked.parts.iter().zip(picked.picks).enumerate() {
        for (row, pick) in part.order.iter().zip(&picks.picks) {
            if pick.source == NONE {
                continue;
            }
            let at = part.rows.start + *row as usize;
            let (is_valid, is_given) = match sources.locate(picked, number, pick.source, pick.row) {
                None => (false, false),
                Some((column, row)) => (
                    column.values.is_valid(row),
                    column.left_out.as_ref().is_none_or(|left_out| !left_out.value(row)),
                ),
            };
            valid[at / 8] |= u8::from(is_valid) << (at % 8);
            given[at / 8] |= u8::from(is_given) << (at % 8);
        }
    }
    let bits = |bytes: Vec<u8>| BooleanBuffer::new(Buffer::from_vec(bytes), 0, picked.rows);
    let nulls = NullBuffer::new(bits(valid));
    let left_out = !&bits(given);
    ((nulls.null_count() > 0).then_some(nulls), (left_out.count_set_bits() > 0).then_some(left_out))
}

impl Sources<'_> {
    /// The column part and the place in it of a chosen cell.
    fn locate(&self, picked: &Picked<'_>, part: usize, source: u32, row: u32) -> Option<(&Column, usize)> {
        match picked.segments.get(source as usize) {
            Some(segment) => {
                let (batch, at) = segment.place(row as usize);
                self.segments[source as usize].map(|parts| (&parts[batch], at))
            }
            None => Some((&self.memtables[part], row as usize)),
        }
    }
}

fn interleaved(picked: &Picked<'_>, sources: &Sources<'_>, events: &[i64], dtype: Dtype) -> Result<Column> {
    // One array for nothing, then those of the memtables, then each segment's.
    let nothing = new_null_array(&dtype.arrow(), 1);
    let mut arrays: Vec<&dyn Array> = vec![&nothing];
    arrays.extend(sources.memtables.iter().map(|column| column.values.as_ref()));
    let first: Vec<Option<usize>> = sources
        .segments
        .iter()
        .map(|parts| {
            let parts = (*parts)?;
            arrays.extend(parts.iter().map(|column| column.values.as_ref()));
            Some(arrays.len() - parts.len())
        })
        .collect();
    let mut indices = vec![(0, 0); picked.rows];
    for (number, (part, picks)) in picked.parts.iter().zip(picked.picks).enumerate() {
        for (row, pick) in part.order.iter().zip(&picks.picks) {
            let index = match picked.segments.get(pick.source as usize) {
                Some(segment) => {
                    let (batch, at) = segment.place(pick.row as usize);
                    first[pick.source as usize].map(|first| (first + batch, at))
                }
                None if pick.source == NONE => None,
                None => Some((1 + number, pick.row as usize)),
            };
            indices[part.rows.start + *row as usize] = index.unwrap_or((0, 0));
        }
    }
    let values = interleave(&arrays, &indices).map_err(StoreError::defect)?;
    let (_, left_out) = states(picked, sources, events);
    Ok(Column { values, left_out })
}
