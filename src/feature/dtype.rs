//! The types that a feature can have, and their Arrow types.

#![deny(clippy::wildcard_enum_match_arm)]

use super::DecimalType;
use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

/// The type of a feature. Never changes within a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dtype {
    Bool,
    Int64,
    Float64,
    Float32,
    String,
    Bytes,
    /// UTC microseconds.
    Timestamp,
    /// Canonical JSON text.
    Json,
    List(Element),
    Decimal(DecimalType),
}

/// What a list can hold: every scalar type but JSON and decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Element {
    Bool,
    Int64,
    Float64,
    Float32,
    String,
    Bytes,
    Timestamp,
}

impl Element {
    pub const ALL: [Element; 7] = [
        Element::Bool,
        Element::Int64,
        Element::Float64,
        Element::Float32,
        Element::String,
        Element::Bytes,
        Element::Timestamp,
    ];

    pub fn dtype(self) -> Dtype {
        match self {
            Element::Bool => Dtype::Bool,
            Element::Int64 => Dtype::Int64,
            Element::Float64 => Dtype::Float64,
            Element::Float32 => Dtype::Float32,
            Element::String => Dtype::String,
            Element::Bytes => Dtype::Bytes,
            Element::Timestamp => Dtype::Timestamp,
        }
    }
}

impl Dtype {
    /// Every dtype, scalars before lists; of decimals a few that are unlike each other.
    pub fn all() -> impl Iterator<Item = Dtype> {
        let decimal = |(p, s)| Dtype::Decimal(DecimalType::new(p, s).expect("these are within the bounds"));
        Dtype::without_parameters().chain([(1, 0), (18, 2), (38, 38), (38, 0)].map(decimal))
    }

    fn without_parameters() -> impl Iterator<Item = Dtype> {
        Element::ALL
            .into_iter()
            .map(Element::dtype)
            .chain([Dtype::Json])
            .chain(Element::ALL.into_iter().map(Dtype::List))
    }

    /// The name in JSON and YAML: `float64`, `list<float32>`, `decimal(18,2)`.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Dtype::Bool => "bool",
            Dtype::Int64 => "int64",
            Dtype::Float64 => "float64",
            Dtype::Float32 => "float32",
            Dtype::String => "string",
            Dtype::Bytes => "bytes",
            Dtype::Timestamp => "timestamp",
            Dtype::Json => "json",
            Dtype::List(Element::Bool) => "list<bool>",
            Dtype::List(Element::Int64) => "list<int64>",
            Dtype::List(Element::Float64) => "list<float64>",
            Dtype::List(Element::Float32) => "list<float32>",
            Dtype::List(Element::String) => "list<string>",
            Dtype::List(Element::Bytes) => "list<bytes>",
            Dtype::List(Element::Timestamp) => "list<timestamp>",
            Dtype::Decimal(of) => return Cow::Owned(of.to_string()),
        })
    }

    /// What a list holds.
    pub fn element(self) -> Option<Element> {
        match self {
            Dtype::List(element) => Some(element),
            Dtype::Bool
            | Dtype::Int64
            | Dtype::Float64
            | Dtype::Float32
            | Dtype::String
            | Dtype::Bytes
            | Dtype::Timestamp
            | Dtype::Json
            | Dtype::Decimal(_) => None,
        }
    }

    /// What a decimal has room for.
    pub fn decimal(self) -> Option<DecimalType> {
        match self {
            Dtype::Decimal(of) => Some(of),
            Dtype::Bool
            | Dtype::Int64
            | Dtype::Float64
            | Dtype::Float32
            | Dtype::String
            | Dtype::Bytes
            | Dtype::Timestamp
            | Dtype::Json
            | Dtype::List(_) => None,
        }
    }

    /// The same, and of two decimals one that holds as many digits after the point as either.
    pub fn with_room_for(self, other: Dtype) -> Dtype {
        match (self.decimal(), other.decimal()) {
            (Some(own), Some(other)) if other.scale() > own.scale() => Dtype::Decimal(other),
            _ => self,
        }
    }

    /// Bytes of a value in a column, where all of them take the same.
    pub fn width(self) -> Option<usize> {
        match self {
            Dtype::Bool => Some(1),
            Dtype::Float32 => Some(4),
            Dtype::Int64 | Dtype::Float64 | Dtype::Timestamp => Some(8),
            Dtype::Decimal(_) => Some(16),
            Dtype::String | Dtype::Bytes | Dtype::Json | Dtype::List(_) => None,
        }
    }

    /// Whether its values have a least, a greatest and a mean.
    pub fn is_number(self) -> bool {
        match self {
            Dtype::Int64 | Dtype::Float64 | Dtype::Float32 | Dtype::Decimal(_) => true,
            Dtype::Bool | Dtype::String | Dtype::Bytes | Dtype::Timestamp | Dtype::Json | Dtype::List(_) => {
                false
            }
        }
    }

    /// Whether a column of this Arrow type has values of this dtype; one that does not fit is an error, never another
    /// value.
    pub fn takes(self, column: &DataType) -> bool {
        use DataType::*;
        let bytes = matches!(column, Binary | LargeBinary | BinaryView | FixedSizeBinary(_));
        let text = matches!(column, Utf8 | LargeUtf8 | Utf8View);
        if *column == Null {
            return true;
        }
        match self {
            Dtype::Bool => *column == Boolean,
            Dtype::Int64 => column.is_integer(),
            Dtype::Float64 | Dtype::Float32 => column.is_integer() || column.is_floating(),
            Dtype::String | Dtype::Json => text,
            Dtype::Bytes => bytes,
            Dtype::Timestamp => matches!(column, Timestamp(_, Some(_))),
            Dtype::Decimal(_) => column.is_integer() || column.is_decimal(),
            Dtype::List(element) => {
                matches!(column, List(item) | LargeList(item) | FixedSizeList(item, _)
                    if element.dtype().takes(item.data_type()))
            }
        }
    }

    /// The Arrow type of a column of this dtype.
    pub fn arrow(self) -> DataType {
        match self {
            Dtype::Bool => DataType::Boolean,
            Dtype::Int64 => DataType::Int64,
            Dtype::Float64 => DataType::Float64,
            Dtype::Float32 => DataType::Float32,
            Dtype::String | Dtype::Json => DataType::Utf8,
            Dtype::Bytes => DataType::Binary,
            Dtype::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Dtype::List(element) => {
                DataType::List(Arc::new(Field::new_list_field(element.dtype().arrow(), true)))
            }
            Dtype::Decimal(of) => DataType::Decimal128(of.precision(), of.scale() as i8),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl FromStr for Dtype {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let parameters =
            |prefix, suffix| name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        if let Some(parameters) = parameters("decimal(", ")") {
            return DecimalType::from_parameters(parameters).map(Dtype::Decimal);
        }
        if parameters("list<decimal", ">").is_some() {
            return Err(format!(
                "{name:?} is not a dtype: a list holds no decimals; use list<int64> and count in the smallest unit \
                 (cents), or json"
            ));
        }
        Dtype::without_parameters().find(|dtype| dtype.name() == name).ok_or_else(|| {
            format!(
                "{name:?} is not a dtype; use bool, int64, float64, float32, string, bytes, timestamp, json, \
                 decimal(P,S) or list<…>"
            )
        })
    }
}
