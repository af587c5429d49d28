//! Values, owned and where they lie, and the three states of a cell.
//!
//! A form (packed rows, Arrow columns, JSON, protobuf) is read into a [`ValueRef`] in one place and written from one in
//! one place, so that a new dtype is an arm or two in the file of each form.

#![deny(clippy::wildcard_enum_match_arm)]

use super::{Decimal, Dtype, Element, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Longest string, bytes or json value, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Longest list, in elements.
pub const LIST_ELEMENTS_MAX: usize = 4_096;

/// A value that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Bool(bool),
    Int64(i64),
    Float64(f64),
    Float32(f32),
    String(String),
    Bytes(Vec<u8>),
    Timestamp(Timestamp),
    /// Canonical JSON text (see `feature::json`).
    Json(String),
    List(List),
    Decimal(Decimal),
}

/// A value where it lies: in a row, a column or a [`Value`].
#[derive(Clone, Debug, PartialEq)]
pub enum ValueRef<'a> {
    Bool(bool),
    Int64(i64),
    Float64(f64),
    Float32(f32),
    String(&'a str),
    Bytes(&'a [u8]),
    Timestamp(Timestamp),
    /// Canonical JSON text.
    Json(&'a str),
    List(Cow<'a, List>),
    Decimal(Decimal),
}

/// A list of one element type; elements may be null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum List {
    Bool(Vec<Option<bool>>),
    Int64(Vec<Option<i64>>),
    Float64(Vec<Option<f64>>),
    Float32(Vec<Option<f32>>),
    String(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Timestamp(Vec<Option<Timestamp>>),
}

/// What a row says about one feature.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// The row does not give the feature (it was added to the group later): reads NOT_FOUND.
    LeftOut,
    /// Written null: reads NULL_VALUE.
    Null,
    Value(Value),
}

impl Cell {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Cell::Value(value) => Some(value),
            Cell::Null | Cell::LeftOut => None,
        }
    }
}

impl Value {
    pub fn dtype(&self) -> Dtype {
        match self {
            Value::Bool(_) => Dtype::Bool,
            Value::Int64(_) => Dtype::Int64,
            Value::Float64(_) => Dtype::Float64,
            Value::Float32(_) => Dtype::Float32,
            Value::String(_) => Dtype::String,
            Value::Bytes(_) => Dtype::Bytes,
            Value::Timestamp(_) => Dtype::Timestamp,
            Value::Json(_) => Dtype::Json,
            Value::List(list) => Dtype::List(list.element()),
            Value::Decimal(v) => Dtype::Decimal(v.of()),
        }
    }

    /// Checks type, finiteness and size against what the feature allows, and makes −0.0 zero (JSONB would do so anyway).
    pub fn checked(mut self, dtype: Dtype, allow_non_finite: bool) -> Result<Self, String> {
        if self.dtype() != dtype {
            return Err(format!("expected {dtype}, got {}", self.dtype()));
        }
        let finite = match &mut self {
            Value::Float64(v) => finite64(v),
            Value::Float32(v) => finite32(v),
            Value::List(List::Float64(list)) => {
                list.iter_mut().flatten().fold(true, |all, v| finite64(v) & all)
            }
            Value::List(List::Float32(list)) => {
                list.iter_mut().flatten().fold(true, |all, v| finite32(v) & all)
            }
            Value::List(
                List::Bool(_) | List::Int64(_) | List::String(_) | List::Bytes(_) | List::Timestamp(_),
            )
            | Value::Bool(_)
            | Value::Int64(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::Timestamp(_)
            | Value::Json(_)
            | Value::Decimal(_) => true,
        };
        if !finite && !allow_non_finite {
            return Err(
                "NaN and infinities are refused unless the feature allows them (allow_non_finite)".into()
            );
        }
        let text_fits = |len: usize| match len {
            0..=TEXT_BYTES_MAX => Ok(()),
            _ => Err(format!("{len} bytes are over the limit of {TEXT_BYTES_MAX}")),
        };
        let text_ok = |text: &str| match text.contains('\0') {
            true => Err("text must not hold NUL".to_string()),
            false => text_fits(text.len()),
        };
        match &self {
            Value::String(text) | Value::Json(text) => text_ok(text)?,
            Value::Bytes(bytes) => text_fits(bytes.len())?,
            Value::List(list) => {
                if list.len() > LIST_ELEMENTS_MAX {
                    return Err(format!("{} elements are over the limit of {LIST_ELEMENTS_MAX}", list.len()));
                }
                match list {
                    List::String(texts) => texts.iter().flatten().try_for_each(|text| text_ok(text))?,
                    List::Bytes(items) => {
                        items.iter().flatten().try_for_each(|item| text_fits(item.len()))?
                    }
                    List::Bool(_)
                    | List::Int64(_)
                    | List::Float64(_)
                    | List::Float32(_)
                    | List::Timestamp(_) => {}
                }
            }
            Value::Bool(_)
            | Value::Int64(_)
            | Value::Float64(_)
            | Value::Float32(_)
            | Value::Timestamp(_)
            | Value::Decimal(_) => {}
        }
        Ok(self)
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Bool(v) => Self::Bool(*v),
            Value::Int64(v) => Self::Int64(*v),
            Value::Float64(v) => Self::Float64(*v),
            Value::Float32(v) => Self::Float32(*v),
            Value::String(v) => Self::String(v),
            Value::Bytes(v) => Self::Bytes(v),
            Value::Timestamp(v) => Self::Timestamp(*v),
            Value::Json(v) => Self::Json(v),
            Value::List(v) => Self::List(Cow::Borrowed(v)),
            Value::Decimal(v) => Self::Decimal(*v),
        }
    }
}

