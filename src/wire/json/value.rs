//! Values of each dtype as JSON and as fields of text files, in and out.

#![deny(clippy::wildcard_enum_match_arm)]

use super::{
    JsonWriter,
    read::{read_bytes, read_float32, read_float64, read_int64, refused},
};
use crate::{
    error::{Error, Result},
    feature::{
        Decimal, DecimalType, Dtype, Element, List, PackedRow, Round, Timestamp, Value, ValueRef,
        columns::value_at,
        json::{JsonKind, JsonReader, canonical, double, read_timestamp, take_canonical},
        row::CellState,
        value::LIST_ELEMENTS_MAX,
    },
};
use arrow::array::Array;
use std::borrow::Cow;

/// Reads a value of a feature; `None` is null. Finiteness and sizes are for [`Value::checked`] to judge.
pub fn read_value(reader: &mut JsonReader<'_>, dtype: Dtype) -> Result<Option<Value>> {
    if reader.take_null()? {
        return Ok(None);
    }
    Ok(Some(match dtype {
        Dtype::Bool => Value::Bool(reader.boolean()?),
        Dtype::Int64 => Value::Int64(read_int64(reader)?),
        Dtype::Float64 => Value::Float64(read_float64(reader)?),
        Dtype::Float32 => Value::Float32(read_float32(reader)?),
        Dtype::String => Value::String(reader.string()?.into_owned()),
        Dtype::Bytes => Value::Bytes(read_bytes(reader)?),
        Dtype::Timestamp => Value::Timestamp(read_timestamp(reader, Round::Down)?),
        Dtype::Json => Value::Json(take_canonical(reader)?),
        Dtype::List(element) => Value::List(read_list(reader, element)?),
        Dtype::Decimal(of) => Value::Decimal(read_decimal(reader, of)?),
    }))
}

/// A number or a string, by its digits: never by way of a double.
fn read_decimal(reader: &mut JsonReader<'_>, of: DecimalType) -> Result<Decimal> {
    let text = match reader.peek()? {
        JsonKind::Number => Cow::Borrowed(reader.number()?),
        JsonKind::String => reader.string()?,
        JsonKind::Null | JsonKind::Bool | JsonKind::Array | JsonKind::Object => {
            return reader.refuse(format_args!("a {of} as a string or number"));
        }
    };
    Decimal::parse(&text, of).or_else(refused)
}

