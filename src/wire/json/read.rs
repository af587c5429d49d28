//! Reading values by their dtype.

use super::BASE64;
use crate::{
    error::{Error, Kind, Result},
    feature::{
        Dtype, Duration, Element, List, Round, Value,
        json::{JsonKind, JsonReader, double, read_timestamp, short, take_canonical},
        value::LIST_ELEMENTS_MAX,
    },
};
use base64::Engine as _;
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
    }))
}

/// A number or a string of digits, never by way of a double.
pub fn read_int64(reader: &mut JsonReader<'_>) -> Result<i64> {
    let text: Cow<'_, str> = match reader.peek()? {
        JsonKind::Number => reader.number()?.into(),
        JsonKind::String => reader.string()?,
        _ => return reader.refuse("an int64 as a number or string"),
    };
    match text.parse() {
        Ok(value) if !text.starts_with('+') => Ok(value),
        _ => refused(format!("{:?} is not an int64", short(&text))),
    }
}

/// A number, `"NaN"`, `"Infinity"` or `"-Infinity"`.
pub fn read_float64(reader: &mut JsonReader<'_>) -> Result<f64> {
    match reader.peek()? {
        JsonKind::Number => double(reader.number()?),
        JsonKind::String => read_non_finite(reader),
        _ => reader.refuse("a number"),
    }
}

/// As [`read_float64`], rounded once, from the digits that were sent.
pub fn read_float32(reader: &mut JsonReader<'_>) -> Result<f32> {
    if reader.peek()? != JsonKind::Number {
        return read_float64(reader).map(|value| value as f32);
    }
    let text = reader.number()?;
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => refused(format!("{} is beyond the range of float32", short(text))),
    }
}

fn read_non_finite(reader: &mut JsonReader<'_>) -> Result<f64> {
    match &*reader.string()? {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        other => refused(format!("expected a number, got the string {:?}", short(other))),
    }
}

/// Base64 with the standard alphabet; padding may be left out.
pub fn read_bytes(reader: &mut JsonReader<'_>) -> Result<Vec<u8>> {
    BASE64.decode(reader.string()?.as_bytes()).or_else(|why| refused(format!("this is not base64: {why}")))
}

/// `90s`, `5m`, `1h`, `7d`.
pub fn read_duration(reader: &mut JsonReader<'_>) -> Result<Duration> {
    reader.string()?.parse().or_else(refused)
}

/// A 64-bit number without a sign, as a number or, as proto3 JSON writes it, a string of its digits.
pub fn read_u64(reader: &mut JsonReader<'_>) -> Result<u64> {
    let text = match reader.peek()? {
        JsonKind::String => reader.string()?,
        _ => reader.number()?.into(),
    };
    text.parse().or_else(|_| refused(format!("{} is not an unsigned 64-bit integer", short(&text))))
}

/// Strings by name, in the order sent.
pub fn read_string_map(reader: &mut JsonReader<'_>) -> Result<Vec<(String, String)>> {
    let mut members = Vec::new();
    reader.object(|reader, key| {
        members.push((key.to_owned(), reader.string()?.into_owned()));
        Ok(())
    })?;
    Ok(members)
}

/// An array of strings.
pub fn read_strings(reader: &mut JsonReader<'_>) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    reader.array(|reader, _| {
        texts.push(reader.string()?.into_owned());
        Ok(())
    })?;
    Ok(texts)
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

fn refused<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(Kind::InvalidArgument, message))
}
