//! Rows of a group as Arrow columns: how bulk writes, history and training sets travel.
//!
//! A cell has three states and Arrow's null only tells two apart, so a column carries a second bitmap of the cells that
//! were left out. A left-out cell is null in `values` as well.

#![deny(clippy::wildcard_enum_match_arm)]

use super::{
    Cell, Decimal, Dtype, Element, List, PackedRow, Timestamp, ValueRef, row::CellState, row::RowPacker,
};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryBuilder, BooleanBufferBuilder, BooleanBuilder, Decimal128Builder,
        Float32Builder, Float64Builder, Int64Builder, ListArray, NullBufferBuilder, StringBuilder,
        TimestampMicrosecondBuilder,
    },
    buffer::{BooleanBuffer, OffsetBuffer},
    datatypes::{Decimal128Type, Field, Float32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use std::{borrow::Cow, sync::Arc};

/// One column of a group over many rows.
#[derive(Clone, Debug)]
pub struct Column {
    /// Of the dtype's Arrow type.
    pub values: ArrayRef,
    /// Bit set = the row left the feature out. None = no row did.
    pub left_out: Option<BooleanBuffer>,
}

impl Column {
    /// A column in which every row gives the feature, null or not.
    pub fn given(values: ArrayRef) -> Self {
        Self { values, left_out: None }
    }

    /// A column that `rows` rows leave out.
    pub fn all_left_out(dtype: Dtype, rows: usize) -> Self {
        Self {
            values: arrow::array::new_null_array(&dtype.arrow(), rows),
            left_out: Some(BooleanBuffer::new_set(rows)),
        }
    }

    pub fn state(&self, row: usize) -> CellState {
        if self.left_out.as_ref().is_some_and(|left_out| left_out.value(row)) {
            CellState::LeftOut
        } else if self.values.is_null(row) {
            CellState::Null
        } else {
            CellState::Value
        }
    }

    pub fn cell(&self, row: usize, dtype: Dtype) -> Cell {
        match self.state(row) {
            CellState::LeftOut => Cell::LeftOut,
            CellState::Null => Cell::Null,
            CellState::Value => Cell::Value(value_at(&self.values, row, dtype).into_owned()),
        }
    }

    /// Adds this column's cell of `row` to a packed row.
    pub fn pack(&self, row: usize, dtype: Dtype, packer: &mut RowPacker) {
        match self.state(row) {
            CellState::LeftOut => packer.push_left_out(),
            CellState::Null => packer.push_null(),
            CellState::Value => packer.push_value(value_at(&self.values, row, dtype)),
        }
    }
}

/// Appends the packed form of one row of `columns` to `out`.
pub fn pack_row(columns: &[Column], dtypes: &[Dtype], row: usize, packer: &mut RowPacker, out: &mut Vec<u8>) {
    for (column, dtype) in columns.iter().zip(dtypes) {
        column.pack(row, *dtype, packer);
    }
    packer.finish(out);
}

/// The value at a row that is not null.
#[inline]
pub fn value_at(values: &dyn Array, row: usize, dtype: Dtype) -> ValueRef<'_> {
    match dtype {
        Dtype::Bool => ValueRef::Bool(values.as_boolean().value(row)),
        Dtype::Int64 => ValueRef::Int64(values.as_primitive::<Int64Type>().value(row)),
        Dtype::Float64 => ValueRef::Float64(values.as_primitive::<Float64Type>().value(row)),
        Dtype::Float32 => ValueRef::Float32(values.as_primitive::<Float32Type>().value(row)),
        Dtype::Timestamp => ValueRef::Timestamp(Timestamp::from_stored(
            values.as_primitive::<TimestampMicrosecondType>().value(row),
        )),
        Dtype::String => ValueRef::String(values.as_string::<i32>().value(row)),
        Dtype::Json => ValueRef::Json(values.as_string::<i32>().value(row)),
        Dtype::Bytes => ValueRef::Bytes(values.as_binary::<i32>().value(row)),
        Dtype::List(element) => ValueRef::List(Cow::Owned(list_at(values, row, element))),
        Dtype::Decimal(of) => {
            let unscaled = values.as_primitive::<Decimal128Type>().value(row);
            ValueRef::Decimal(Decimal::from_stored(unscaled, of))
        }
    }
}

