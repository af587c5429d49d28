//! One row of a group, packed: what caches and logs hold, read in place.
//!
//! ```text
//! [format = 1][flags][columns: u16][states: a byte each, only with flag 1][slots: 8 bytes each][heap]
//! ```
//!
//! All integers are little-endian. A scalar lies in its slot; text, bytes, lists and decimals lie in the heap, and their slot
//! holds offset (u32, from the row's start) and length (u32). A list is its element count (u32), a null bitmap (bit set
//! = null), then the elements: fixed width, or length (u32) and bytes. Equal rows have equal bytes. A row written
//! before a column was added has fewer columns: the missing ones are left out.

#![deny(clippy::wildcard_enum_match_arm)]

use super::{Cell, Decimal, Dtype, Element, List, Timestamp, ValueRef};
use std::borrow::Cow;

const FORMAT: u8 = 1;
const HAS_STATES: u8 = 1;
const HEADER: usize = 4;

/// What a row says about a column. The numbers are those of the answer's statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CellState {
    Value = 1,
    Null = 2,
    LeftOut = 3,
}

/// A packed row, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedRow<'a> {
    bytes: &'a [u8],
    columns: usize,
    /// Where the slots begin.
    slots: usize,
}

impl<'a> PackedRow<'a> {
    /// Reads bytes that [`RowPacker`] wrote; `None` if they are not such.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let &[FORMAT, flags, c0, c1, ..] = bytes else { return None };
        let columns = usize::from(u16::from_le_bytes([c0, c1]));
        let slots = HEADER + if flags & HAS_STATES != 0 { columns } else { 0 };
        (bytes.len() >= slots + 8 * columns).then_some(Self { bytes, columns, slots })
    }

    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Columns that the row knows; later ones are left out.
    pub fn columns(self) -> usize {
        self.columns
    }

    /// Every column that the row knows holds a value.
    pub fn is_full(self) -> bool {
        self.slots == HEADER
    }

    pub fn state(self, column: usize) -> CellState {
        if column >= self.columns {
            return CellState::LeftOut;
        }
        if self.is_full() {
            return CellState::Value;
        }
        match self.bytes[HEADER + column] {
            1 => CellState::Value,
            2 => CellState::Null,
            _ => CellState::LeftOut,
        }
    }

    /// The eight bytes of a column's slot; zero where there is no value. The column must be known to the row.
    pub fn slot(self, column: usize) -> [u8; 8] {
        let at = self.slots + 8 * column;
        self.bytes[at..at + 8].try_into().expect("eight bytes")
    }

    /// All slots, for reading many at once.
    pub fn slots(self) -> &'a [u8] {
        &self.bytes[self.slots..self.slots + 8 * self.columns]
    }

    /// The heap bytes of a text, bytes, list or decimal column.
    pub fn heap(self, column: usize) -> &'a [u8] {
        let slot = self.slot(column);
        let offset = u32::from_le_bytes(slot[..4].try_into().expect("four bytes")) as usize;
        let len = u32::from_le_bytes(slot[4..].try_into().expect("four bytes")) as usize;
        self.bytes.get(offset..offset + len).unwrap_or_default()
    }

    /// The heap bytes of a text column. Text was checked on its way in.
    pub fn text(self, column: usize) -> &'a str {
        std::str::from_utf8(self.heap(column)).unwrap_or_default()
    }

    /// The list of a list column, in place.
    pub fn list(self, column: usize, element: Element) -> PackedList<'a> {
        PackedList::new(self.heap(column), element)
    }

    pub fn cell(self, column: usize, dtype: Dtype) -> Cell {
        match self.state(column) {
            CellState::LeftOut => Cell::LeftOut,
            CellState::Null => Cell::Null,
            CellState::Value => Cell::Value(self.value(column, dtype).into_owned()),
        }
    }

    /// The value of a cell that holds one.
    #[inline]
    pub fn value(self, column: usize, dtype: Dtype) -> ValueRef<'a> {
        let slot = self.slot(column);
        match dtype {
            Dtype::Bool => ValueRef::Bool(slot[0] != 0),
            Dtype::Int64 => ValueRef::Int64(i64::from_le_bytes(slot)),
            Dtype::Float64 => ValueRef::Float64(f64::from_le_bytes(slot)),
            Dtype::Float32 => ValueRef::Float32(f32::from_le_bytes([slot[0], slot[1], slot[2], slot[3]])),
            Dtype::Timestamp => ValueRef::Timestamp(Timestamp::from_stored(i64::from_le_bytes(slot))),
            Dtype::String => ValueRef::String(self.text(column)),
            Dtype::Json => ValueRef::Json(self.text(column)),
            Dtype::Bytes => ValueRef::Bytes(self.heap(column)),
            Dtype::List(element) => ValueRef::List(Cow::Owned(unpack_list(self.heap(column), element))),
            Dtype::Decimal(of) => {
                let bytes = self.heap(column).first_chunk().copied().unwrap_or_default();
                ValueRef::Decimal(Decimal::from_stored(i128::from_le_bytes(bytes), of))
            }
        }
    }
}

