//! Events as they nearly always are: a JSON object of known members with plain texts and numbers, and flat metadata. Read in
//! one pass, eight bytes of a text at a time.
//!
//! What is not plain (escapes, nesting, unknown members, exponents, anything wrong) is no answer here: the strict reader
//! decides, and names what is wrong. So this reader may only know less than that one, never something else, which a
//! property holds it to.

use super::{Body, EventHead};
use crate::feature::{Round, Timestamp, value::TEXT_BYTES_MAX};
use std::borrow::Cow;

/// Digits of a number that is surely within the doubles.
const NUMBER_BYTES_MAX: usize = 18;
/// Members of metadata whose names are compared with each other.
const MEMBERS_MAX: usize = 8;

/// Reads an event, if it is plain.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Option<(EventHead<'_>, Body<'_>)> {
    if bytes.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut scanner = Scanner { text: std::str::from_utf8(bytes).ok()?, at: 0 };
    let (mut entity_id, mut event_type, mut timestamp) = (None, None, None);
    let (mut event_id, mut entity_type) = (None, None);
    let (mut value, mut metadata) = (None, None);
    scanner.take(b'{')?;
    loop {
        let member = scanner.member()?;
        scanner.take(b':')?;
        match member {
            Member::EntityId => once(&mut entity_id, scanner.string()?)?,
            Member::EventType => once(&mut event_type, scanner.string()?)?,
            Member::Timestamp => once(&mut timestamp, Timestamp::parse(scanner.string()?, Round::Up).ok()?)?,
            Member::Value => once(&mut value, scanner.scalar()?)?,
            Member::Metadata => once(&mut metadata, scanner.flat_object()?)?,
            Member::EventId => once(&mut event_id, scanner.string()?)?,
            Member::EntityType => once(&mut entity_type, scanner.string()?)?,
        }
        match scanner.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    if scanner.next().is_some() {
        return None;
    }
    let head = EventHead::new(
        entity_id.map(Cow::Borrowed),
        event_type.map(Cow::Borrowed),
        timestamp,
        event_id.map(Cow::Borrowed),
        entity_type.map(Cow::Borrowed),
    );
    Some((head.ok()?, Body::Json { value, metadata }))
}

/// A member that came before is for the strict reader to refuse.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// The members of an event.
#[derive(Clone, Copy)]
enum Member {
    EntityId,
    EventType,
    Timestamp,
    Value,
    Metadata,
    EventId,
    EntityType,
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The next byte that is no space, taken.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            self.at += 1;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
        }
    }

    #[inline]
    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// A known name. Texts of constant length are compared in a step or two.
    #[inline]
    fn member(&mut self) -> Option<Member> {
        self.take(b'"')?;
        let rest = self.text.as_bytes().get(self.at..)?;
        let (member, bytes) = if rest.starts_with(b"entity_id\"") {
            (Member::EntityId, 10)
        } else if rest.starts_with(b"event_type\"") {
            (Member::EventType, 11)
        } else if rest.starts_with(b"value\"") {
            (Member::Value, 6)
        } else if rest.starts_with(b"timestamp\"") {
            (Member::Timestamp, 10)
        } else if rest.starts_with(b"metadata\"") {
            (Member::Metadata, 9)
        } else if rest.starts_with(b"event_id\"") {
            (Member::EventId, 9)
        } else if rest.starts_with(b"entity_type\"") {
            (Member::EntityType, 12)
        } else {
            return None;
        };
        self.at += bytes;
        Some(member)
    }

    /// A text without escapes.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        self.rest_of_string()
    }

    #[inline]
    fn rest_of_string(&mut self) -> Option<&'a str> {
        let (bytes, start) = (self.text.as_bytes(), self.at);
        let mut end = start;
        loop {
            let special = match bytes.get(end..).and_then(<[u8]>::first_chunk::<8>) {
                Some(chunk) => first_special(u64::from_le_bytes(*chunk)),
                None => bytes[end..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)),
            };
            match special {
                Some(before) => {
                    end += before;
                    break;
                }
                None if end + 8 <= bytes.len() => end += 8,
                None => return None,
            }
        }
        if bytes[end] != b'"' {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// A text, a number without an exponent, or a boolean, as it stands.
    fn scalar(&mut self) -> Option<&'a str> {
        let first = self.next()?;
        let start = self.at - 1;
        match first {
            b'"' => drop(self.rest_of_string()?),
            b't' => self.literal("rue")?,
            b'f' => self.literal("alse")?,
            b'-' | b'0'..=b'9' => self.number(start)?,
            _ => return None,
        }
        self.text.get(start..self.at)
    }

    fn literal(&mut self, rest: &str) -> Option<()> {
        self.text.as_bytes()[self.at..].starts_with(rest.as_bytes()).then(|| self.at += rest.len())
    }

    fn number(&mut self, start: usize) -> Option<()> {
        let bytes = self.text.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let whole = start + usize::from(bytes[start] == b'-');
        let mut end = digits(whole);
        let leading_zero = bytes.get(whole) == Some(&b'0') && end > whole + 1;
        if end == whole || leading_zero {
            return None;
        }
        if bytes.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = digits(fraction);
            if end == fraction {
                return None;
            }
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) || end - start > NUMBER_BYTES_MAX {
            return None;
        }
        self.at = end;
        Some(())
    }

    /// An object of scalars, each name once, as it stands.
    fn flat_object(&mut self) -> Option<&'a str> {
        self.take(b'{')?;
        let start = self.at - 1;
        let mut names = [""; MEMBERS_MAX];
        for members in 0.. {
            match (self.next()?, members) {
                (b'}', 0) => break,
                (b'"', _) => {}
                _ => return None,
            }
            let name = self.rest_of_string()?;
            if names.get(..members)?.contains(&name) {
                return None;
            }
            *names.get_mut(members)? = name;
            self.take(b':')?;
            self.scalar()?;
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        self.text.get(start..self.at)
    }
}

