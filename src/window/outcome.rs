//! What a function gives for a window, before a dtype holds it.

use crate::feature::{Cell, Value};

pub enum Outcome {
    None,
    Float(f64),
    Value(Value),
    /// Beyond what the dtype can hold.
    TooLarge,
}

impl Outcome {
    pub fn int(value: i128) -> Self {
        i64::try_from(value).map_or(Outcome::TooLarge, |value| Outcome::Value(Value::Int64(value)))
    }

    pub fn into_cell(self) -> Cell {
        match self {
            Outcome::None | Outcome::TooLarge => Cell::Null,
            // −0.0 is stored as 0.0.
            Outcome::Float(v) => Cell::Value(Value::Float64(v + 0.0)),
            Outcome::Value(value) => Cell::Value(value),
        }
    }
}
