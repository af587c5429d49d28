//! What an event holds in one field, as windows count it.

use crate::feature::Timestamp;

/// What an event holds in one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// Not there, or null.
    Missing,
    /// A JSON number without fraction and exponent that fits.
    Int(i64),
    /// Another number that its double says exactly: one of up to 15 digits, or a double of the contract's. Finite.
    Float(f64),
    /// A JSON number of more digits, as it was sent, and the nearest double, which is finite.
    Digits(&'a str, f64),
    Bool(bool),
    Text(&'a str),
    /// Of the contract's messages; JSON has texts.
    Time(Timestamp),
    /// An object or array, or bytes.
    Other,
}
