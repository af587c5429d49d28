//! `larder.v1.Event`, read in place.

use super::{Body, EventHead, FieldValue, Texts, check_len, give_member, scan};
use crate::{
    error::{Error, Result},
    feature::{Round, Timestamp, json::JsonReader},
    proto::{
        List,
        fields::{Field, malformed, take_entry, take_field, text},
    },
};

/// A value as windows see it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Field(FieldValue<'a>),
    /// JSON text, checked.
    Json(&'a str),
}

impl<'a> Scalar<'a> {
    pub(super) fn field<'s>(&self, texts: &'s Texts) -> FieldValue<'s>
    where
        'a: 's,
    {
        self.find(None, texts)
    }

    /// What lies at the end of a way into the value: only JSON leads on.
    fn find<'s>(&self, way: Option<&str>, texts: &'s Texts) -> FieldValue<'s>
    where
        'a: 's,
    {
        match (*self, way) {
            (Scalar::Json(text), way) => scan::find(text, way, texts),
            (Scalar::Field(field), None) => field,
            (Scalar::Field(_), Some(_)) => FieldValue::Missing,
        }
    }
}

/// Reads the head, and checks the rest.
pub(super) fn decode(message: &[u8]) -> Result<(EventHead<'_>, Body<'_>)> {
    let (mut entity_id, mut event_type, mut event_id, mut entity_type) = (None, None, None, None);
    let mut moment: Option<(i64, i32)> = None;
    let mut value = None;
    let mut rest = message;
    while !rest.is_empty() {
        match take_field(&mut rest)? {
            (1, Field::Bytes(id)) => entity_id = given(id, "entity_id")?,
            (2, Field::Bytes(name)) => event_type = given(name, "event_type")?,
            // A part that comes twice is merged: what comes later counts.
            (3, Field::Bytes(bytes)) => value = Some(scalar(bytes).map_err(|error| error.within("value"))?),
            (4, Field::Bytes(bytes)) => read_moment(bytes, moment.get_or_insert_default())?,
            (5, Field::Bytes(entry)) => {
                let (key, value) = take_entry(entry)?;
                let key = checked_text(key).map_err(|error| error.at("metadata"))?;
                scalar(value).map_err(|error| error.within(key).within("metadata"))?;
            }
            (6, Field::Bytes(id)) => event_id = given(id, "event_id")?,
            (7, Field::Bytes(name)) => entity_type = given(name, "entity_type")?,
            (1..=7, _) => return Err(malformed("a field has the wrong wire type")),
            // Fields of a later contract.
            _ => {}
        }
    }
    let timestamp = moment.map(|(seconds, nanos)| {
        Timestamp::from_seconds_nanos(seconds, nanos, Round::Up)
            .map_err(|why| Error::invalid("timestamp", why))
    });
    let head = EventHead::new(entity_id, event_type, timestamp.transpose()?, event_id, entity_type)?;
    Ok((head, Body::Proto { value, message }))
}

/// Puts what `metadata` holds into the fields that lead there.
pub(super) fn metadata_fields<'s>(
    message: &'s [u8],
    names: &[String],
    texts: &'s Texts,
    out: &mut [FieldValue<'s>],
) {
    let mut rest = message;
    while let Ok((number, field)) = take_field(&mut rest) {
        if let (5, Field::Bytes(entry)) = (number, field)
            && let Ok((key, value)) = take_entry(entry)
            && let (Ok(key), Ok(value)) = (std::str::from_utf8(key), scalar(value))
        {
            give_member(key, names, out, |rest| value.find(rest, texts));
        }
    }
}

fn given<'a>(bytes: &'a [u8], field: &str) -> Result<Option<std::borrow::Cow<'a, str>>> {
    Ok(Some(text(bytes, field)?).filter(|text| !text.is_empty()).map(Into::into))
}

/// Reads a `google.protobuf.Timestamp`: seconds and nanoseconds.
fn read_moment(mut bytes: &[u8], (seconds, nanos): &mut (i64, i32)) -> Result<()> {
    while !bytes.is_empty() {
        match take_field(&mut bytes)? {
            (1, Field::Varint(given)) => *seconds = given as i64,
            (2, Field::Varint(given)) => *nanos = given as i32,
            (1 | 2, _) => return Err(malformed("a field has the wrong wire type")),
            _ => {}
        }
    }
    Ok(())
}

/// A moment that is none on the calendar is nothing that a feature takes.
fn time<'a>(moment: &[u8]) -> Result<FieldValue<'a>> {
    let mut time = (0, 0);
    read_moment(moment, &mut time)?;
    Ok(Timestamp::from_seconds_nanos(time.0, time.1, Round::Down).map_or(FieldValue::Other, FieldValue::Time))
}

/// Reads and checks a `larder.v1.Value`. Of several kinds the last one counts, as everywhere in protobuf.
fn scalar(mut bytes: &[u8]) -> Result<Scalar<'_>> {
    let mut value = None;
    while !bytes.is_empty() {
        value = Some(Scalar::Field(match take_field(&mut bytes)? {
            (1, Field::Varint(0)) => return Err(Error::refused("null_value must be true")),
            (1, Field::Varint(_)) => FieldValue::Missing,
            (2, Field::Varint(flag)) => FieldValue::Bool(flag != 0),
            (3, Field::Varint(int)) => FieldValue::Int(int as i64),
            (4, Field::Fixed64(bits)) => float(f64::from_bits(bits))?,
            (5, Field::Fixed32(bits)) => float(f32::from_bits(bits).into())?,
            (6, Field::Bytes(bytes)) => FieldValue::Text(checked_text(bytes)?),
            (7, Field::Bytes(bytes)) => {
                check_len(bytes.len())?;
                FieldValue::Other
            }
            (8, Field::Bytes(moment)) => time(moment)?,
            (10, Field::Bytes(list)) => {
                check_list(list)?;
                FieldValue::Other
            }
            (9, Field::Bytes(bytes)) => {
                let text = checked_text(bytes)?;
                JsonReader::read(text.as_bytes(), |reader| reader.raw().map(drop))?;
                value = Some(Scalar::Json(text));
                continue;
            }
            (1..=10, _) => return Err(malformed("a field has the wrong wire type")),
            _ => continue,
        }));
    }
    value.ok_or_else(|| Error::refused("the value is empty; null is written as null_value"))
}

/// No feature takes a list, but none may hold what events must not.
fn check_list(list: &[u8]) -> Result<()> {
    let list = <List as prost::Message>::decode(list).map_err(malformed)?;
    list.float64s.into_iter().try_for_each(|value| float(value).map(drop))?;
    list.float32s.into_iter().try_for_each(|value| float(value.into()).map(drop))
}

fn float<'a>(value: f64) -> Result<FieldValue<'a>> {
    if !value.is_finite() {
        return Err(Error::refused("NaN and infinities are refused in events; leave the value out"));
    }
    // One zero, as in stored values.
    Ok(FieldValue::Float(value + 0.0))
}

fn checked_text(bytes: &[u8]) -> Result<&str> {
    check_len(bytes.len())?;
    let text = std::str::from_utf8(bytes).map_err(|_| Error::refused("this is not valid UTF-8"))?;
    match memchr::memchr(0, bytes) {
        Some(_) => Err(Error::refused("text must not hold NUL")),
        None => Ok(text),
    }
}
