//! Query strings: percent-encoded, each name once, unknown names refused.

use crate::error::{Error, Result};
use percent_encoding::percent_decode_str;
use serde::{
    de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
};
use std::vec;

/// The parameters of a URL, in the order sent.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands after the question mark.
    pub fn parse(raw: Option<&str>) -> Result<Self> {
        let mut query = Self::default();
        for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value).map_err(|error| error.at(name))?);
            if query.0.iter().any(|(known, _)| *known == name) {
                return Err(Error::invalid(name, "this parameter is given twice"));
            }
            query.0.push((name, value));
        }
        Ok(query)
    }

    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes `true` or `false`; left out is false.
    pub fn take_flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(_) => Err(Error::invalid(name, "use true or false")),
        }
    }

    /// Refuses what was not taken.
    pub fn finish(self) -> Result<()> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(Error::invalid(name, "this parameter is not known here")),
            None => Ok(()),
        }
    }
}

/// Reads a query into a struct. Parameters that it has no member for are refused.
pub fn read<T: DeserializeOwned>(raw: Option<&str>) -> Result<T> {
    let (shape, rest) = read_open(raw)?;
    Query(rest).finish()?;
    Ok(shape)
}

/// Reads a query into a struct, and gives back the parameters that it has no member for.
pub fn read_open<T: DeserializeOwned>(raw: Option<&str>) -> Result<(T, Vec<(String, String)>)> {
    let mut rest = Query::parse(raw)?.0;
    let shape = T::deserialize(Parameters(&mut rest))?;
    Ok((shape, rest))
}

/// Parameters of a query; a struct takes those that it has members for.
struct Parameters<'a>(&'a mut Vec<(String, String)>);

impl<'de> Deserializer<'de> for Parameters<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_struct("", &[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let (known, rest) =
            std::mem::take(self.0).into_iter().partition(|(name, _)| fields.contains(&name.as_str()));
        *self.0 = rest;
        visitor.visit_map(Known { left: Vec::into_iter(known), text: String::new(), name: String::new() })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u64 u128 u32 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Parameters that a struct has members for. Errors name them.
struct Known {
    left: vec::IntoIter<(String, String)>,
    name: String,
    text: String,
}

impl<'de> MapAccess<'de> for Known {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some((name, text)) = self.left.next() else { return Ok(None) };
        (self.name, self.text) = (name, text);
        seed.deserialize(self.name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        seed.deserialize(Text(&self.text)).map_err(|error| error.at(&*self.name))
    }
}

/// The value of a parameter, which is never null.
struct Text<'a>(&'a str);

impl<'de> Deserializer<'de> for Text<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u64 u128 u32 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn decode(text: &str) -> Result<String> {
    let refused = || Error::refused("the URL holds text that is not percent-encoded UTF-8 without NUL");
    let escape = |at: usize| text.as_bytes().get(at + 1..at + 3);
    let is_sound = |at: usize| escape(at).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !memchr::memchr_iter(b'%', text.as_bytes()).all(is_sound) {
        return Err(refused());
    }
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().map_err(|_| refused())?;
    if decoded.contains('\0') { Err(refused()) } else { Ok(decoded.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feature::Timestamp,
        wire::control::{Edge, PageSize},
    };
    use serde::Deserialize;

    #[test]
    fn parameters_are_decoded() {
        let mut query = Query::parse(Some("a=1%202&b=%F0%9F%99%82+x&flag&=")).unwrap();
        assert_eq!(query.take("a").as_deref(), Some("1 2"));
        assert_eq!(query.take("b").as_deref(), Some("🙂 x"));
        assert_eq!(query.take_flag("flag"), Ok(true));
        assert_eq!(query.take_flag("flag"), Ok(false));
        assert!(query.finish().is_err());
        assert!(Query::parse(None).unwrap().finish().is_ok());
    }

    #[test]
    fn bad_parameters_are_refused() {
        for raw in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "a=1&a=2", "a=%+1"] {
            assert!(Query::parse(Some(raw)).is_err(), "{raw}");
        }
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Shape {
        name: String,
        page_size: PageSize,
        from: Option<Edge>,
    }

    #[test]
    fn a_struct_takes_its_parameters() {
        let shape: Shape = read(Some("name=a+b&page_size=-7&from=1970-01-01T00:00:00Z")).unwrap();
        assert_eq!((shape.name.as_str(), shape.page_size), ("a b", PageSize(-7)));
        assert_eq!(shape.from, Some(Edge(Timestamp::from_stored(0))));
        let (shape, rest) = read_open::<Shape>(Some("user=u1&name=x")).unwrap();
        assert_eq!((shape.name.as_str(), rest), ("x", vec![("user".into(), "u1".into())]));
        for (raw, field) in
            [("page_size=x", "page_size"), ("from=1", "from"), ("nam=x", "nam"), ("name=x&name=y", "name")]
        {
            assert_eq!(read::<Shape>(Some(raw)).unwrap_err().field.as_deref(), Some(field), "{raw}");
        }
    }
}
