//! The arrays of `larder.v1.Row`: which dtype goes into which, and how an array is written, filled and read.

#![deny(clippy::wildcard_enum_match_arm)]

use super::list;
use crate::{
    feature::{Decimal, Dtype, Element, List, PackedRow, Timestamp, Value, ValueRef, row::PackedList},
    wire::{
        proto,
        value::{list_from, list_to},
    },
};
use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use std::borrow::Cow;

/// Bytes of a decimal.
const DECIMAL_BYTES: usize = 16;

/// The arrays, by their field numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Array {
    Float64s = 3,
    Int64s = 4,
    Strings = 5,
    Bools = 6,
    Float32s = 7,
    Bytes = 8,
    Timestamps = 9,
    Lists = 10,
    Jsons = 11,
    Decimals = 12,
}

impl Array {
    pub const ALL: [Array; 10] = [
        Array::Float64s,
        Array::Int64s,
        Array::Strings,
        Array::Bools,
        Array::Float32s,
        Array::Bytes,
        Array::Timestamps,
        Array::Lists,
        Array::Jsons,
        Array::Decimals,
    ];

    pub fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::Float64 => Self::Float64s,
            Dtype::Int64 => Self::Int64s,
            Dtype::String => Self::Strings,
            Dtype::Bool => Self::Bools,
            Dtype::Float32 => Self::Float32s,
            Dtype::Bytes => Self::Bytes,
            Dtype::Timestamp => Self::Timestamps,
            Dtype::List(_) => Self::Lists,
            Dtype::Json => Self::Jsons,
            Dtype::Decimal(_) => Self::Decimals,
        }
    }

    pub fn field(self) -> u32 {
        self as u32
    }

    /// Bytes of one element where all are of one width; these arrays are packed.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Decimals => Some(DECIMAL_BYTES),
            Self::Float64s | Self::Timestamps => Some(8),
            Self::Float32s => Some(4),
            Self::Bools => Some(1),
            Self::Int64s | Self::Strings | Self::Bytes | Self::Lists | Self::Jsons => None,
        }
    }

    /// Whether its elements are the eight bytes of a stored row's slots, so that neighbours can be copied whole.
    pub fn is_slots(self) -> bool {
        match self {
            Self::Float64s | Self::Timestamps => true,
            Self::Float32s
            | Self::Bools
            | Self::Int64s
            | Self::Strings
            | Self::Bytes
            | Self::Lists
            | Self::Jsons
            | Self::Decimals => false,
        }
    }

    /// Bytes of the array, keys and lengths included, where they depend on its values.
    pub fn len<'a>(self, values: impl Iterator<Item = Slot<'a>>) -> usize {
        match self {
            Self::Int64s => packed_len(self.field(), varints_len(values)),
            Self::Lists => values.map(|value| packed_len(self.field(), value.list_len())).sum(),
            Self::Strings | Self::Bytes | Self::Jsons => {
                values.map(|value| packed_len(self.field(), value.heap().len())).sum()
            }
            Self::Float64s | Self::Timestamps | Self::Float32s | Self::Bools | Self::Decimals => 0,
        }
    }

    /// Writes the values; key and length too where [`width`](Self::width) knows none.
    #[inline]
    pub fn encode<'a>(self, values: impl Iterator<Item = Slot<'a>> + Clone, buf: &mut impl BufMut) {
        match self {
            Self::Float64s => {
                values.for_each(|value| buf.put_u64_le(value.bits().unwrap_or(f64::NAN.to_bits())));
            }
            Self::Timestamps => {
                values.for_each(|value| buf.put_u64_le(value.bits().unwrap_or_default()));
            }
            Self::Float32s => values.for_each(|value| {
                buf.put_u32_le(value.bits().map_or(f32::NAN.to_bits(), |bits| bits as u32));
            }),
            Self::Bools => values.for_each(|value| buf.put_u8(value.bits().unwrap_or_default() as u8)),
            Self::Int64s => {
                encode_head(self.field(), varints_len(values.clone()), buf);
                values.for_each(|value| encode_varint(value.bits().unwrap_or_default(), buf));
            }
            Self::Strings | Self::Bytes | Self::Jsons => {
                values.for_each(|value| encode_bytes(self.field(), value.heap(), buf));
            }
            Self::Lists => values.for_each(|value| {
                encode_head(self.field(), value.list_len(), buf);
                if let Some(list) = value.list() {
                    list::encode(list, buf);
                }
            }),
            Self::Decimals => values.for_each(|value| {
                buf.put_slice(value.heap().first_chunk::<DECIMAL_BYTES>().unwrap_or(&[0; DECIMAL_BYTES]));
            }),
        }
    }
}

