//! Values, dtypes and times of the contract, to the vocabulary and back.

#![deny(clippy::wildcard_enum_match_arm)]

use super::proto::{self, value::Kind};
use crate::{
    error::{Error, Result},
    feature::{
        Decimal, DecimalType, Dtype, Duration, Element, List, Round, Timestamp, Value, ValueRef,
        json::canonical,
    },
    proto::fields::{Field, malformed, take_field},
};
use prost::Message;

/// A value for a feature of this dtype; `None` is null. Finiteness and sizes are for [`Value::checked`] to judge.
pub fn value_from(value: proto::Value, dtype: Dtype) -> Result<Option<Value>, String> {
    let wrong = |given: &str| Err(format!("expected {dtype}, got {given}"));
    let given = match (value.kind, dtype) {
        (None, _) => return Err("the value is empty; null is written as null_value".into()),
        (Some(Kind::NullValue(true)), _) => return Ok(None),
        (Some(Kind::NullValue(false)), _) => return Err("null_value must be true".into()),
        (Some(Kind::BoolValue(v)), _) => Value::Bool(v),
        (Some(Kind::Int64Value(v)), _) => Value::Int64(v),
        (Some(Kind::Float64Value(v)), _) => Value::Float64(v),
        (Some(Kind::Float32Value(v)), _) => Value::Float32(v),
        (Some(Kind::StringValue(v)), _) => Value::String(v),
        (Some(Kind::BytesValue(v)), _) => Value::Bytes(v),
        (Some(Kind::TimestampValue(v)), _) => {
            Value::Timestamp(Timestamp::from_seconds_nanos(v.seconds, v.nanos, Round::Down)?)
        }
        (Some(Kind::JsonValue(v)), Dtype::Json) => Value::Json(canonical(&v).map_err(|why| why.to_string())?),
        (Some(Kind::JsonValue(_)), _) => return wrong("json"),
        (Some(Kind::ListValue(v)), Dtype::List(element)) => Value::List(list_from(v, element)?),
        (Some(Kind::ListValue(_)), _) => return wrong("a list"),
        (Some(Kind::DecimalValue(v)), Dtype::Decimal(of)) => Value::Decimal(Decimal::parse(&v, of)?),
        (Some(Kind::DecimalValue(_)), _) => return wrong("a decimal"),
    };
    if given.dtype() != dtype {
        return wrong(&given.dtype().name());
    }
    Ok(Some(given))
}

/// As [`value_from`], out of an encoded `Value`: nearly always a scalar of the right type that is its only field, which
/// is read in place.
pub fn read_value(value: &[u8], dtype: Dtype) -> Result<Option<Value>> {
    match read_scalar(value, dtype)? {
        Some(value) => Ok(Some(value)),
        None => {
            let value = <proto::Value as Message>::decode(value).map_err(malformed)?;
            value_from(value, dtype).map_err(Error::refused)
        }
    }
}

/// `None` = look closer.
fn read_scalar(mut value: &[u8], dtype: Dtype) -> Result<Option<Value>> {
    if value.is_empty() {
        return Ok(None);
    }
    let field = take_field(&mut value)?;
    if !value.is_empty() {
        return Ok(None);
    }
    Ok(match (field, dtype) {
        ((2, Field::Varint(v)), Dtype::Bool) => Some(Value::Bool(v != 0)),
        ((3, Field::Varint(v)), Dtype::Int64) => Some(Value::Int64(v as i64)),
        ((4, Field::Fixed64(v)), Dtype::Float64) => Some(Value::Float64(f64::from_bits(v))),
        ((5, Field::Fixed32(v)), Dtype::Float32) => Some(Value::Float32(f32::from_bits(v))),
        ((6, Field::Bytes(v)), Dtype::String) => Some(Value::String(utf8(v)?.to_owned())),
        ((7, Field::Bytes(v)), Dtype::Bytes) => Some(Value::Bytes(v.to_vec())),
        ((11, Field::Bytes(v)), Dtype::Decimal(of)) => {
            Some(Value::Decimal(Decimal::parse(utf8(v)?, of).map_err(Error::refused)?))
        }
        _ => None,
    })
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::refused("this is not valid UTF-8"))
}

