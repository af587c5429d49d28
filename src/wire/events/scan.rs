//! A walk over JSON that was checked already: it only looks for where things end, and copies nothing but escaped strings.
//!
//! Where the text is not what it was said to be, the walk ends early; it never panics.

use super::{Texts, step};
use crate::{feature::json::JsonReader, window::FieldValue};
use std::borrow::Cow;

/// The members of an object and their values' texts; nothing if the text is no object.
pub(super) fn members(object: &str) -> Members<'_> {
    Members { rest: object.trim_start().strip_prefix('{').unwrap_or_default() }
}

/// The value at the end of a way into a value; None = the value itself.
pub(super) fn find<'s>(text: &'s str, way: Option<&str>, texts: &'s Texts) -> FieldValue<'s> {
    let Some(way) = way else { return value(text, texts) };
    let (wanted, rest) = step(way);
    match members(text).find(|(member, _)| member == wanted) {
        Some((_, inner)) => find(inner, rest, texts),
        None => FieldValue::Missing,
    }
}

/// A value by its text.
pub(super) fn value<'s>(text: &'s str, texts: &'s Texts) -> FieldValue<'s> {
    let text = text.trim_matches(is_space);
    match text.as_bytes().first() {
        None | Some(b'n') => FieldValue::Missing,
        Some(b't') => FieldValue::Bool(true),
        Some(b'f') => FieldValue::Bool(false),
        Some(b'{' | b'[') => FieldValue::Other,
        Some(b'"') => match string(text) {
            Cow::Borrowed(text) => FieldValue::Text(text),
            Cow::Owned(text) => FieldValue::Text(texts.keep(text)),
        },
        Some(_) => number(text),
    }
}

fn number<'s>(text: &str) -> FieldValue<'s> {
    if let Ok(int) = text.parse() {
        return FieldValue::Int(int);
    }
    // One zero, as in stored values.
    text.parse::<f64>().map_or(FieldValue::Missing, |float| FieldValue::Float(float + 0.0))
}

/// A string by its text with quotes.
fn string(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text.get(1..text.len() - 1).unwrap_or_default());
    }
    JsonReader::read(text.as_bytes(), JsonReader::string).unwrap_or_default()
}

/// See [`members`].
pub(super) struct Members<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_start_matches(|c| is_space(c) || c == ',');
        if !self.rest.starts_with('"') {
            return None;
        }
        let key = self.take(string_end(self.rest.as_bytes())?);
        self.rest = self.rest.trim_start_matches(|c| is_space(c) || c == ':');
        let value = self.take(value_end(self.rest.as_bytes())?);
        Some((string(key), value))
    }
}

impl<'a> Members<'a> {
    fn take(&mut self, end: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        taken
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

/// One past the closing quote of the string that these bytes begin with.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// One past the value that these bytes begin with.
pub(super) fn value_end(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => string_end(bytes),
        b'{' | b'[' => container_end(bytes),
        _ => bytes.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')),
    }
}

fn container_end(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += string_end(&bytes[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}
