//! An event as a JSON object. Members that nobody knows are checked like all, and passed over.

use super::{Body, EventHead, FieldValue, Texts, check_len, give_member, plain, scan};
use crate::{
    error::Result,
    feature::{
        Round,
        json::{JsonKind, JsonReader, read_id, read_timestamp},
        value::TEXT_BYTES_MAX,
    },
};
use std::borrow::Cow;

/// Reads the head, and checks the rest.
#[inline]
pub(super) fn decode(text: &[u8]) -> Result<(EventHead<'_>, Body<'_>)> {
    match plain::decode(text) {
        Some(event) => Ok(event),
        None => strict(text),
    }
}

/// The same of any text, and what is wrong with it.
pub(super) fn strict(text: &[u8]) -> Result<(EventHead<'_>, Body<'_>)> {
    let (mut entity_id, mut event_type, mut timestamp) = (None, None, None);
    let (mut event_id, mut entity_type) = (None, None);
    let (mut value, mut metadata) = (None, None);
    JsonReader::read(text, |reader| {
        reader.object(|reader, key| {
            match key {
                "entity_id" => entity_id = Some(read_id(reader)?),
                "event_type" => event_type = Some(reader.string()?),
                "timestamp" => timestamp = Some(read_timestamp(reader, Round::Up)?),
                "value" => value = optional(reader, JsonReader::raw)?,
                "metadata" => metadata = optional(reader, object)?,
                "event_id" => event_id = optional(reader, read_text)?,
                "entity_type" => entity_type = optional(reader, read_text)?,
                _ => drop(reader.raw()?),
            }
            Ok(())
        })
    })?;
    // Nothing within a short event can be over the bound.
    if text.len() > TEXT_BYTES_MAX {
        JsonReader::read(text, check_texts)?;
    }
    let head = EventHead::new(entity_id, event_type, timestamp, event_id, entity_type)?;
    Ok((head, Body::Json { value, metadata }))
}

/// Puts what `metadata` holds into the fields that lead there.
pub(super) fn metadata_fields<'s>(
    metadata: &'s str,
    names: &[String],
    texts: &'s Texts,
    out: &mut [FieldValue<'s>],
) {
    for (member, value) in scan::members(metadata) {
        give_member(&member, names, out, |rest| scan::find(value, rest, texts));
    }
}

/// Null is as good as left out.
fn optional<'a, T>(
    reader: &mut JsonReader<'a>,
    read: impl FnOnce(&mut JsonReader<'a>) -> Result<T>,
) -> Result<Option<T>> {
    if reader.take_null()? { Ok(None) } else { read(reader).map(Some) }
}

fn read_text<'a>(reader: &mut JsonReader<'a>) -> Result<Cow<'a, str>> {
    reader.string()
}

fn object<'a>(reader: &mut JsonReader<'a>) -> Result<&'a str> {
    match reader.peek()? {
        JsonKind::Object => reader.raw(),
        _ => reader.refuse("an object"),
    }
}

/// Refuses a string over the bound, at any depth.
fn check_texts(reader: &mut JsonReader<'_>) -> Result<()> {
    match reader.peek()? {
        JsonKind::String => check_len(reader.string()?.len()),
        JsonKind::Array => reader.array(|reader, _| check_texts(reader)),
        JsonKind::Object => reader.object(|reader, _| check_texts(reader)),
        _ => reader.raw().map(drop),
    }
}