/// The dtype that a value shows by itself; null and an empty list show none.
pub fn own_dtype(value: &proto::Value) -> Option<Dtype> {
    Some(match value.kind.as_ref()? {
        Kind::NullValue(_) => return None,
        Kind::BoolValue(_) => Dtype::Bool,
        Kind::Int64Value(_) => Dtype::Int64,
        Kind::Float64Value(_) => Dtype::Float64,
        Kind::Float32Value(_) => Dtype::Float32,
        Kind::StringValue(_) => Dtype::String,
        Kind::BytesValue(_) => Dtype::Bytes,
        Kind::TimestampValue(_) => Dtype::Timestamp,
        Kind::JsonValue(_) => Dtype::Json,
        Kind::ListValue(list) => Dtype::List(lens(list).into_iter().find(|(_, len)| *len > 0)?.0),
        Kind::DecimalValue(digits) => Dtype::Decimal(DecimalType::shown_by(digits)?),
    })
}

/// A value as the contract has it; `None` is null.
pub fn value_to(value: Option<&Value>) -> proto::Value {
    match value {
        None => proto::Value { kind: Some(Kind::NullValue(true)) },
        Some(value) => value_ref_to(value.into()),
    }
}

/// A value that lies somewhere else.
pub fn value_ref_to(value: ValueRef<'_>) -> proto::Value {
    let kind = match value {
        ValueRef::Bool(v) => Kind::BoolValue(v),
        ValueRef::Int64(v) => Kind::Int64Value(v),
        ValueRef::Float64(v) => Kind::Float64Value(v),
        ValueRef::Float32(v) => Kind::Float32Value(v),
        ValueRef::String(v) => Kind::StringValue(v.to_owned()),
        ValueRef::Bytes(v) => Kind::BytesValue(v.to_owned()),
        ValueRef::Timestamp(v) => Kind::TimestampValue(timestamp_to(v)),
        ValueRef::Json(v) => Kind::JsonValue(v.to_owned()),
        ValueRef::List(v) => Kind::ListValue(list_to(&v)),
        ValueRef::Decimal(v) => Kind::DecimalValue(v.to_string()),
    };
    proto::Value { kind: Some(kind) }
}

/// How many elements of each type a list holds.
fn lens(list: &proto::List) -> [(Element, usize); 7] {
    [
        (Element::Bool, list.bools.len()),
        (Element::Int64, list.int64s.len()),
        (Element::Float64, list.float64s.len()),
        (Element::Float32, list.float32s.len()),
        (Element::String, list.strings.len()),
        (Element::Bytes, list.bytes_values.len()),
        (Element::Timestamp, list.timestamps_us.len()),
    ]
}

/// A list of the contract whose elements must be of this type.
pub fn list_from(list: proto::List, element: Element) -> Result<List, String> {
    let nulls = &list.null_positions;
    if !nulls.is_sorted_by(|a, b| a < b) {
        return Err("null_positions must ascend".into());
    }
    let arrays = lens(&list);
    for (given, len) in arrays {
        if given != element && len > 0 {
            let (given, wanted) = (given.dtype(), element.dtype());
            return Err(format!("expected a list of {wanted}, got one of {given}"));
        }
    }
    let len = arrays.iter().map(|(_, len)| len).sum::<usize>();
    if nulls.last().is_some_and(|last| *last as usize >= len) {
        return Err("null_positions must lie within the list".into());
    }
    fn with_nulls<T>(values: Vec<T>, nulls: &[u32]) -> Vec<Option<T>> {
        let mut items: Vec<Option<T>> = values.into_iter().map(Some).collect();
        nulls.iter().for_each(|position| items[*position as usize] = None);
        items
    }
    Ok(match element {
        Element::Bool => List::Bool(with_nulls(list.bools, nulls)),
        Element::Int64 => List::Int64(with_nulls(list.int64s, nulls)),
        Element::Float64 => List::Float64(with_nulls(list.float64s, nulls)),
        Element::Float32 => List::Float32(with_nulls(list.float32s, nulls)),
        Element::String => List::String(with_nulls(list.strings, nulls)),
        Element::Bytes => List::Bytes(with_nulls(list.bytes_values, nulls)),
        Element::Timestamp => {
            let moments = list.timestamps_us.into_iter().map(|micros| {
                Timestamp::from_micros(micros).ok_or_else(|| {
                    format!("{micros} µs is outside the years 1 to 9999 (list timestamps are microseconds)")
                })
            });
            List::Timestamp(with_nulls(moments.collect::<Result<_, _>>()?, nulls))
        }
    })
}

