//! Values, and the three states of a cell.

use super::{Dtype, Element, Timestamp};
use serde::{Deserialize, Serialize};

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
            _ => true,
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
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(self)
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
}
