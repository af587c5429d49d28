//! Values as people type and read them.

use crate::{
    error::{Error, Kind, Result},
    feature::{
        Dtype, Duration, Round, Timestamp, Value,
        json::{JsonReader, canonical, double},
    },
    wire::{
        json::{JsonWriter, read_value},
        proto::{self, value::Kind as Proto},
        value::{dtype_from, value_from},
    },
};

/// A field of a text file by the dtype of its feature; an empty one is null.
pub(super) fn parse(text: &str, dtype: Dtype) -> Result<Option<Value>> {
    if text.is_empty() {
        return Ok(None);
    }
    let refused = || Error::new(Kind::InvalidArgument, format!("{text:?} is not a value of {dtype}"));
    Ok(Some(match dtype {
        Dtype::Bool => match text {
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            _ => return Err(refused()),
        },
        Dtype::Int64 => Value::Int64(text.parse().map_err(|_| refused())?),
        Dtype::Float64 => Value::Float64(parse_float(text)?),
        Dtype::Float32 => match text.parse::<f32>() {
            Ok(value) if value.is_finite() => Value::Float32(value),
            _ => Value::Float32(parse_float(text)? as f32),
        },
        Dtype::String => Value::String(text.to_owned()),
        Dtype::Timestamp => Value::Timestamp(
            Timestamp::parse(text, Round::Down).map_err(|why| Error::new(Kind::InvalidArgument, why))?,
        ),
        Dtype::Json => Value::Json(canonical(text)?),
        Dtype::Bytes => return read_json(&format!("\"{text}\""), dtype),
        Dtype::List(_) => return read_json(text, dtype),
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

/// A value in JSON by the dtype of its feature.
pub(super) fn read_json(json: &str, dtype: Dtype) -> Result<Option<Value>> {
    JsonReader::read(json.as_bytes(), |reader| read_value(reader, dtype))
}

/// As a table or a CSV field shows it: text as it is, the rest as JSON.
pub(super) fn text(value: &Value) -> String {
    if let Value::String(text) | Value::Json(text) = value {
        return text.clone();
    }
    let mut out = Vec::new();
    JsonWriter::new(&mut out).value(Some(value));
    let text = String::from_utf8(out).expect("JSON is UTF-8");
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.to_owned(), // timestamps, bytes, NaN: nothing in them is escaped
        None => text,
    }
}

/// A value that a server sent; `None` is null.
pub(super) fn from_proto(value: &proto::Value) -> Option<Value> {
    value_from(value.clone(), own_dtype(value)?).ok().flatten()
}

/// The dtype that a value shows by itself; an empty list shows none, so it counts as one of strings.
fn own_dtype(value: &proto::Value) -> Option<Dtype> {
    use crate::feature::Element as E;
    Some(match value.kind.as_ref()? {
        Proto::NullValue(_) | Proto::BoolValue(_) => Dtype::Bool,
        Proto::Int64Value(_) => Dtype::Int64,
        Proto::Float64Value(_) => Dtype::Float64,
        Proto::Float32Value(_) => Dtype::Float32,
        Proto::StringValue(_) => Dtype::String,
        Proto::BytesValue(_) => Dtype::Bytes,
        Proto::TimestampValue(_) => Dtype::Timestamp,
        Proto::JsonValue(_) => Dtype::Json,
        Proto::ListValue(list) => Dtype::List(match list {
            list if !list.bools.is_empty() => E::Bool,
            list if !list.int64s.is_empty() => E::Int64,
            list if !list.float64s.is_empty() => E::Float64,
            list if !list.float32s.is_empty() => E::Float32,
            list if !list.bytes_values.is_empty() => E::Bytes,
            list if !list.timestamps_us.is_empty() => E::Timestamp,
            _ => E::String,
        }),
    })
}

/// The dtype of a feature that a server sent.
pub(super) fn dtype(dtype: proto::Dtype) -> Option<Dtype> {
    dtype_from(dtype.into()).ok()
}

/// How long ago, in its two largest units: `3d 4h`.
pub(super) fn age(from: Timestamp, to: Timestamp) -> String {
    let micros = to.micros().saturating_sub(from.micros());
    Duration::from_micros(micros).map_or_else(|| "ahead".into(), Duration::rough)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::{Element, List};

    #[test]
    fn fields_follow_the_dtype() {
        for (field, dtype, value) in [
            ("007", Dtype::String, Value::String("007".into())),
            ("7", Dtype::Int64, Value::Int64(7)),
            ("9223372036854775807", Dtype::Int64, Value::Int64(i64::MAX)),
            ("2.50", Dtype::Float64, Value::Float64(2.5)),
            ("True", Dtype::Bool, Value::Bool(true)),
            ("AP8B", Dtype::Bytes, Value::Bytes(vec![0, 255, 1])),
            ("{\"b\": 1}", Dtype::Json, Value::Json("{\"b\":1}".into())),
            ("[1, null]", Dtype::List(Element::Int64), Value::List(List::Int64(vec![Some(1), None]))),
        ] {
            assert_eq!(parse(field, dtype).unwrap(), Some(value), "{field}");
        }
        assert_eq!(parse("", Dtype::String).unwrap(), None);
        for (field, dtype) in
            [("1.0", Dtype::Int64), ("x", Dtype::Float64), ("1e400", Dtype::Float64), ("1", Dtype::Bool)]
        {
            assert!(parse(field, dtype).is_err(), "{field}");
        }
    }

    #[test]
    fn ages_in_two_units() {
        let at = |seconds: i64| Timestamp::from_stored(seconds * 1_000_000);
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_661, "1h 1m"),
            (86_400, "1d"),
            (90_000, "1d 1h"),
            (-1, "ahead"),
        ] {
            assert_eq!(age(at(0), at(seconds)), text);
        }
    }
}
