//! Events as their producers send them and as the log keeps them: one decoder for both.
//!
//! ```text
//!   payload ── decode ──> head: who, which type, when      and where `value` and `metadata` lie
//!                           │
//!              fields by event type ── fields ──> values, aligned with the fields' names
//! ```
//!
//! Whoever reads the log decodes every record, so nothing is built: texts are borrowed, and a head that is sound says that
//! all of the payload is. Only strings with escapes are copied.

mod field;
mod head;
mod json;
mod plain;
mod proto;
mod scan;
#[cfg(test)]
mod tests;

pub use field::FieldValue;
pub use head::EventHead;
pub(crate) use scan::value_end;

use crate::{
    error::{Error, Result},
    feature::value::TEXT_BYTES_MAX,
};
use bytes::Bytes;
use std::cell::OnceCell;

/// An event as its producer sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A JSON object.
    Json(Bytes),
    /// A `larder.v1.Event`.
    Proto(Bytes),
}

impl Payload {
    pub fn bytes(&self) -> &Bytes {
        let (Self::Json(bytes) | Self::Proto(bytes)) = self;
        bytes
    }
}

/// An event whose whole payload has been checked.
#[derive(Debug)]
pub struct DecodedEvent<'a> {
    pub head: EventHead<'a>,
    body: Body<'a>,
    texts: Texts,
}

/// Where the fields lie.
#[derive(Clone, Copy, Debug)]
enum Body<'a> {
    /// The texts of `value` and `metadata`.
    Json { value: Option<&'a str>, metadata: Option<&'a str> },
    /// The value, and the message, which holds the entries of `metadata`.
    Proto { value: Option<proto::Scalar<'a>>, message: &'a [u8] },
}

/// Reads an event. An error says what is wrong with it and names the field.
pub fn decode(payload: &Payload) -> Result<DecodedEvent<'_>> {
    let (head, body) = match payload {
        Payload::Json(text) => json::decode(text)?,
        Payload::Proto(message) => proto::decode(message)?,
    };
    Ok(DecodedEvent { head, body, texts: Texts::default() })
}

impl DecodedEvent<'_> {
    /// What the event holds in each field: `value`, or a path such as `metadata.stock_code`, whose dots lead into objects.
    /// `out` is emptied first.
    pub fn fields<'s>(&'s self, names: &[String], out: &mut Vec<FieldValue<'s>>) {
        out.clear();
        out.resize(names.len(), FieldValue::Missing);
        match &self.body {
            Body::Json { value, metadata } => {
                let value = value.map_or(FieldValue::Missing, |text| scan::value(text, &self.texts));
                give_value(names, value, out);
                if let Some(metadata) = metadata.filter(|_| names.iter().any(|name| path(name).is_some())) {
                    json::metadata_fields(metadata, names, &self.texts, out);
                }
            }
            Body::Proto { value, message } => {
                let value = value.map_or(FieldValue::Missing, |value| value.field(&self.texts));
                give_value(names, value, out);
                if names.iter().any(|name| path(name).is_some()) {
                    proto::metadata_fields(message, names, &self.texts, out);
                }
            }
        }
    }
}

fn give_value<'s>(names: &[String], value: FieldValue<'s>, out: &mut [FieldValue<'s>]) {
    for (name, field) in names.iter().zip(out) {
        if name == "value" {
            *field = value;
        }
    }
}

/// The way of a field below `metadata`: the first member, and the way on from there.
fn path(name: &str) -> Option<(&str, Option<&str>)> {
    name.strip_prefix("metadata.").map(step)
}

fn step(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(member, rest)| (member, Some(rest)))
}

/// Gives every field whose way begins with this member what `find` makes of the rest of the way.
fn give_member<'s>(
    member: &str,
    names: &[String],
    out: &mut [FieldValue<'s>],
    find: impl Fn(Option<&str>) -> FieldValue<'s>,
) {
    for (name, field) in names.iter().zip(out) {
        if let Some((first, rest)) = path(name)
            && first == member
        {
            *field = find(rest);
        }
    }
}

/// Strings that had escapes, kept as long as their event: a chain, since what was handed out must stay where it is.
#[derive(Debug, Default)]
struct Texts(OnceCell<Box<(String, Texts)>>);

impl Texts {
    fn keep(&self, text: String) -> &str {
        let mut end = self;
        while let Some(link) = end.0.get() {
            end = &link.1;
        }
        &end.0.get_or_init(|| Box::new((text, Texts::default()))).0
    }
}

/// Every text in an event obeys the bound of a feature's text.
fn check_len(len: usize) -> Result<()> {
    match len {
        0..=TEXT_BYTES_MAX => Ok(()),
        _ => Err(Error::refused(format!("{len} bytes are over the limit of {TEXT_BYTES_MAX}"))),
    }
}