/// A list as the contract has it.
pub fn list_to(list: &List) -> proto::List {
    fn split<T: Clone, U>(
        items: &[Option<T>],
        placeholder: &T,
        nulls: &mut Vec<u32>,
        to: impl Fn(T) -> U,
    ) -> Vec<U> {
        let mut values = Vec::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            if item.is_none() {
                nulls.push(position as u32);
            }
            values.push(to(item.as_ref().unwrap_or(placeholder).clone()));
        }
        values
    }
    let mut out = proto::List::default();
    let nulls = &mut out.null_positions;
    match list {
        List::Bool(items) => out.bools = split(items, &false, nulls, |v| v),
        List::Int64(items) => out.int64s = split(items, &0, nulls, |v| v),
        List::Float64(items) => out.float64s = split(items, &0.0, nulls, |v| v),
        List::Float32(items) => out.float32s = split(items, &0.0, nulls, |v| v),
        List::String(items) => out.strings = split(items, &String::new(), nulls, |v| v),
        List::Bytes(items) => out.bytes_values = split(items, &Vec::new(), nulls, |v| v),
        List::Timestamp(items) => {
            out.timestamps_us = split(items, &Timestamp::from_stored(0), nulls, Timestamp::micros);
        }
    }
    out
}

const DTYPES: [(Dtype, proto::Dtype); 15] = [
    (Dtype::Bool, proto::Dtype::Bool),
    (Dtype::Int64, proto::Dtype::Int64),
    (Dtype::Float64, proto::Dtype::Float64),
    (Dtype::Float32, proto::Dtype::Float32),
    (Dtype::String, proto::Dtype::String),
    (Dtype::Bytes, proto::Dtype::Bytes),
    (Dtype::Timestamp, proto::Dtype::Timestamp),
    (Dtype::Json, proto::Dtype::Json),
    (Dtype::List(Element::Bool), proto::Dtype::BoolList),
    (Dtype::List(Element::Int64), proto::Dtype::Int64List),
    (Dtype::List(Element::Float64), proto::Dtype::Float64List),
    (Dtype::List(Element::Float32), proto::Dtype::Float32List),
    (Dtype::List(Element::String), proto::Dtype::StringList),
    (Dtype::List(Element::Bytes), proto::Dtype::BytesList),
    (Dtype::List(Element::Timestamp), proto::Dtype::TimestampList),
];

/// A dtype by its number and, of a decimal, its digits.
pub fn dtype_from(dtype: i32, decimal: Option<proto::DecimalType>) -> Result<Dtype> {
    let is_decimal = dtype == proto::Dtype::Decimal as i32;
    match decimal {
        Some(of) if is_decimal => {
            let of = DecimalType::new(of.precision, of.scale);
            return of.map(Dtype::Decimal).map_err(|why| Error::invalid("decimal_type", why));
        }
        None if is_decimal => {
            let message = "a decimal needs a precision and a scale: of decimal(18,2) they are 18 and 2";
            return Err(Error::invalid("decimal_type", message));
        }
        Some(_) => return Err(Error::invalid("decimal_type", "only DTYPE_DECIMAL has a decimal_type")),
        None => {}
    }
    let found = DTYPES.iter().find(|(_, known)| *known as i32 == dtype);
    found.map(|(dtype, _)| *dtype).ok_or_else(|| Error::invalid("dtype", format!("{dtype} is not a dtype")))
}

/// The number of a dtype; of a decimal, [`decimal_to`] gives the rest.
pub fn dtype_to(dtype: Dtype) -> proto::Dtype {
    if dtype.decimal().is_some() {
        return proto::Dtype::Decimal;
    }
    let found = DTYPES.iter().find(|(known, _)| *known == dtype);
    found.map(|(_, dtype)| *dtype).expect("every dtype has its number")
}

pub fn decimal_to(dtype: Dtype) -> Option<proto::DecimalType> {
    let of = dtype.decimal()?;
    Some(proto::DecimalType { precision: of.precision().into(), scale: of.scale().into() })
}

