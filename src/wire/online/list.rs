//! `larder.v1.List`, written from the packed list of a stored row: elements of one width are copied whole.

#![deny(clippy::wildcard_enum_match_arm)]

use super::array::{encode_bytes, encode_head, packed_len};
use crate::feature::{Element, row::PackedList};
use bytes::BufMut;
use prost::encoding::{encode_varint, encoded_len_varint};

const STRINGS: u32 = 5;
const BYTES: u32 = 6;
const NULL_POSITIONS: u32 = 15;

/// Bytes of the message, its own key and length not included.
pub(super) fn len(list: PackedList<'_>) -> usize {
    let elements = match list.element {
        _ if list.count == 0 => 0,
        Element::Bool => packed_len(1, list.items.len()),
        Element::Int64 => packed_len(2, int64s_len(list)),
        Element::Float64 => packed_len(3, list.items.len()),
        Element::Float32 => packed_len(4, list.items.len()),
        Element::String => list.sized_items().map(|item| packed_len(STRINGS, item.len())).sum(),
        Element::Bytes => list.sized_items().map(|item| packed_len(BYTES, item.len())).sum(),
        Element::Timestamp => packed_len(7, list.items.len()),
    };
    match nulls_len(list) {
        0 => elements,
        nulls => elements + packed_len(NULL_POSITIONS, nulls),
    }
}

pub(super) fn encode(list: PackedList<'_>, buf: &mut impl BufMut) {
    match list.element {
        _ if list.count == 0 => {}
        Element::Bool => encode_bytes(1, list.items, buf),
        Element::Int64 => {
            encode_head(2, int64s_len(list), buf);
            int64s(list).for_each(|value| encode_varint(value as u64, buf));
        }
        Element::Float64 => encode_bytes(3, list.items, buf),
        Element::Float32 => encode_bytes(4, list.items, buf),
        Element::String => list.sized_items().for_each(|item| encode_bytes(STRINGS, item, buf)),
        Element::Bytes => list.sized_items().for_each(|item| encode_bytes(BYTES, item, buf)),
        Element::Timestamp => encode_bytes(7, list.items, buf),
    }
    let nulls = nulls_len(list);
    if nulls > 0 {
        encode_head(NULL_POSITIONS, nulls, buf);
        list.null_positions().for_each(|position| encode_varint(position as u64, buf));
    }
}

fn int64s(list: PackedList<'_>) -> impl Iterator<Item = i64> {
    list.items.as_chunks().0.iter().map(|item| i64::from_le_bytes(*item))
}

fn int64s_len(list: PackedList<'_>) -> usize {
    int64s(list).map(|value| encoded_len_varint(value as u64)).sum()
}

fn nulls_len(list: PackedList<'_>) -> usize {
    list.null_positions().map(|position| encoded_len_varint(position as u64)).sum()
}