fn list_at(values: &dyn Array, row: usize, element: Element) -> List {
    let items = values.as_list::<i32>().value(row);
    fn collect<T>(items: &dyn Array, get: impl Fn(usize) -> T) -> Vec<Option<T>> {
        (0..items.len()).map(|i| items.is_valid(i).then(|| get(i))).collect()
    }
    match element {
        Element::Bool => List::Bool(collect(&items, |i| items.as_boolean().value(i))),
        Element::Int64 => List::Int64(collect(&items, |i| items.as_primitive::<Int64Type>().value(i))),
        Element::Float64 => List::Float64(collect(&items, |i| items.as_primitive::<Float64Type>().value(i))),
        Element::Float32 => List::Float32(collect(&items, |i| items.as_primitive::<Float32Type>().value(i))),
        Element::Timestamp => List::Timestamp(collect(&items, |i| {
            Timestamp::from_stored(items.as_primitive::<TimestampMicrosecondType>().value(i))
        })),
        Element::String => List::String(collect(&items, |i| items.as_string::<i32>().value(i).to_owned())),
        Element::Bytes => List::Bytes(collect(&items, |i| items.as_binary::<i32>().value(i).to_owned())),
    }
}

/// Builds a [`Column`] cell by cell.
pub struct ColumnBuilder {
    dtype: Dtype,
    values: Values,
    left_out: BooleanBufferBuilder,
    any_left_out: bool,
}

enum Values {
    Bool(BooleanBuilder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Float32(Float32Builder),
    /// Strings and JSON.
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    List(Box<Lists>),
    Decimal(Decimal128Builder),
}

/// Runs one body on whichever builder there is.
macro_rules! each {
    ($values:expr, $builder:ident => $body:expr) => {
        match $values {
            Values::Bool($builder) => $body,
            Values::Int64($builder) => $body,
            Values::Float64($builder) => $body,
            Values::Float32($builder) => $body,
            Values::Text($builder) => $body,
            Values::Bytes($builder) => $body,
            Values::Timestamp($builder) => $body,
            Values::List($builder) => $body,
            Values::Decimal($builder) => $body,
        }
    };
}

impl ColumnBuilder {
    pub fn new(dtype: Dtype, rows: usize) -> Self {
        let values = Values::new(dtype, rows);
        Self { dtype, values, left_out: BooleanBufferBuilder::new(rows), any_left_out: false }
    }

    /// Adds a cell, whose value must be of the column's dtype.
    pub fn push(&mut self, cell: &Cell) {
        match cell {
            Cell::LeftOut => self.push_left_out(),
            Cell::Null => self.push_null(),
            Cell::Value(value) => self.push_value(value),
        }
    }

    /// Adds one cell of a packed row.
    pub fn push_packed(&mut self, row: PackedRow<'_>, column: usize) {
        match row.state(column) {
            CellState::LeftOut => self.push_left_out(),
            CellState::Null => self.push_null(),
            CellState::Value => self.push_value(row.value(column, self.dtype)),
        }
    }

    pub fn push_left_out(&mut self) {
        self.any_left_out = true;
        self.left_out.append(true);
        each!(&mut self.values, b => b.append_null());
    }

    pub fn push_null(&mut self) {
        self.left_out.append(false);
        each!(&mut self.values, b => b.append_null());
    }

    #[inline]
    pub fn push_value<'a>(&mut self, value: impl Into<ValueRef<'a>>) {
        self.left_out.append(false);
        self.values.append(value.into());
    }

    pub fn finish(&mut self) -> Column {
        let left_out = self.left_out.finish();
        let values = self.values.finish();
        Column { values, left_out: std::mem::take(&mut self.any_left_out).then_some(left_out) }
    }
}

impl Values {
    fn new(dtype: Dtype, rows: usize) -> Self {
        match dtype {
            Dtype::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            Dtype::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            Dtype::Float64 => Self::Float64(Float64Builder::with_capacity(rows)),
            Dtype::Float32 => Self::Float32(Float32Builder::with_capacity(rows)),
            Dtype::String | Dtype::Json => Self::Text(StringBuilder::with_capacity(rows, 16 * rows)),
            Dtype::Bytes => Self::Bytes(BinaryBuilder::with_capacity(rows, 16 * rows)),
            Dtype::Timestamp => {
                Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"))
            }
            Dtype::List(element) => Self::List(Box::new(Lists::new(element, rows))),
            Dtype::Decimal(_) => {
                Self::Decimal(Decimal128Builder::with_capacity(rows).with_data_type(dtype.arrow()))
            }
        }
    }