/// A cell of an answer, in place.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    /// A packed row and the column in it; None = the cell is empty.
    pub source: Option<(PackedRow<'a>, usize)>,
    /// What a list holds.
    pub element: Option<Element>,
}

impl<'a> Slot<'a> {
    /// A scalar's bits.
    #[inline]
    pub fn bits(self) -> Option<u64> {
        self.source.map(|(row, column)| u64::from_le_bytes(row.slot(column)))
    }

    fn heap(self) -> &'a [u8] {
        self.source.map_or(&[], |(row, column)| row.heap(column))
    }

    fn list(self) -> Option<PackedList<'a>> {
        let (row, column) = self.source?;
        Some(row.list(column, self.element?))
    }

    fn list_len(self) -> usize {
        self.list().map_or(0, list::len)
    }
}

fn varints_len<'a>(values: impl Iterator<Item = Slot<'a>>) -> usize {
    values.map(|value| encoded_len_varint(value.bits().unwrap_or_default())).sum()
}

/// Adds a cell to the array of its dtype; `None` is an empty one.
pub fn push(row: &mut proto::Row, dtype: Dtype, value: Option<ValueRef<'_>>) {
    match value.unwrap_or_else(|| empty(dtype)) {
        ValueRef::Bool(v) => row.bools.push(v),
        ValueRef::Int64(v) => row.int64s.push(v),
        ValueRef::Float64(v) => row.float64s.push(v),
        ValueRef::Float32(v) => row.float32s.push(v),
        ValueRef::String(v) => row.strings.push(v.to_owned()),
        ValueRef::Bytes(v) => row.bytes_values.push(v.to_owned()),
        ValueRef::Timestamp(v) => row.timestamps_us.push(v.micros()),
        ValueRef::Json(v) => row.jsons.push(v.to_owned()),
        ValueRef::List(v) => row.lists.push(list_to(&v)),
        ValueRef::Decimal(v) => row.decimals.extend(v.unscaled().to_le_bytes()),
    }
}

fn empty(dtype: Dtype) -> ValueRef<'static> {
    match dtype {
        Dtype::Bool => ValueRef::Bool(false),
        Dtype::Int64 => ValueRef::Int64(0),
        Dtype::Float64 => ValueRef::Float64(f64::NAN),
        Dtype::Float32 => ValueRef::Float32(f32::NAN),
        Dtype::String => ValueRef::String(""),
        Dtype::Bytes => ValueRef::Bytes(&[]),
        Dtype::Timestamp => ValueRef::Timestamp(Timestamp::from_stored(0)),
        Dtype::Json => ValueRef::Json(""),
        Dtype::List(_) => ValueRef::List(Cow::Owned(List::Bool(Vec::new()))),
        Dtype::Decimal(of) => ValueRef::Decimal(Decimal::from_stored(0, of)),
    }
}

/// The value of a cell that holds one; `None` = the row is not what its schema says.
pub fn get(row: &proto::Row, dtype: Dtype, slot: usize) -> Option<Value> {
    Some(match dtype {
        Dtype::Bool => Value::Bool(*row.bools.get(slot)?),
        Dtype::Int64 => Value::Int64(*row.int64s.get(slot)?),
        Dtype::Float64 => Value::Float64(*row.float64s.get(slot)?),
        Dtype::Float32 => Value::Float32(*row.float32s.get(slot)?),
        Dtype::String => Value::String(row.strings.get(slot)?.clone()),
        Dtype::Bytes => Value::Bytes(row.bytes_values.get(slot)?.clone()),
        Dtype::Timestamp => Value::Timestamp(Timestamp::from_stored(*row.timestamps_us.get(slot)?)),
        Dtype::Json => Value::Json(row.jsons.get(slot)?.clone()),
        Dtype::List(element) => Value::List(list_from(row.lists.get(slot)?.clone(), element).ok()?),
        Dtype::Decimal(of) => {
            let (bytes, _) = row.decimals.get(DECIMAL_BYTES * slot..)?.split_first_chunk()?;
            Value::Decimal(Decimal::new(i128::from_le_bytes(*bytes), of)?)
        }
    })
}

/// Bytes of a packed or length-delimited field.
pub(super) fn packed_len(field: u32, content: usize) -> usize {
    key_len(field) + encoded_len_varint(content as u64) + content
}

/// The key and length of a length-delimited field.
pub(super) fn encode_head(field: u32, len: usize, buf: &mut impl BufMut) {
    encode_key(field, WireType::LengthDelimited, buf);
    encode_varint(len as u64, buf);
}

pub(super) fn encode_bytes(field: u32, bytes: &[u8], buf: &mut impl BufMut) {
    encode_head(field, bytes.len(), buf);
    buf.put_slice(bytes);
}
