//! Reading values by their dtype.

use super::BASE64;
use crate::{
    error::{Error, Kind, Result},
    feature::{
        Duration,
        json::{JsonKind, JsonReader, double, short},
    },
};
use base64::Engine as _;
use std::borrow::Cow;

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

pub(super) fn refused<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(Kind::InvalidArgument, message))
}