    #[inline]
    fn append(&mut self, value: ValueRef<'_>) {
        match (self, value) {
            (Self::Bool(b), ValueRef::Bool(v)) => b.append_value(v),
            (Self::Int64(b), ValueRef::Int64(v)) => b.append_value(v),
            (Self::Float64(b), ValueRef::Float64(v)) => b.append_value(v),
            (Self::Float32(b), ValueRef::Float32(v)) => b.append_value(v),
            (Self::Text(b), ValueRef::String(v) | ValueRef::Json(v)) => b.append_value(v),
            (Self::Bytes(b), ValueRef::Bytes(v)) => b.append_value(v),
            (Self::Timestamp(b), ValueRef::Timestamp(v)) => b.append_value(v.micros()),
            (Self::List(lists), ValueRef::List(list)) => lists.append(&list),
            (Self::Decimal(b), ValueRef::Decimal(v)) => b.append_value(v.unscaled()),
            (_, value) => unreachable!("{value:?} in a column of another dtype"),
        }
    }

    fn append_list(&mut self, list: &List) {
        match (self, list) {
            (Self::Bool(b), List::Bool(v)) => b.extend(v.iter().copied()),
            (Self::Int64(b), List::Int64(v)) => b.extend(v.iter().copied()),
            (Self::Float64(b), List::Float64(v)) => b.extend(v.iter().copied()),
            (Self::Float32(b), List::Float32(v)) => b.extend(v.iter().copied()),
            (Self::Text(b), List::String(v)) => b.extend(v.iter().map(Option::as_ref)),
            (Self::Bytes(b), List::Bytes(v)) => b.extend(v.iter().map(Option::as_ref)),
            (Self::Timestamp(b), List::Timestamp(v)) => b.extend(v.iter().map(|t| t.map(Timestamp::micros))),
            (_, list) => unreachable!("a list of {} in a column of another dtype", list.element().dtype()),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        each!(self, b => Arc::new(b.finish()))
    }
}

/// A column of lists: all their elements one after another, and how many each has.
struct Lists {
    element: Element,
    items: Values,
    /// Where each list ends.
    ends: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Lists {
    fn new(element: Element, rows: usize) -> Self {
        Self {
            element,
            items: Values::new(element.dtype(), 0),
            ends: Vec::with_capacity(rows),
            nulls: NullBufferBuilder::new(rows),
        }
    }

    fn append(&mut self, list: &List) {
        self.items.append_list(list);
        self.end(list.len());
        self.nulls.append_non_null();
    }

    fn append_null(&mut self) {
        self.end(0);
        self.nulls.append_null();
    }

    fn end(&mut self, len: usize) {
        let end = self.ends.last().copied().unwrap_or_default() as usize + len;
        self.ends.push(i32::try_from(end).expect("a column has at most 2³¹ elements"));
    }

    fn finish(&mut self) -> ListArray {
        let item = Arc::new(Field::new_list_field(self.element.dtype().arrow(), true));
        let ends = std::mem::take(&mut self.ends);
        let offsets = OffsetBuffer::new(std::iter::once(0).chain(ends).collect());
        ListArray::new(item, offsets, self.items.finish(), self.nulls.finish())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::feature::{Value, row};
    use proptest::{collection::vec, option, prelude::*};

    /// Any value of a dtype, in the ranges that rows may hold.
    pub(crate) fn value(dtype: Dtype) -> BoxedStrategy<Value> {
        let time = || (Timestamp::MIN.micros()..=Timestamp::MAX.micros()).prop_map(Timestamp::from_stored);
        match dtype {
            Dtype::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
            Dtype::Int64 => any::<i64>().prop_map(Value::Int64).boxed(),
            Dtype::Float64 => prop::num::f64::NORMAL.prop_map(Value::Float64).boxed(),
            Dtype::Float32 => prop::num::f32::NORMAL.prop_map(Value::Float32).boxed(),
            Dtype::String => any::<String>().prop_map(Value::String).boxed(),
            Dtype::Bytes => vec(any::<u8>(), 0..20).prop_map(Value::Bytes).boxed(),
            Dtype::Timestamp => time().prop_map(Value::Timestamp).boxed(),
            Dtype::Json => "[1-9][0-9]{0,8}".prop_map(Value::Json).boxed(),
            Dtype::List(element) => match element {
                Element::Bool => vec(any::<Option<bool>>(), 0..20).prop_map(List::Bool).boxed(),
                Element::Int64 => vec(any::<Option<i64>>(), 0..20).prop_map(List::Int64).boxed(),
                Element::Float64 => {
                    vec(option::of(prop::num::f64::NORMAL), 0..20).prop_map(List::Float64).boxed()
                }
                Element::Float32 => {
                    vec(option::of(prop::num::f32::NORMAL), 0..20).prop_map(List::Float32).boxed()
                }
                Element::String => vec(any::<Option<String>>(), 0..9).prop_map(List::String).boxed(),
                Element::Bytes => vec(any::<Option<Vec<u8>>>(), 0..9).prop_map(List::Bytes).boxed(),
                Element::Timestamp => vec(option::of(time()), 0..9).prop_map(List::Timestamp).boxed(),
            }
            .prop_map(Value::List)
            .boxed(),
            Dtype::Decimal(of) => any::<i128>()
                .prop_map(move |any| any % 10_i128.pow(of.precision().into()))
                .prop_map(move |unscaled| Value::Decimal(Decimal::new(unscaled, of).unwrap()))
                .boxed(),
        }
    }

    fn cell(dtype: Dtype) -> BoxedStrategy<Cell> {
        prop_oneof![Just(Cell::LeftOut), Just(Cell::Null), value(dtype).prop_map(Cell::Value)].boxed()
    }

    fn one_of_each_dtype() -> impl Strategy<Value = Vec<Cell>> {
        Dtype::all().map(cell).collect::<Vec<_>>()
    }

    proptest! {
        #[test]
        fn rows_pack_and_unpack(cells in one_of_each_dtype()) {
            let bytes = row::pack(&cells);
            let packed = PackedRow::new(&bytes).unwrap();
            for (column, dtype) in Dtype::all().enumerate() {
                prop_assert_eq!(&packed.cell(column, dtype), &cells[column]);
            }
            prop_assert_eq!(packed.state(cells.len()), CellState::LeftOut);
        }

        #[test]
        fn columns_keep_rows(rows in vec(one_of_each_dtype(), 1..5)) {
            let dtypes: Vec<Dtype> = Dtype::all().collect();
            let packed: Vec<Vec<u8>> = rows.iter().map(|cells| row::pack(cells)).collect();
            let columns: Vec<Column> = dtypes.iter().enumerate().map(|(column, dtype)| {
                let mut from_cells = ColumnBuilder::new(*dtype, 0);
                let mut from_packed = ColumnBuilder::new(*dtype, 0);
                for (cells, bytes) in rows.iter().zip(&packed) {
                    from_cells.push(&cells[column]);
                    from_packed.push_packed(PackedRow::new(bytes).unwrap(), column);
                }
                let (built, again) = (from_cells.finish(), from_packed.finish());
                assert_eq!(&built.values, &again.values);
                built
            }).collect();
            for (i, bytes) in packed.iter().enumerate() {
                let mut out = Vec::new();
                pack_row(&columns, &dtypes, i, &mut RowPacker::default(), &mut out);
                prop_assert_eq!(&out, bytes);
                for (column, dtype) in dtypes.iter().enumerate() {
                    prop_assert_eq!(&columns[column].cell(i, *dtype), &rows[i][column]);
                }
            }
        }

        #[test]
        fn bytes_that_are_no_row_do_not_panic(bytes in vec(any::<u8>(), 0..80)) {
            if let Some(row) = PackedRow::new(&bytes) {
                for dtype in Dtype::all() {
                    for column in 0..row.columns().min(4) {
                        let _ = row.cell(column, dtype);
                    }
                }
            }
        }
    }
}
