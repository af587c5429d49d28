//! What an event holds in one field, as windows count it.

use crate::feature::Timestamp;

/// What an event holds in one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// Not there, or null.
    Missing,
    /// A JSON number without fraction and exponent that fits.
    Int(i64),
    /// Any other JSON number; finite.
    Float(f64),
    Bool(bool),
    Text(&'a str),
    /// Of the contract's messages; JSON has texts.
    Time(Timestamp),
    /// An object or array, or bytes.
    Other,
}
