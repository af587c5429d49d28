//! What accumulators read from an event's field, once their class has taken it.

use crate::event::FieldValue;

pub fn float(value: FieldValue<'_>) -> f64 {
    match value {
        // One zero, so that equal values have equal bits.
        FieldValue::Float(value) | FieldValue::Digits(_, value) => value + 0.0,
        FieldValue::Int(value) => value as f64,
        _ => f64::NAN,
    }
}

pub fn integer(value: FieldValue<'_>) -> i64 {
    if let FieldValue::Int(value) = value { value } else { 0 }
}