/// Where among eight bytes, the first of them lowest, the first quote, backslash or control character stands.
///
/// The usual test for bytes that are zero or less than a bound (<https://graphics.stanford.edu/~seander/bithacks.html>): it is
/// exact for the lowest byte that it finds.
#[inline]
fn first_special(word: u64) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let found = (quote | backslash | control) & HIGH;
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::json;
    use proptest::prelude::*;

    const PLAIN: &str = r#"{"entity_id": "user_123", "event_type": "purchase", "value": -99.5, "timestamp": "2024-01-15T14:22:00.25Z", "event_id": "e é", "metadata": {"a": "x", "b": 12, "c": true}}"#;

    fn same(text: &[u8]) -> bool {
        let Some((head, Body::Json { value, metadata })) = decode(text) else { return false };
        let (strict, Body::Json { value: strict_value, metadata: strict_metadata }) =
            json::strict(text).expect("what is plain is sound")
        else {
            panic!("JSON has a body of JSON")
        };
        assert_eq!((head, value, metadata), (strict, strict_value, strict_metadata));
        true
    }

    #[test]
    fn plain_events_are_read_here() {
        assert!(same(PLAIN.as_bytes()));
        assert!(same(
            br#"{"timestamp":"2024-01-15T14:22:00Z","event_type":"p","entity_id":"u","metadata":{}}"#
        ));
        for odd in ["\\u0041", "1e3", "null", "{\"n\":{}}", "01", "1.", "-", "tru", "\u{1}"] {
            let text = PLAIN.replace("-99.5", odd);
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn special_bytes_are_found_where_they_stand() {
        for at in 0..8 {
            for special in [b'"', b'\\', 0, 0x1f] {
                let mut bytes = *b"a\xff ~\x80z!}";
                bytes[at] = special;
                assert_eq!(first_special(u64::from_le_bytes(bytes)), Some(at), "{special} at {at}");
            }
        }
        assert_eq!(first_special(u64::from_le_bytes(*b"a\xff ~\x80z!}")), None);
    }

    proptest! {
        /// One byte put in, taken out or changed anywhere: never anything else than the strict reader says.
        #[test]
        fn nothing_is_read_otherwise(at in 0..PLAIN.len(), with in prop::sample::select(&b"\"\\{}[]:,0 9.-eEtx\n\x00\xc3"[..]), how in 0..3) {
            let mut text = PLAIN.as_bytes().to_vec();
            match how {
                0 => text[at] = with,
                1 => text.insert(at, with),
                _ => drop(text.remove(at)),
            }
            same(&text);
        }

        #[test]
        fn members_in_any_order_and_number(members in prop::collection::vec(0..8usize, 0..9)) {
            let all = [
                r#""entity_id":"u""#, r#""event_type":"p""#, r#""timestamp":"2024-01-15T14:22:00+01:00""#, r#""value":7"#,
                r#""metadata":{"a":1,"a":2}"#, r#""metadata":{"a":"b"}"#, r#""event_id":"i""#, r#""other":1"#,
            ];
            let text: Vec<&str> = members.iter().map(|member| all[*member]).collect();
            same(format!("{{{}}}", text.join(",")).as_bytes());
        }
    }
}
