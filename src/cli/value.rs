//! Values as people type and read them.

use crate::{
    feature::{Dtype, Duration, Element, Timestamp, Value, ValueRef},
    wire::{
        json::JsonWriter,
        proto,
        value::{dtype_from, own_dtype, value_from},
    },
};

/// As a table or a CSV field shows it: text as it is, the rest as JSON.
pub(super) fn text(value: &Value) -> String {
    if let Some(text) = ValueRef::from(value).text() {
        return text.to_owned();
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
    // An empty list shows no dtype; it counts as one of strings.
    let dtype = own_dtype(value).unwrap_or(Dtype::List(Element::String));
    value_from(value.clone(), dtype).ok().flatten()
}

/// The dtype of a feature that a server sent.
pub(super) fn dtype(definition: &proto::FeatureDefinition) -> Option<Dtype> {
    dtype_from(definition.dtype, definition.decimal_type).ok()
}

/// How long ago, in its two largest units: `3d 4h`.
pub(super) fn age(from: Timestamp, to: Timestamp) -> String {
    let micros = to.micros().saturating_sub(from.micros());
    Duration::from_micros(micros).map_or_else(|| "ahead".into(), Duration::rough)
}

#[cfg(test)]
mod tests {
    use super::*;

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
