//! The types that a feature can have, and their Arrow types.

#![deny(clippy::wildcard_enum_match_arm)]

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

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
}

/// What a list can hold: every scalar type but JSON.
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
    /// Every dtype, scalars before lists.
    pub fn all() -> impl Iterator<Item = Dtype> {
        Element::ALL
            .into_iter()
            .map(Element::dtype)
            .chain([Dtype::Json])
            .chain(Element::ALL.into_iter().map(Dtype::List))
    }

    /// The name in JSON and YAML: `float64`, `list<float32>`.
    pub fn name(self) -> &'static str {
        match self {
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
        }
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
            | Dtype::Json => None,
        }
    }

    /// Bytes of a value in a column, where all of them take the same.
    pub fn width(self) -> Option<usize> {
        match self {
            Dtype::Bool => Some(1),
            Dtype::Float32 => Some(4),
            Dtype::Int64 | Dtype::Float64 | Dtype::Timestamp => Some(8),
            Dtype::String | Dtype::Bytes | Dtype::Json | Dtype::List(_) => None,
        }
    }

    /// Whether its values have a least, a greatest and a mean.
    pub fn is_number(self) -> bool {
        match self {
            Dtype::Int64 | Dtype::Float64 | Dtype::Float32 => true,
            Dtype::Bool | Dtype::String | Dtype::Bytes | Dtype::Timestamp | Dtype::Json | Dtype::List(_) => {
                false
            }
        }
    }

    /// Whether a column of this Arrow type can be cast to this dtype's own without loss, or with an error where a value
    /// does not fit.
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
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dtype {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Dtype::all().find(|dtype| dtype.name() == name).ok_or_else(|| {
            format!("{name:?} is not a dtype; use bool, int64, float64, float32, string, bytes, timestamp, json or list<…>")
        })
    }
}