fn read_list(reader: &mut JsonReader<'_>, element: Element) -> Result<List> {
    fn items<T>(
        reader: &mut JsonReader<'_>,
        read: impl Fn(&mut JsonReader<'_>) -> Result<T>,
    ) -> Result<Vec<Option<T>>> {
        let mut list = Vec::new();
        reader.array(|reader, index| {
            if index == LIST_ELEMENTS_MAX {
                return refused(format!("a list has at most {LIST_ELEMENTS_MAX} elements"));
            }
            list.push(if reader.take_null()? { None } else { Some(read(reader)?) });
            Ok(())
        })?;
        Ok(list)
    }
    Ok(match element {
        Element::Bool => List::Bool(items(reader, |reader| reader.boolean())?),
        Element::Int64 => List::Int64(items(reader, read_int64)?),
        Element::Float64 => List::Float64(items(reader, read_float64)?),
        Element::Float32 => List::Float32(items(reader, read_float32)?),
        Element::String => List::String(items(reader, |reader| reader.string().map(Cow::into_owned))?),
        Element::Bytes => List::Bytes(items(reader, read_bytes)?),
        Element::Timestamp => List::Timestamp(items(reader, |reader| read_timestamp(reader, Round::Down))?),
    })
}

/// Reads a field of a text file; an empty one is null. Texts are as they are, everything else is as in JSON without its
/// quotes.
pub fn parse_text(text: &str, dtype: Dtype) -> Result<Option<Value>> {
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = || Error::refused(format!("{text:?} is not a value of {dtype}"));
    Ok(Some(match dtype {
        Dtype::Bool => match text {
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            _ => return Err(refuse()),
        },
        Dtype::Int64 => Value::Int64(text.parse().map_err(|_| refuse())?),
        Dtype::Float64 => Value::Float64(parse_float(text)?),
        Dtype::Float32 => match text.parse::<f32>() {
            Ok(value) if value.is_finite() => Value::Float32(value),
            _ => Value::Float32(parse_float(text)? as f32),
        },
        Dtype::String => Value::String(text.to_owned()),
        Dtype::Timestamp => Timestamp::parse(text, Round::Down).map(Value::Timestamp).or_else(refused)?,
        Dtype::Json => Value::Json(canonical(text)?),
        Dtype::Decimal(of) => Decimal::parse(text, of).map(Value::Decimal).or_else(refused)?,
        Dtype::Bytes => {
            let quoted = format!("\"{text}\"");
            return JsonReader::read(quoted.as_bytes(), |reader| read_value(reader, dtype));
        }
        Dtype::List(_) => return JsonReader::read(text.as_bytes(), |reader| read_value(reader, dtype)),
    }))
}

fn parse_float(text: &str) -> Result<f64> {
    match text {
        "NaN" | "nan" => Ok(f64::NAN),
        "Infinity" | "inf" => Ok(f64::INFINITY),
        "-Infinity" | "-inf" => Ok(f64::NEG_INFINITY),
        _ => double(text),
    }
}

impl JsonWriter<'_> {
    /// A value; `None` is null.
    pub fn value(&mut self, value: Option<&Value>) {
        match value {
            None => self.null(),
            Some(value) => self.value_ref(value.into()),
        }
    }

    /// One cell of a packed row; null unless it holds a value.
    pub fn packed(&mut self, row: PackedRow<'_>, column: usize, dtype: Dtype) {
        match row.state(column) {
            CellState::Value => self.value_ref(row.value(column, dtype)),
            CellState::Null | CellState::LeftOut => self.null(),
        }
    }

    /// One cell of an Arrow column of the dtype's type.
    pub fn arrow(&mut self, values: &dyn Array, row: usize, dtype: Dtype) {
        match values.is_null(row) {
            true => self.null(),
            false => self.value_ref(value_at(values, row, dtype)),
        }
    }

    #[inline(always)] // into the readers of cells: they know which value it is, so that it is matched once
    fn value_ref(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Bool(v) => self.boolean(v),
            ValueRef::Int64(v) => self.int64(v),
            ValueRef::Float64(v) => self.float64(v),
            ValueRef::Float32(v) => self.float32(v),
            ValueRef::String(v) => self.string(v),
            ValueRef::Bytes(v) => self.bytes(v),
            ValueRef::Timestamp(v) => self.timestamp(v),
            ValueRef::Json(v) => self.raw(v.as_bytes()),
            ValueRef::List(v) => self.list(&v),
            ValueRef::Decimal(v) => self.decimal(v),
        }
    }

    /// A string: a reader's numbers may be doubles.
    fn decimal(&mut self, value: Decimal) {
        self.string(&value.to_string());
    }

    fn list(&mut self, list: &List) {
        fn each<'a, T>(
            writer: &mut JsonWriter<'_>,
            list: &'a [Option<T>],
            mut write: impl FnMut(&mut JsonWriter<'_>, &'a T),
        ) {
            writer.array(|writer| list.iter().for_each(|item| writer.option(item.as_ref(), &mut write)));
        }
        match list {
            List::Bool(list) => each(self, list, |writer, v| writer.boolean(*v)),
            List::Int64(list) => each(self, list, |writer, v| writer.int64(*v)),
            List::Float64(list) => each(self, list, |writer, v| writer.float64(*v)),
            List::Float32(list) => each(self, list, |writer, v| writer.float32(*v)),
            List::String(list) => each(self, list, |writer, v| writer.string(v)),
            List::Bytes(list) => each(self, list, |writer, v| writer.bytes(v)),
            List::Timestamp(list) => each(self, list, |writer, v| writer.timestamp(*v)),
        }
    }
}
