//! Rows of a group as Arrow columns: how bulk writes, history and training sets travel.
//!
//! A cell has three states and Arrow's null only tells two apart, so a column carries a second bitmap of the cells that
//! were left out. A left-out cell is null in `values` as well.

use super::{Cell, Dtype, Element, List, PackedRow, Timestamp, Value, row::CellState, row::RowPacker};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryBuilder, BooleanBufferBuilder, BooleanBuilder, Float32Builder,
        Float64Builder, Int64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder,
    },
    buffer::BooleanBuffer,
    datatypes::{Float32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use std::sync::Arc;

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
            CellState::Value => Cell::Value(value_at(&self.values, row, dtype)),
        }
    }

    /// Adds this column's cell of `row` to a packed row.
    pub fn pack(&self, row: usize, dtype: Dtype, packer: &mut RowPacker) {
        match self.state(row) {
            CellState::LeftOut => packer.push_left_out(),
            CellState::Null => packer.push_null(),
            CellState::Value => match dtype {
                Dtype::Bool => packer.push_slot(u64::from(self.values.as_boolean().value(row))),
                Dtype::Int64 => packer.push_slot(self.values.as_primitive::<Int64Type>().value(row) as u64),
                Dtype::Float64 => {
                    packer.push_slot(self.values.as_primitive::<Float64Type>().value(row).to_bits());
                }
                Dtype::Float32 => {
                    packer
                        .push_slot(u64::from(self.values.as_primitive::<Float32Type>().value(row).to_bits()));
                }
                Dtype::Timestamp => {
                    packer
                        .push_slot(self.values.as_primitive::<TimestampMicrosecondType>().value(row) as u64);
                }
                Dtype::String | Dtype::Json => {
                    packer.push_heap(self.values.as_string::<i32>().value(row).as_bytes());
                }
                Dtype::Bytes => packer.push_heap(self.values.as_binary::<i32>().value(row)),
                Dtype::List(_) => packer.push(&Cell::Value(value_at(&self.values, row, dtype))),
            },
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
pub fn value_at(values: &dyn Array, row: usize, dtype: Dtype) -> Value {
    match dtype {
        Dtype::Bool => Value::Bool(values.as_boolean().value(row)),
        Dtype::Int64 => Value::Int64(values.as_primitive::<Int64Type>().value(row)),
        Dtype::Float64 => Value::Float64(values.as_primitive::<Float64Type>().value(row)),
        Dtype::Float32 => Value::Float32(values.as_primitive::<Float32Type>().value(row)),
        Dtype::Timestamp => Value::Timestamp(Timestamp::from_stored(
            values.as_primitive::<TimestampMicrosecondType>().value(row),
        )),
        Dtype::String => Value::String(values.as_string::<i32>().value(row).to_owned()),
        Dtype::Json => Value::Json(values.as_string::<i32>().value(row).to_owned()),
        Dtype::Bytes => Value::Bytes(values.as_binary::<i32>().value(row).to_owned()),
        Dtype::List(element) => Value::List(list_at(values, row, element)),
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
    BoolList(ListBuilder<BooleanBuilder>),
    Int64List(ListBuilder<Int64Builder>),
    Float64List(ListBuilder<Float64Builder>),
    Float32List(ListBuilder<Float32Builder>),
    StringList(ListBuilder<StringBuilder>),
    BytesList(ListBuilder<BinaryBuilder>),
    TimestampList(ListBuilder<TimestampMicrosecondBuilder>),
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
            Values::BoolList($builder) => $body,
            Values::Int64List($builder) => $body,
            Values::Float64List($builder) => $body,
            Values::Float32List($builder) => $body,
            Values::StringList($builder) => $body,
            Values::BytesList($builder) => $body,
            Values::TimestampList($builder) => $body,
        }
    };
}

impl ColumnBuilder {
    pub fn new(dtype: Dtype, rows: usize) -> Self {
        let timestamps = |rows| TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC");
        let values = match dtype {
            Dtype::Bool => Values::Bool(BooleanBuilder::with_capacity(rows)),
            Dtype::Int64 => Values::Int64(Int64Builder::with_capacity(rows)),
            Dtype::Float64 => Values::Float64(Float64Builder::with_capacity(rows)),
            Dtype::Float32 => Values::Float32(Float32Builder::with_capacity(rows)),
            Dtype::String | Dtype::Json => Values::Text(StringBuilder::with_capacity(rows, 16 * rows)),
            Dtype::Bytes => Values::Bytes(BinaryBuilder::with_capacity(rows, 16 * rows)),
            Dtype::Timestamp => Values::Timestamp(timestamps(rows)),
            Dtype::List(Element::Bool) => Values::BoolList(ListBuilder::new(BooleanBuilder::new())),
            Dtype::List(Element::Int64) => Values::Int64List(ListBuilder::new(Int64Builder::new())),
            Dtype::List(Element::Float64) => Values::Float64List(ListBuilder::new(Float64Builder::new())),
            Dtype::List(Element::Float32) => Values::Float32List(ListBuilder::new(Float32Builder::new())),
            Dtype::List(Element::String) => Values::StringList(ListBuilder::new(StringBuilder::new())),
            Dtype::List(Element::Bytes) => Values::BytesList(ListBuilder::new(BinaryBuilder::new())),
            Dtype::List(Element::Timestamp) => Values::TimestampList(ListBuilder::new(timestamps(0))),
        };
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
            CellState::Value => {
                self.left_out.append(false);
                let slot = row.slot(column);
                match &mut self.values {
                    Values::Bool(b) => b.append_value(slot[0] != 0),
                    Values::Int64(b) => b.append_value(i64::from_le_bytes(slot)),
                    Values::Float64(b) => b.append_value(f64::from_le_bytes(slot)),
                    Values::Float32(b) => {
                        b.append_value(f32::from_le_bytes([slot[0], slot[1], slot[2], slot[3]]));
                    }
                    Values::Timestamp(b) => b.append_value(i64::from_le_bytes(slot)),
                    Values::Text(b) => b.append_value(row.text(column)),
                    Values::Bytes(b) => b.append_value(row.heap(column)),
                    _ => {
                        if let Cell::Value(value) = row.cell(column, self.dtype) {
                            self.append(&value);
                        }
                    }
                }
            }
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

    pub fn push_value(&mut self, value: &Value) {
        self.left_out.append(false);
        self.append(value);
    }

    fn append(&mut self, value: &Value) {
        match (&mut self.values, value) {
            (Values::Bool(b), Value::Bool(v)) => b.append_value(*v),
            (Values::Int64(b), Value::Int64(v)) => b.append_value(*v),
            (Values::Float64(b), Value::Float64(v)) => b.append_value(*v),
            (Values::Float32(b), Value::Float32(v)) => b.append_value(*v),
            (Values::Text(b), Value::String(v) | Value::Json(v)) => b.append_value(v),
            (Values::Bytes(b), Value::Bytes(v)) => b.append_value(v),
            (Values::Timestamp(b), Value::Timestamp(v)) => b.append_value(v.micros()),
            (Values::BoolList(b), Value::List(List::Bool(v))) => b.append_value(v.iter().copied()),
            (Values::Int64List(b), Value::List(List::Int64(v))) => b.append_value(v.iter().copied()),
            (Values::Float64List(b), Value::List(List::Float64(v))) => b.append_value(v.iter().copied()),
            (Values::Float32List(b), Value::List(List::Float32(v))) => b.append_value(v.iter().copied()),
            (Values::StringList(b), Value::List(List::String(v))) => {
                b.append_value(v.iter().map(Option::as_ref))
            }
            (Values::BytesList(b), Value::List(List::Bytes(v))) => {
                b.append_value(v.iter().map(Option::as_ref))
            }
            (Values::TimestampList(b), Value::List(List::Timestamp(v))) => {
                b.append_value(v.iter().map(|t| t.map(Timestamp::micros)));
            }
            (_, value) => unreachable!("a {} in a column of {}", value.dtype(), self.dtype),
        }
    }

    pub fn finish(&mut self) -> Column {
        let left_out = self.left_out.finish();
        let values: ArrayRef = each!(&mut self.values, b => Arc::new(b.finish()));
        Column { values, left_out: std::mem::take(&mut self.any_left_out).then_some(left_out) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::feature::row;
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