/// A packed list, borrowed. Null elements have placeholders: 0, empty or false.
#[derive(Clone, Copy, Debug)]
pub struct PackedList<'a> {
    pub element: Element,
    /// Elements, nulls included.
    pub count: usize,
    nulls: &'a [u8],
    /// One after the other: fixed width, or length (u32) and bytes.
    pub items: &'a [u8],
}

impl<'a> PackedList<'a> {
    fn new(bytes: &'a [u8], element: Element) -> Self {
        let (count, rest) = bytes
            .split_first_chunk::<4>()
            .map_or((0, bytes), |(count, rest)| (u32::from_le_bytes(*count) as usize, rest));
        let (nulls, items) = rest.split_at(count.div_ceil(8).min(rest.len()));
        Self { element, count, nulls, items }
    }

    /// Positions of null elements, ascending.
    pub fn null_positions(self) -> impl Iterator<Item = usize> {
        self.nulls.iter().enumerate().filter(|(_, byte)| **byte != 0).flat_map(|(at, byte)| {
            (0..8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| 8 * at + bit)
        })
    }

    /// The elements of a list of strings or bytes.
    pub fn sized_items(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.items;
        std::iter::from_fn(move || {
            let (len, after) = rest.split_first_chunk::<4>()?;
            let (item, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = after;
            Some(item)
        })
    }
}

/// Packs one row, column by column.
#[derive(Debug, Default)]
pub struct RowPacker {
    states: Vec<u8>,
    slots: Vec<u8>,
    heap: Vec<u8>,
    /// (column, offset in heap, length), patched once the heap's place is known.
    heap_refs: Vec<(usize, usize, usize)>,
}

impl RowPacker {
    pub fn push(&mut self, cell: &Cell) {
        match cell {
            Cell::LeftOut => self.push_left_out(),
            Cell::Null => self.push_null(),
            Cell::Value(value) => self.push_value(value.into()),
        }
    }

    #[inline]
    pub fn push_value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Bool(v) => self.push_slot(u64::from(v)),
            ValueRef::Int64(v) => self.push_slot(v as u64),
            ValueRef::Float64(v) => self.push_slot(v.to_bits()),
            ValueRef::Float32(v) => self.push_slot(u64::from(v.to_bits())),
            ValueRef::Timestamp(v) => self.push_slot(v.micros() as u64),
            ValueRef::String(text) | ValueRef::Json(text) => self.push_heap(text.as_bytes()),
            ValueRef::Bytes(bytes) => self.push_heap(bytes),
            ValueRef::List(list) => {
                let start = self.heap.len();
                pack_list(&list, &mut self.heap);
                self.push_heap_from(start);
            }
            ValueRef::Decimal(v) => self.push_heap(&v.unscaled().to_le_bytes()),
        }
    }

    pub fn push_left_out(&mut self) {
        self.push_empty(CellState::LeftOut);
    }

    pub fn push_null(&mut self) {
        self.push_empty(CellState::Null);
    }

    fn push_empty(&mut self, state: CellState) {
        self.states.push(state as u8);
        self.slots.extend_from_slice(&[0; 8]);
    }

    /// A scalar by its bits, widened with zeros.
    fn push_slot(&mut self, bits: u64) {
        self.states.push(CellState::Value as u8);
        self.slots.extend_from_slice(&bits.to_le_bytes());
    }

    /// Text, bytes, or the sixteen bytes of a decimal.
    fn push_heap(&mut self, bytes: &[u8]) {
        let start = self.heap.len();
        self.heap.extend_from_slice(bytes);
        self.push_heap_from(start);
    }

    fn push_heap_from(&mut self, start: usize) {
        self.heap_refs.push((self.states.len(), start, self.heap.len() - start));
        self.push_slot(0);
    }

    /// Appends the packed row to `out` and makes the packer ready for the next.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        let full = self.states.iter().all(|state| *state == CellState::Value as u8);
        let columns = u16::try_from(self.states.len()).expect("a group has at most 65535 columns");
        out.extend_from_slice(&[FORMAT, if full { 0 } else { HAS_STATES }]);
        out.extend_from_slice(&columns.to_le_bytes());
        if !full {
            out.extend_from_slice(&self.states);
        }
        let heap = out.len() - start + self.slots.len();
        for (column, offset, len) in self.heap_refs.drain(..) {
            let slot = &mut self.slots[8 * column..8 * column + 8];
            slot[..4].copy_from_slice(&((heap + offset) as u32).to_le_bytes());
            slot[4..].copy_from_slice(&(len as u32).to_le_bytes());
        }
        out.extend_from_slice(&self.slots);
        out.extend_from_slice(&self.heap);
        self.states.clear();
        self.slots.clear();
        self.heap.clear();
    }
}

