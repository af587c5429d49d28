//! The forms that values of the control plane have in JSON.

use crate::{
    error::Error,
    feature::{
        CellStatus, Dtype, Duration, Round, Timestamp, Value,
        json::{JsonReader, RAW},
    },
    wire::{
        json::{Int64Form, JsonWriter, read_id, read_value},
        proto,
        value::{dtype_from, value_from},
    },
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// A timestamp of an answer: RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

/// A timestamp in a question about a moment: RFC 3339 with an offset, rounded down to a microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf(pub Timestamp);

/// A timestamp that bounds a range: RFC 3339 with an offset, rounded up to a microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge(pub Timestamp);

/// A duration of an answer, in the largest unit that divides it: `90s`, `5m`, `1h`, `7d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span(String);

/// JSON text as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    text: String,
    /// A number of a format whose numbers are doubles, so that digits may be lost.
    is_double: bool,
}

/// An entity's id: a string, or an integer that stands for its digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Id(pub String);

/// How many entries a page has; 0 = as many as it has by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageSize(pub i32);

/// Members of an object in an order of their own.
#[derive(Clone, Debug)]
pub struct Members<T>(pub Vec<(String, T)>);

impl Time {
    /// A moment of the contract. One that is no moment comes out as the first there is.
    fn of(time: prost_types::Timestamp) -> Self {
        Self(Timestamp::from_seconds_nanos(time.seconds, time.nanos, Round::Down).unwrap_or(Timestamp::MIN))
    }
}

impl Span {
    fn of(span: prost_types::Duration) -> Self {
        let micros = span.seconds.saturating_mul(1_000_000).saturating_add(i64::from(span.nanos) / 1_000);
        Self(Duration::from_micros(micros).map_or_else(|| format!("{micros}us"), |span| span.to_string()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Raw {
    /// A value of the contract as natural JSON, by the dtype of its feature. What is absent or null is null, and so is
    /// what has no such dtype.
    pub(super) fn value(value: Option<&proto::Value>, dtype: Option<Dtype>, int64: Int64Form) -> Self {
        let value = value.cloned().zip(dtype);
        let value = value.and_then(|(value, dtype)| value_from(value, dtype).ok().flatten());
        Self::written(value.as_ref(), int64)
    }

    /// A value as natural JSON; `None` is null.
    pub fn of(value: Option<&Value>) -> Self {
        Self::written(value, Int64Form::Number)
    }

    fn written(value: Option<&Value>, int64: Int64Form) -> Self {
        let mut out = Vec::new();
        JsonWriter { out: &mut out, int64 }.value(value);
        Self { text: String::from_utf8(out).expect("JSON is UTF-8"), is_double: false }
    }

    /// Reads it as a value of a dtype; `None` is null.
    pub(super) fn read(&self, dtype: Dtype) -> crate::error::Result<Option<Value>> {
        if self.is_double && dtype.decimal().is_some() {
            return Err(Error::refused("put a decimal in quotes, so that all its digits are kept: '0.10'"));
        }
        JsonReader::read(self.text.as_bytes(), |reader| read_value(reader, dtype))
    }
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Members<T> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes a shape of a message: members of the same name, each as it is or by a function.
macro_rules! from_message {
    ($message:ident => $shape:ident { $($member:ident $(: $with:path)?),* $(,)? }) => {
        impl From<$crate::wire::proto::$message> for $shape {
            fn from(message: $crate::wire::proto::$message) -> Self {
                Self { $($member: $crate::wire::control::forms::from_message!(@ message.$member $(, $with)?)),* }
            }
        }
    };
    (@ $value:expr) => { $value };
    (@ $value:expr, $with:path) => { $with($value) };
}
pub(super) use from_message;

pub(super) fn time(time: Option<prost_types::Timestamp>) -> Option<Time> {
    time.map(Time::of)
}

pub(super) fn span(span: Option<prost_types::Duration>) -> Option<Span> {
    span.map(Span::of)
}

pub(super) fn option<A, B: From<A>>(message: Option<A>) -> Option<B> {
    message.map(B::from)
}

/// Shapes of messages.
pub fn list<A, B: From<A>>(messages: Vec<A>) -> Vec<B> {
    messages.into_iter().map(B::from).collect()
}

/// The dtype of a message; `None` = of a later contract.
pub fn dtype(number: i32, decimal: Option<proto::DecimalType>) -> Option<Dtype> {
    dtype_from(number, decimal).ok()
}

/// A dtype of the contract by its name.
pub fn dtype_name(dtype: Option<Dtype>) -> String {
    dtype.map_or_else(|| "unknown".to_owned(), |dtype| dtype.to_string())
}

/// In the contract an empty text is none.
pub(super) fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// What an online read would call what a row holds, whatever its age.
pub fn status_of(value: Option<&proto::Value>) -> &'static str {
    let status = match value.map(|value| matches!(value.kind, Some(proto::value::Kind::NullValue(_)))) {
        None => CellStatus::NotFound,
        Some(true) => CellStatus::NullValue,
        Some(false) => CellStatus::Present,
    };
    status.name()
}

/// A number as JSON has it, and what JSON has no number for as a string.
pub(super) fn float<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        None => serializer.serialize_none(),
        Some(number) if number.is_finite() => serializer.serialize_f64(*number),
        Some(number) if number.is_nan() => serializer.serialize_str("NaN"),
        Some(number) => serializer.serialize_str(if *number > 0.0 { "Infinity" } else { "-Infinity" }),
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<T: Serialize> Serialize for Members<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, member) in &self.0 {
            map.serialize_entry(name, member)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for AsOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Moment(Round::Down)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Edge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Moment(Round::Up)).map(Self)
    }
}

/// Reads a timestamp, and says of a number how to send one.
struct Moment(Round);

impl Moment {
    fn number<E: de::Error>(number: impl fmt::Display) -> Result<Timestamp, E> {
        let expected = "send an RFC 3339 timestamp with an offset, such as 2024-01-15T14:22:00Z";
        Err(E::custom(format_args!("{number} is a number; {expected}")))
    }
}

impl de::Visitor<'_> for Moment {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 timestamp")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        Timestamp::parse(text, self.0).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Timestamp, E> {
        Self::number(number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Timestamp, E> {
        Self::number(number)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> de::Visitor<'de> for Text {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            /// The text of JSON.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw { text: text.to_owned(), is_double: false })
            }

            /// A value of another format.
            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                Ok(Raw { text: value.to_string(), is_double: value.is_f64() })
            }
        }
        deserializer.deserialize_newtype_struct(RAW, Text)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw { text, .. } = Raw::deserialize(deserializer)?;
        let id = JsonReader::read(text.as_bytes(), |reader| read_id(reader).map(Cow::into_owned));
        id.map(Self).map_err(|error: Error| de::Error::custom(error.message))
    }
}

