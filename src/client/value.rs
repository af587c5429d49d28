//! Values between the contract and the vocabulary, as a client needs them.

use crate::{
    feature::{Dtype, Element, List, Round, Timestamp, Value},
    wire::proto::{self, value::Kind},
};

/// A value as requests carry it.
pub fn to_proto(value: Value) -> proto::Value {
    let kind = match value {
        Value::Bool(v) => Kind::BoolValue(v),
        Value::Int64(v) => Kind::Int64Value(v),
        Value::Float64(v) => Kind::Float64Value(v),
        Value::Float32(v) => Kind::Float32Value(v),
        Value::String(v) => Kind::StringValue(v),
        Value::Bytes(v) => Kind::BytesValue(v),
        Value::Timestamp(v) => {
            Kind::TimestampValue(prost_types::Timestamp { seconds: v.seconds(), nanos: v.subsec_nanos() })
        }
        Value::Json(v) => Kind::JsonValue(v),
        Value::List(v) => Kind::ListValue(list_to_proto(v)),
    };
    proto::Value { kind: Some(kind) }
}

/// Null as requests carry it.
pub fn null() -> proto::Value {
    proto::Value { kind: Some(Kind::NullValue(true)) }
}

/// A value as answers carry it; `None` is null. `dtype` is the feature's: an empty list does not tell its own.
pub fn from_proto(value: &proto::Value, dtype: Dtype) -> Option<Value> {
    Some(match value.kind.as_ref()? {
        Kind::NullValue(_) => return None,
        Kind::BoolValue(v) => Value::Bool(*v),
        Kind::Int64Value(v) => Value::Int64(*v),
        Kind::Float64Value(v) => Value::Float64(*v),
        Kind::Float32Value(v) => Value::Float32(*v),
        Kind::StringValue(v) => Value::String(v.clone()),
        Kind::BytesValue(v) => Value::Bytes(v.clone()),
        Kind::TimestampValue(v) => {
            Value::Timestamp(Timestamp::from_seconds_nanos(v.seconds, v.nanos, Round::Down).ok()?)
        }
        Kind::JsonValue(v) => Value::Json(v.clone()),
        Kind::ListValue(v) => match dtype {
            Dtype::List(element) => Value::List(list_from_proto(v, element)),
            _ => return None,
        },
    })
}

/// The dtype that the contract's name stands for.
pub fn dtype(dtype: proto::Dtype) -> Option<Dtype> {
    Dtype::all().find(|known| dtype_to_proto(*known) == dtype)
}

/// The name that the contract has for a dtype.
pub fn dtype_to_proto(dtype: Dtype) -> proto::Dtype {
    use proto::Dtype as P;
    match dtype {
        Dtype::Bool => P::Bool,
        Dtype::Int64 => P::Int64,
        Dtype::Float64 => P::Float64,
        Dtype::Float32 => P::Float32,
        Dtype::String => P::String,
        Dtype::Bytes => P::Bytes,
        Dtype::Timestamp => P::Timestamp,
        Dtype::Json => P::Json,
        Dtype::List(Element::Bool) => P::BoolList,
        Dtype::List(Element::Int64) => P::Int64List,
        Dtype::List(Element::Float64) => P::Float64List,
        Dtype::List(Element::Float32) => P::Float32List,
        Dtype::List(Element::String) => P::StringList,
        Dtype::List(Element::Bytes) => P::BytesList,
        Dtype::List(Element::Timestamp) => P::TimestampList,
    }
}

fn list_to_proto(list: List) -> proto::List {
    fn filled<T: Default>(list: Vec<Option<T>>, nulls: &mut Vec<u32>) -> Vec<T> {
        nulls.extend((0u32..).zip(&list).filter(|(_, item)| item.is_none()).map(|(position, _)| position));
        list.into_iter().map(Option::unwrap_or_default).collect()
    }
    let mut out = proto::List::default();
    let nulls = &mut out.null_positions;
    match list {
        List::Bool(list) => out.bools = filled(list, nulls),
        List::Int64(list) => out.int64s = filled(list, nulls),
        List::Float64(list) => out.float64s = filled(list, nulls),
        List::Float32(list) => out.float32s = filled(list, nulls),
        List::String(list) => out.strings = filled(list, nulls),
        List::Bytes(list) => out.bytes_values = filled(list, nulls),
        List::Timestamp(list) => {
            let micros = list.into_iter().map(|item| item.map(Timestamp::micros));
            out.timestamps_us = filled(micros.collect(), nulls);
        }
    }
    out
}

pub(super) fn list_from_proto(list: &proto::List, element: Element) -> List {
    let mut nulls = list.null_positions.iter().map(|position| *position as usize).peekable();
    let mut is_null = move |position: usize| nulls.next_if_eq(&position).is_some();
    fn items<T: Clone>(values: &[T], mut is_null: impl FnMut(usize) -> bool) -> Vec<Option<T>> {
        values.iter().enumerate().map(|(i, value)| (!is_null(i)).then(|| value.clone())).collect()
    }
    match element {
        Element::Bool => List::Bool(items(&list.bools, is_null)),
        Element::Int64 => List::Int64(items(&list.int64s, is_null)),
        Element::Float64 => List::Float64(items(&list.float64s, is_null)),
        Element::Float32 => List::Float32(items(&list.float32s, is_null)),
        Element::String => List::String(items(&list.strings, is_null)),
        Element::Bytes => List::Bytes(items(&list.bytes_values, is_null)),
        Element::Timestamp => {
            let items = list.timestamps_us.iter().enumerate();
            List::Timestamp(
                items.map(|(i, micros)| (!is_null(i)).then_some(Timestamp::from_stored(*micros))).collect(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::columns::tests::value;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_go_there_and_back(values in Dtype::all().map(value).collect::<Vec<_>>()) {
            for value in values {
                prop_assert_eq!(from_proto(&to_proto(value.clone()), value.dtype()), Some(value));
            }
        }
    }

    #[test]
    fn dtypes_go_there_and_back() {
        assert!(Dtype::all().all(|known| dtype(dtype_to_proto(known)) == Some(known)));
        assert_eq!(from_proto(&null(), Dtype::Bool), None);
    }
}