/// Packs whole cells; for tests and single rows.
pub fn pack(cells: &[Cell]) -> Vec<u8> {
    let mut packer = RowPacker::default();
    cells.iter().for_each(|cell| packer.push(cell));
    let mut out = Vec::new();
    packer.finish(&mut out);
    out
}

fn pack_list(list: &List, out: &mut Vec<u8>) {
    fn items<T>(list: &[Option<T>], out: &mut Vec<u8>, mut put: impl FnMut(Option<&T>, &mut Vec<u8>)) {
        out.extend_from_slice(&(list.len() as u32).to_le_bytes());
        let bitmap = out.len();
        out.resize(bitmap + list.len().div_ceil(8), 0);
        for (i, item) in list.iter().enumerate() {
            if item.is_none() {
                out[bitmap + i / 8] |= 1 << (i % 8);
            }
            put(item.as_ref(), out);
        }
    }
    fn sized(bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    match list {
        List::Bool(list) => items(list, out, |v, out| out.push(u8::from(v.copied().unwrap_or_default()))),
        List::Int64(list) => {
            items(list, out, |v, out| out.extend(v.copied().unwrap_or_default().to_le_bytes()))
        }
        List::Float64(list) => {
            items(list, out, |v, out| out.extend(v.copied().unwrap_or_default().to_le_bytes()))
        }
        List::Float32(list) => {
            items(list, out, |v, out| out.extend(v.copied().unwrap_or_default().to_le_bytes()))
        }
        List::Timestamp(list) => {
            items(list, out, |v, out| out.extend(v.map_or(0, |t| t.micros()).to_le_bytes()))
        }
        List::String(list) => items(list, out, |v, out| sized(v.map_or(b"", |t| t.as_bytes()), out)),
        List::Bytes(list) => items(list, out, |v, out| sized(v.map_or(b"", |t| t.as_slice()), out)),
    }
}

fn unpack_list(bytes: &[u8], element: Element) -> List {
    let (count, rest) = bytes
        .split_first_chunk::<4>()
        .map_or((0, bytes), |(n, rest)| (u32::from_le_bytes(*n) as usize, rest));
    let (bitmap, mut rest) = rest.split_at(count.div_ceil(8).min(rest.len()));
    let is_null = |i: usize| bitmap.get(i / 8).is_some_and(|byte| byte & (1 << (i % 8)) != 0);
    fn fixed<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
        let Some((item, after)) = rest.split_first_chunk::<N>() else { return [0; N] };
        *rest = after;
        *item
    }
    macro_rules! list {
        ($take:expr) => {
            (0..count)
                .map(|i| {
                    let item = $take(&mut rest);
                    (!is_null(i)).then_some(item)
                })
                .collect()
        };
    }
    let sized = |rest: &mut &[u8]| -> Vec<u8> {
        let len = (u32::from_le_bytes(fixed(rest)) as usize).min(rest.len());
        let (item, after) = rest.split_at(len);
        *rest = after;
        item.to_owned()
    };
    match element {
        Element::Bool => List::Bool(list!(|rest: &mut &[u8]| fixed::<1>(rest)[0] != 0)),
        Element::Int64 => List::Int64(list!(|rest: &mut &[u8]| i64::from_le_bytes(fixed(rest)))),
        Element::Float64 => List::Float64(list!(|rest: &mut &[u8]| f64::from_le_bytes(fixed(rest)))),
        Element::Float32 => List::Float32(list!(|rest: &mut &[u8]| f32::from_le_bytes(fixed(rest)))),
        Element::Timestamp => {
            List::Timestamp(list!(|rest: &mut &[u8]| Timestamp::from_stored(i64::from_le_bytes(fixed(rest)))))
        }
        Element::String => {
            List::String(list!(|rest: &mut &[u8]| String::from_utf8(sized(rest)).unwrap_or_default()))
        }
        Element::Bytes => List::Bytes(list!(sized)),
    }
}