impl<'de> Deserialize<'de> for PageSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let size = String::deserialize(deserializer)?.parse();
        size.map(Self).map_err(|_| de::Error::custom("page_size is a number from 1 to 1000"))
    }
}

/// Gives a form its schema, in place.
macro_rules! schema {
    ($form:ident, $schema:tt) => {
        impl JsonSchema for $form {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($form).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

schema!(Time, {"type": "string", "format": "date-time", "description": "RFC 3339 in UTC."});
schema!(AsOf, {"type": "string", "format": "date-time", "description": "RFC 3339 with an offset."});
schema!(Edge, {"type": "string", "format": "date-time", "description": "RFC 3339 with an offset."});
schema!(Span, {
    "type": "string",
    "pattern": "^[0-9]+(\\.[0-9]+)?(us|ms|s|m|h|d)$",
    "description": "A duration: 90s, 5m, 1h, 7d.",
    "examples": ["5m", "7d"]
});
schema!(Id, {"type": ["string", "integer"], "description": "An entity's id; an integer stands for its digits."});
schema!(Int64Form, {"type": "string", "enum": ["number", "string"], "default": "number"});
schema!(PageSize, {"type": "integer", "minimum": 0, "maximum": 1000, "description": "0 = 100."});

impl JsonSchema for Raw {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "A value of the feature's dtype, or null."})
    }
}

impl<T: JsonSchema> JsonSchema for Members<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Members_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": generator.subschema_for::<T>()})
    }
}

/// Stands for the name of a dtype in schemas.
pub struct DtypeName;

impl JsonSchema for DtypeName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Dtype".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Dtype::all().map(|dtype| dtype.to_string()).collect();
        json_schema!({"type": "string", "description": "The type of a feature.", "examples": names})
    }
}

/// Stands for the status of a cell in schemas.
pub struct CellStatusName;

impl JsonSchema for CellStatusName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CellStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = (1..).map_while(CellStatus::from_number).map(CellStatus::name).collect();
        json_schema!({"type": "string", "enum": names})
    }
}
