//! JSON as a value: one canonical text, so that equal values have equal bytes in every store.
//!
//! Keys stand in byte order and only once. A number that is an int64 is written with all its digits, any other as the
//! shortest text of the nearest double. Strings escape only what they must. There is no space. What a JSONB column makes
//! of such a text reads back as the same text.

mod de;
mod read;
mod reader;

pub use de::{RAW, from_json};
pub use read::{read_id, read_timestamp};
pub use reader::{DEPTH_MAX, JsonKind, JsonReader, double, short};

use crate::error::Result;
use std::io::Write;

/// The canonical form of a JSON text.
pub fn canonical(text: &str) -> Result<String> {
    let mut out = Vec::with_capacity(text.len());
    JsonReader::read(text.as_bytes(), |reader| read_canonical(reader, &mut out))?;
    Ok(into_text(out))
}

/// Takes the next value of a body, its nesting counted from itself, in canonical form.
pub fn take_canonical(reader: &mut JsonReader<'_>) -> Result<String> {
    let mut out = Vec::new();
    reader.with_own_depth(|reader| read_canonical(reader, &mut out))?;
    Ok(into_text(out))
}

/// Writes a string with quotes; escapes only quotes, backslashes and control characters.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => write!(out, "\\u{byte:04x}").expect("writing to a Vec"),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends a text that is mostly short: up to 64 bytes go as two halves of fixed size that overlap, which are a few
/// moves. Copying just so many bytes is a call, and answers are made of such texts.
#[inline]
pub fn append(text: &[u8], out: &mut Vec<u8>) {
    match text.len() {
        8..16 => append_halves::<8>(text, out),
        16..32 => append_halves::<16>(text, out),
        32..=64 => append_halves::<32>(text, out),
        _ => out.extend_from_slice(text),
    }
}

#[inline]
fn append_halves<const HALF: usize>(text: &[u8], out: &mut Vec<u8>) {
    if let (Some(first), Some(last)) = (text.first_chunk::<HALF>(), text.last_chunk::<HALF>()) {
        let end = out.len() + text.len();
        out.extend_from_slice(first);
        out.truncate(end - HALF);
        out.extend_from_slice(last);
    }
}

fn into_text(out: Vec<u8>) -> String {
    String::from_utf8(out).expect("JSON is written as UTF-8")
}

fn read_canonical(reader: &mut JsonReader<'_>, out: &mut Vec<u8>) -> Result<()> {
    match reader.peek()? {
        JsonKind::Null | JsonKind::Bool => out.extend_from_slice(reader.raw()?.as_bytes()),
        JsonKind::Number => write_number(reader.number()?, out)?,
        JsonKind::String => write_string(&reader.string()?, out),
        JsonKind::Array => {
            out.push(b'[');
            reader.array(|reader, index| {
                if index > 0 {
                    out.push(b',');
                }
                read_canonical(reader, out)
            })?;
            out.push(b']');
        }
        JsonKind::Object => {
            let mut members: Vec<(String, Vec<u8>)> = Vec::new();
            reader.object(|reader, key| {
                let mut value = Vec::new();
                read_canonical(reader, &mut value)?;
                members.push((key.to_owned(), value));
                Ok(())
            })?;
            members.sort_unstable();
            out.push(b'{');
            for (i, (key, value)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                out.extend_from_slice(value);
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_number(text: &str, out: &mut Vec<u8>) -> Result<()> {
    const INT64_END: f64 = 9_223_372_036_854_775_808.0;
    if let Ok(int) = text.parse::<i64>() {
        write!(out, "{int}").expect("writing to a Vec");
        return Ok(());
    }
    let value = double(text)?;
    if value.fract() == 0.0 && (-INT64_END..INT64_END).contains(&value) {
        // `1.0`, `1e2` and `-0.0` are whole numbers too: JSONB cannot tell them apart either.
        write!(out, "{}", value as i64).expect("writing to a Vec");
    } else {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use serde_json::{Map, Value};

    #[test]
    fn one_text_for_equal_values() {
        for (input, output) in [
            (r#" { "b" : 1 , "a" : [ ] } "#, r#"{"a":[],"b":1}"#),
            (r#"{"a10":0,"a2":0,"é":0,"Z":0}"#, r#"{"Z":0,"a10":0,"a2":0,"é":0}"#),
            ("[1.0, 1e2, -0, -0.0, 0.10, 1E-7]", "[1,100,0,0,0.1,1e-7]"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("9223372036854775808", "9.223372036854776e+18"),
            ("9007199254740993", "9007199254740993"),
            ("123456789012345678901234567890", "1.2345678901234568e+29"),
            (r#""\u00e9\u0001\/\ud83d\ude42""#, "\"é\\u0001/🙂\""),
            ("null", "null"),
        ] {
            assert_eq!(canonical(input).unwrap(), output, "{input}");
        }
        assert!(canonical(r#"{"a":1,"\u0061":2}"#).is_err());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[^\0]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(Value::from),
                vec(("[^\0]{0,4}", inner), 0..5).prop_map(|members| Value::from(Map::from_iter(members))),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_is_final_and_means_the_same(value in json()) {
            let compact = canonical(&value.to_string()).unwrap();
            prop_assert_eq!(&canonical(&compact).unwrap(), &compact);
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(&canonical(&pretty).unwrap(), &compact);
            let again: Value = serde_json::from_str(&compact).unwrap();
            prop_assert!(same(&value, &again), "{value} became {compact}");
        }

        #[test]
        fn integers_keep_all_digits(int in any::<i64>()) {
            prop_assert_eq!(canonical(&int.to_string()).unwrap(), int.to_string());
        }

        #[test]
        fn any_text_never_panics(text in any::<String>()) {
            let _ = canonical(&text);
        }
    }

    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
            }
            (a, b) => a == b,
        }
    }
}
