//! A walk over JSON that was checked already: it only looks for where things end, and copies nothing but escaped strings.
//!
//! Where the text is not what it was said to be, the walk ends early; it never panics.

use super::{FieldValue, Texts, step};
use crate::feature::json::JsonReader;
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

/// A number by its text, with all that it says.
fn number(text: &str) -> FieldValue<'_> {
    if let Some(number) = short_number(text) {
        return number;
    }
    if let Ok(int) = text.parse() {
        return FieldValue::Int(int);
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    match text.parse::<f64>() {
        // Doubles next to zero hold fewer digits than others.
        Ok(float) if digits <= EXACT_DIGITS_MAX && float.abs() >= f64::MIN_POSITIVE => {
            FieldValue::Float(float)
        }
        // One zero, as in stored values.
        Ok(float) if float.is_finite() => FieldValue::Digits(text, float + 0.0),
        _ => FieldValue::Missing,
    }
}

/// A double gives back the digits that it was read from, if they are no more.
const EXACT_DIGITS_MAX: usize = f64::DIGITS as usize;

/// A number of few digits and no exponent, as most are: both the digits and the power of ten that divides them are doubles,
/// so that one division rounds once (Clinger's fast path, <https://doi.org/10.1145/93542.93557>).
fn short_number(text: &str) -> Option<FieldValue<'_>> {
    const POWERS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    if digits.len() > POWERS.len() {
        return None;
    }
    let (mut whole, mut point) = (0_i64, None);
    for (at, byte) in digits.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => whole = whole * 10 + i64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    Some(match point {
        None => FieldValue::Int(sign * whole),
        // One zero, as in stored values.
        Some(at) => FieldValue::Float((sign * whole) as f64 / POWERS[digits.len() - 1 - at] + 0.0),
    })
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
pub(crate) fn value_end(bytes: &[u8]) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A short number is the one that the standard library reads.
        #[test]
        fn short_numbers_are_read_as_others(text in "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,14})?") {
            let expected = match text.parse() {
                Ok(int) => FieldValue::Int(int),
                Err(_) => {
                    let float = text.parse::<f64>().unwrap() + 0.0;
                    let is_short = text.bytes().filter(u8::is_ascii_digit).count() <= 15;
                    if is_short { FieldValue::Float(float) } else { FieldValue::Digits(&text, float) }
                }
            };
            let bits = |value| match value {
                FieldValue::Float(v) | FieldValue::Digits(_, v) => v.to_bits(),
                _ => 0,
            };
            prop_assert_eq!(number(&text), expected);
            prop_assert_eq!(bits(number(&text)), bits(expected));
            prop_assert!(short_number(&text).is_some() || text.len() > 16);
        }
    }
}