impl ValueRef<'_> {
    pub fn into_owned(self) -> Value {
        match self {
            Self::Bool(v) => Value::Bool(v),
            Self::Int64(v) => Value::Int64(v),
            Self::Float64(v) => Value::Float64(v),
            Self::Float32(v) => Value::Float32(v),
            Self::String(v) => Value::String(v.to_owned()),
            Self::Bytes(v) => Value::Bytes(v.to_owned()),
            Self::Timestamp(v) => Value::Timestamp(v),
            Self::Json(v) => Value::Json(v.to_owned()),
            Self::List(v) => Value::List(v.into_owned()),
            Self::Decimal(v) => Value::Decimal(v),
        }
    }

    /// A number as the nearest double; `None` = of no dtype of numbers.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int64(v) => Some(*v as f64),
            Self::Float64(v) => Some(*v),
            Self::Float32(v) => Some((*v).into()),
            Self::Decimal(v) => Some(v.to_f64()),
            Self::Bool(_)
            | Self::String(_)
            | Self::Bytes(_)
            | Self::Timestamp(_)
            | Self::Json(_)
            | Self::List(_) => None,
        }
    }

    /// Text that goes as it is, without quotes.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Json(text) => Some(text),
            Self::Bool(_)
            | Self::Int64(_)
            | Self::Float64(_)
            | Self::Float32(_)
            | Self::Bytes(_)
            | Self::Timestamp(_)
            | Self::List(_)
            | Self::Decimal(_) => None,
        }
    }

    /// What the value counts for in the limit on rows: its own bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Bool(_) | Self::Int64(_) | Self::Float64(_) | Self::Float32(_) | Self::Timestamp(_) => 8,
            Self::Decimal(_) => 16,
            Self::String(text) | Self::Json(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.size(),
        }
    }
}

/// One NaN and one zero, so that equal values have equal bytes.
fn finite64(v: &mut f64) -> bool {
    *v = if v.is_nan() { f64::NAN } else { *v + 0.0 };
    v.is_finite()
}

fn finite32(v: &mut f32) -> bool {
    *v = if v.is_nan() { f32::NAN } else { *v + 0.0 };
    v.is_finite()
}

impl List {
    pub fn element(&self) -> Element {
        match self {
            List::Bool(_) => Element::Bool,
            List::Int64(_) => Element::Int64,
            List::Float64(_) => Element::Float64,
            List::Float32(_) => Element::Float32,
            List::String(_) => Element::String,
            List::Bytes(_) => Element::Bytes,
            List::Timestamp(_) => Element::Timestamp,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            List::Bool(list) => list.len(),
            List::Int64(list) => list.len(),
            List::Float64(list) => list.len(),
            List::Float32(list) => list.len(),
            List::String(list) => list.len(),
            List::Bytes(list) => list.len(),
            List::Timestamp(list) => list.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn size(&self) -> usize {
        match self {
            List::Bool(items) => items.len(),
            List::Float32(items) => 4 * items.len(),
            List::String(items) => items.iter().map(|item| 4 + item.as_ref().map_or(0, String::len)).sum(),
            List::Bytes(items) => items.iter().map(|item| 4 + item.as_ref().map_or(0, Vec::len)).sum(),
            List::Int64(_) | List::Float64(_) | List::Timestamp(_) => 8 * self.len(),
        }
    }
}
