//! Values as natural JSON, and back.
//!
//! Out: integers with all their digits (or as strings where the caller asks), floats as their shortest text, NaN and
//! infinities as strings, bytes as base64, timestamps as RFC 3339 in UTC, json as it lies, lists with their nulls.
//! In: by the dtype of the feature; nothing passes through a double on its way to an int64.

mod read;
mod value;
mod write;

pub use crate::feature::json::{read_id, read_timestamp};
pub use read::{read_duration, read_float64, read_int64, read_string_map, read_strings, read_u64};
pub use value::{parse_text, read_value};
pub use write::{Int64Form, JsonWriter};

use base64::{
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::Result,
        feature::{
            Cell, ColumnBuilder, Dtype, Element, List, PackedRow, Timestamp, Value, columns::tests::value,
            json::JsonReader, row, value::LIST_ELEMENTS_MAX,
        },
    };
    use proptest::prelude::*;

    fn write(value: &Value, int64: Int64Form) -> String {
        let mut out = Vec::new();
        JsonWriter { out: &mut out, int64 }.value(Some(value));
        String::from_utf8(out).unwrap()
    }

    fn read(text: &str, dtype: Dtype) -> Result<Option<Value>> {
        JsonReader::read(text.as_bytes(), |reader| read_value(reader, dtype))
    }

    #[test]
    fn a_moment_sent_as_a_number_hears_how_to_send_it() {
        for number in ["1764374400", "1764374400000", "1764374400.5"] {
            let refused = read(number, Dtype::Timestamp).unwrap_err().to_string();
            assert!(refused.contains(number) && refused.contains("RFC 3339"), "{refused}");
        }
    }

    #[test]
    fn values_go_out_as_people_write_them() {
        for (value, text) in [
            (Value::Int64(i64::MAX), "9223372036854775807"),
            (Value::Int64(i64::MIN), "-9223372036854775808"),
            (Value::Float64(99.99), "99.99"),
            (Value::Float64(f64::NAN), "\"NaN\""),
            (Value::Float64(f64::NEG_INFINITY), "\"-Infinity\""),
            (Value::Float32(0.1), "0.1"),
            (Value::Float32(16_777_216.0), "16777216.0"),
            (Value::Float32(f32::INFINITY), "\"Infinity\""),
            (Value::Bytes(vec![0, 255, 1]), "\"AP8B\""),
            (Value::Timestamp(Timestamp::from_stored(500_000)), "\"1970-01-01T00:00:00.500Z\""),
            (Value::Json("{\"a\":[1]}".into()), "{\"a\":[1]}"),
            (Value::List(List::Int64(vec![Some(1), None])), "[1,null]"),
            (Value::List(List::String(vec![])), "[]"),
        ] {
            assert_eq!(write(&value, Int64Form::Number), text);
        }
        let ints = Value::List(List::Int64(vec![Some(i64::MAX), None]));
        assert_eq!(write(&ints, Int64Form::String), "[\"9223372036854775807\",null]");
    }

    #[test]
    fn values_come_in_by_their_dtype() {
        for (text, dtype, expected) in [
            ("\"-9223372036854775808\"", Dtype::Int64, Value::Int64(i64::MIN)),
            ("3", Dtype::Float64, Value::Float64(3.0)),
            ("0.1", Dtype::Float32, Value::Float32(0.1)),
            ("\"AP8B\"", Dtype::Bytes, Value::Bytes(vec![0, 255, 1])),
            ("\"AA\"", Dtype::Bytes, Value::Bytes(vec![0])),
            ("{\"b\":1, \"a\":2}", Dtype::Json, Value::Json("{\"a\":2,\"b\":1}".into())),
            ("[true,null]", Dtype::List(Element::Bool), Value::List(List::Bool(vec![Some(true), None]))),
        ] {
            assert_eq!(read(text, dtype).unwrap(), Some(expected), "{text}");
        }
        assert_eq!(read("null", Dtype::Json).unwrap(), None);
        for (text, dtype) in [
            ("1.0", Dtype::Int64),
            ("1e3", Dtype::Int64),
            ("9223372036854775808", Dtype::Int64),
            ("\"+1\"", Dtype::Int64),
            ("\"\"", Dtype::Int64),
            ("true", Dtype::Int64),
            ("\"1.5\"", Dtype::Float64),
            ("1e400", Dtype::Float64),
            ("1e39", Dtype::Float32),
            ("1", Dtype::Bool),
            ("1", Dtype::String),
            ("\"a-_\"", Dtype::Bytes),
            ("\"2024-01-15T14:22:00\"", Dtype::Timestamp),
            ("1705328520", Dtype::Timestamp),
            ("[[1]]", Dtype::List(Element::Int64)),
            ("1", Dtype::List(Element::Int64)),
        ] {
            assert!(read(text, dtype).is_err(), "{text} as {dtype}");
        }
        let error = read("[1,2,\"x\"]", Dtype::List(Element::Int64)).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("[2]"));
    }

    #[test]
    fn fields_of_text_follow_the_dtype() {
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
            assert_eq!(parse_text(field, dtype).unwrap(), Some(value), "{field}");
        }
        assert_eq!(parse_text("", Dtype::String).unwrap(), None);
        for (field, dtype) in
            [("1.0", Dtype::Int64), ("x", Dtype::Float64), ("1e400", Dtype::Float64), ("1", Dtype::Bool)]
        {
            assert!(parse_text(field, dtype).is_err(), "{field}");
        }
    }

    #[test]
    fn lists_and_depth_at_their_bounds() {
        let list = |len: usize| format!("[{}]", vec!["1"; len].join(","));
        assert!(read(&list(LIST_ELEMENTS_MAX), Dtype::List(Element::Int64)).is_ok());
        assert!(read(&list(LIST_ELEMENTS_MAX + 1), Dtype::List(Element::Int64)).is_err());
    }

    proptest! {
        #[test]
        fn values_read_back(values in Dtype::all().map(value).collect::<Vec<_>>()) {
            for (value, dtype) in values.iter().zip(Dtype::all()) {
                if format!("{value:?}").contains("\\0") {
                    continue;
                }
                for form in [Int64Form::Number, Int64Form::String] {
                    let text = write(value, form);
                    prop_assert_eq!(&read(&text, dtype).unwrap(), &Some(value.clone()), "{}", text);
                }
            }
        }

        #[test]
        fn packed_rows_and_columns_write_the_same(values in Dtype::all().map(value).collect::<Vec<_>>()) {
            let cells: Vec<Cell> = values.iter().cloned().map(Cell::Value).collect();
            let packed = row::pack(&cells);
            for (i, (value, dtype)) in values.iter().zip(Dtype::all()).enumerate() {
                let mut column = ColumnBuilder::new(dtype, 1);
                column.push_value(value);
                let expected = write(value, Int64Form::Number);
                let (mut from_packed, mut from_arrow) = (Vec::new(), Vec::new());
                JsonWriter::new(&mut from_packed).packed(PackedRow::new(&packed).unwrap(), i, dtype);
                JsonWriter::new(&mut from_arrow).arrow(&column.finish().values, 0, dtype);
                prop_assert_eq!(String::from_utf8(from_packed).unwrap(), expected.clone());
                prop_assert_eq!(String::from_utf8(from_arrow).unwrap(), expected);
            }
        }
    }
}
