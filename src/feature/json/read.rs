//! Ids and moments, read by one rule wherever JSON names an entity or a time.

use super::{JsonKind, JsonReader, short};
use crate::{
    error::{Error, Result},
    feature::{Round, Timestamp},
};
use std::borrow::Cow;

/// An entity id; an integer stands for its decimal text.
pub fn read_id<'a>(reader: &mut JsonReader<'a>) -> Result<Cow<'a, str>> {
    match reader.peek()? {
        JsonKind::String => reader.string(),
        JsonKind::Number => {
            let text = reader.number()?;
            let digits = text.strip_prefix('-').unwrap_or(text);
            if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Ok(text.into());
            }
            refused(format!("{} is not an integer; send the entity id as a string", short(text)))
        }
        _ => reader.refuse("an entity id as a string or integer"),
    }
}

/// RFC 3339 with an offset.
pub fn read_timestamp(reader: &mut JsonReader<'_>, round: Round) -> Result<Timestamp> {
    match reader.peek()? {
        JsonKind::Number => refused(format!(
            "{} is a number; send an RFC 3339 timestamp with an offset, such as 2024-01-15T14:22:00Z",
            short(reader.number()?)
        )),
        _ => Timestamp::parse(&reader.string()?, round).or_else(refused),
    }
}

fn refused<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::refused(message))
}
