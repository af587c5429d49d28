//! serde's derive over the strict reader: a struct says the shape, the reader keeps its rules and its errors.
//!
//! For bodies that are read seldom. Errors name the field's path, as those of hand-written readers do.

use super::{JsonKind, JsonReader, double, short};
use crate::error::{Error, Result};
use serde::{
    de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};
use std::borrow::Cow;

/// The name of a newtype that is given a value's own JSON text, its nesting counted from itself.
pub const RAW: &str = "larder::json::Raw";

/// Reads all of `bytes` as a `T`.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    JsonReader::read(bytes, |reader| T::deserialize(Next(reader)))
}

/// The next value of a reader.
struct Next<'r, 'a>(&'r mut JsonReader<'a>);

impl<'de> Deserializer<'de> for Next<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0.peek()? {
            JsonKind::Null => self.0.take_null().and_then(|_| visitor.visit_unit()),
            JsonKind::Bool => visitor.visit_bool(self.0.boolean()?),
            JsonKind::Number => {
                let text = self.0.number()?;
                match text.parse() {
                    Ok(whole) => visitor.visit_i64(whole),
                    Err(_) => visitor.visit_f64(double(text)?),
                }
            }
            JsonKind::String => visitor.visit_str(&self.0.string()?),
            JsonKind::Array => self.deserialize_seq(visitor),
            JsonKind::Object => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_bool(self.0.boolean()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let text = self.0.number()?;
        let number = text.parse().map_err(|_| {
            Error::refused(format!("{} is not a whole number from 0 to {}", short(text), u32::MAX))
        });
        visitor.visit_u32(number?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_f64(double(self.0.number()?)?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_str(&self.0.string()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_str(&self.0.string()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.0.take_null()? { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        match name {
            RAW => visitor.visit_str(self.0.with_own_depth(JsonReader::raw)?),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.0.begin(JsonKind::Array)?;
        visitor.visit_seq(Elements { reader: self.0, index: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let first = self.0.begin(JsonKind::Object)?;
        visitor.visit_map(Members { reader: self.0, first, key: Cow::Borrowed("") })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
        ignored_any
    }
}

/// The elements of an array that was entered.
struct Elements<'r, 'a> {
    reader: &'r mut JsonReader<'a>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let index = self.index;
        if !self.reader.next_element(index == 0)? {
            return Ok(None);
        }
        self.index += 1;
        let element = seed.deserialize(Next(self.reader));
        element.map(Some).map_err(|error| error.within(format_args!("[{index}]")))
    }
}

/// The members of an object that was entered.
struct Members<'r, 'a> {
    reader: &'r mut JsonReader<'a>,
    /// Where the object's keys begin among those that the reader keeps.
    first: usize,
    key: Cow<'a, str>,
}

impl<'de> MapAccess<'de> for Members<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some(key) = self.reader.next_key(self.first)? else { return Ok(None) };
        self.key = key;
        seed.deserialize((&*self.key).into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        let value = seed.deserialize(Next(self.reader)).map_err(|error| error.within(&self.key))?;
        self.reader.end_member(std::mem::take(&mut self.key));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Shape {
        name: String,
        size: Option<u32>,
        ratio: f64,
        inner: Vec<Inner>,
        tags: BTreeMap<String, String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        on: bool,
    }

    #[test]
    fn a_struct_is_read() {
        let shape: Shape = from_json(
            br#" {"name": "\u00e9", "size": null, "ratio": 1e2, "inner": [{"on": true}, {"on": false}], "tags": {"a": "b"}} "#,
        )
        .unwrap();
        assert_eq!((shape.name.as_str(), shape.size, shape.ratio), ("é", None, 100.0));
        assert_eq!(shape.inner, [Inner { on: true }, Inner { on: false }]);
        assert_eq!(shape.tags["a"], "b");
    }

    #[test]
    fn what_is_refused_names_its_field() {
        for (text, field, words) in [
            (r#"{"nam": "x"}"#, Some("nam"), "not known here; the fields are name, size"),
            (r#"{"name": 5}"#, Some("name"), "expected a string, got a number"),
            (r#"{"size": 1.5}"#, Some("size"), "1.5 is not a whole number"),
            (r#"{"size": -1}"#, Some("size"), "-1 is not a whole number"),
            (
                r#"{"inner": [{"on": true}, {"on": null}]}"#,
                Some("inner[1].on"),
                "expected a boolean, got null",
            ),
            (r#"{"inner": [{}]}"#, Some("inner[0].on"), "missing"),
            (r#"{"inner": {}}"#, Some("inner"), "expected an array, got an object"),
            (r#"{"inner": [{"of": 1}]}"#, Some("inner[0].of"), "not known here"),
            (r#"{"name": "a", "n\u0061me": "b"}"#, Some("name"), "twice"),
            (r#"{"tags": {"a": "b", "a": "c"}}"#, Some("tags.a"), "twice"),
            (r#"{"tags": {"a": "\u0000"}}"#, Some("tags.a"), "NUL"),
            (r#"{"ratio": 1e400}"#, Some("ratio"), "range of doubles"),
            (r#"{"name": "a"} x"#, None, "nothing may follow"),
            (r#"{"name": "a""#, None, "cut short"),
            (r#"["name"]"#, None, "expected an object, got an array"),
        ] {
            let error = from_json::<Shape>(text.as_bytes()).unwrap_err();
            assert_eq!(error.field.as_deref(), field, "{text}: {error}");
            assert!(error.message.contains(words), "{text}: {error}");
        }
    }
}