/// A span that is not negative and nothing finer than a microsecond.
pub fn duration_from(span: prost_types::Duration, field: &str) -> Result<Duration> {
    let refused = || {
        let message =
            "a duration here lies between 0 and 10000 years, and is nothing finer than a microsecond";
        Error::invalid(field, message)
    };
    let nanos = i64::from(span.nanos);
    if !(0..1_000_000_000).contains(&nanos) || nanos % 1_000 != 0 {
        return Err(refused());
    }
    let micros = span.seconds.checked_mul(1_000_000).and_then(|micros| micros.checked_add(nanos / 1_000));
    micros.and_then(Duration::from_micros).ok_or_else(refused)
}

pub fn duration_to(span: Duration) -> prost_types::Duration {
    let micros = span.micros();
    prost_types::Duration { seconds: micros / 1_000_000, nanos: (micros % 1_000_000 * 1_000) as i32 }
}

pub fn timestamp_from(time: prost_types::Timestamp, round: Round, field: &str) -> Result<Timestamp> {
    Timestamp::from_seconds_nanos(time.seconds, time.nanos, round).map_err(|why| Error::invalid(field, why))
}

pub fn timestamp_to(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.seconds(), nanos: time.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::columns::tests::value;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_keep_their_way(values in Dtype::all().map(value).collect::<Vec<_>>()) {
            for (value, dtype) in values.iter().zip(Dtype::all()) {
                let back = value_from(value_to(Some(value)), dtype).unwrap();
                prop_assert_eq!(back.as_ref(), Some(value));
            }
        }
    }

    #[test]
    fn types_and_nulls_are_checked() {
        assert_eq!(value_from(value_to(None), Dtype::Bool), Ok(None));
        let refused = [
            (None, Dtype::Bool),
            (Some(Kind::NullValue(false)), Dtype::Bool),
            (Some(Kind::Int64Value(1)), Dtype::Float64),
            (Some(Kind::Float64Value(1.0)), Dtype::Float32),
            (Some(Kind::StringValue("{}".into())), Dtype::Json),
            (Some(Kind::JsonValue("{".into())), Dtype::Json),
            (Some(Kind::JsonValue("1".into())), Dtype::Int64),
            (Some(Kind::ListValue(proto::List { int64s: vec![1], ..Default::default() })), Dtype::Int64),
            (
                Some(Kind::ListValue(proto::List { int64s: vec![1], ..Default::default() })),
                Dtype::List(Element::Float64),
            ),
            (
                Some(Kind::ListValue(proto::List {
                    int64s: vec![1],
                    null_positions: vec![1],
                    ..Default::default()
                })),
                Dtype::List(Element::Int64),
            ),
            (
                Some(Kind::ListValue(proto::List {
                    int64s: vec![1, 2],
                    null_positions: vec![1, 0],
                    ..Default::default()
                })),
                Dtype::List(Element::Int64),
            ),
            (Some(Kind::TimestampValue(prost_types::Timestamp { seconds: 0, nanos: -1 })), Dtype::Timestamp),
            (Some(Kind::DecimalValue("1".into())), Dtype::Int64),
            (Some(Kind::DecimalValue("1.005".into())), "decimal(18,2)".parse().unwrap()),
            (Some(Kind::StringValue("1".into())), "decimal(18,2)".parse().unwrap()),
            (Some(Kind::Int64Value(1)), "decimal(18,2)".parse().unwrap()),
        ];
        for (kind, dtype) in refused {
            assert!(value_from(proto::Value { kind: kind.clone() }, dtype).is_err(), "{kind:?} as {dtype}");
        }
    }

    #[test]
    fn every_dtype_has_its_number() {
        for dtype in Dtype::all() {
            assert_eq!(dtype_from(dtype_to(dtype) as i32, decimal_to(dtype)).unwrap(), dtype);
        }
        let decimal = |precision, scale| Some(proto::DecimalType { precision, scale });
        let decimal_number = proto::Dtype::Decimal as i32;
        for (number, of) in [
            (0, None),
            (99, None),
            (decimal_number, None),
            (decimal_number, decimal(0, 0)),
            (decimal_number, decimal(39, 0)),
            (decimal_number, decimal(4, 5)),
            (proto::Dtype::Int64 as i32, decimal(4, 2)),
        ] {
            assert!(dtype_from(number, of).is_err(), "{number} {of:?}");
        }
    }
}
