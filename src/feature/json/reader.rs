//! A strict JSON reader that pulls: the caller says what it expects, and nothing is built that nobody asked for.
//!
//! Refused, each naming the path of its field: duplicate keys, nesting over the limit, lone surrogates, NUL in text,
//! numbers that no double can hold, trailing bytes, and everything that RFC 8259 does not allow.

use crate::error::{Error, Kind, Result};
use std::{borrow::Cow, fmt};

/// Deepest nesting of a body, and of a json value.
pub const DEPTH_MAX: usize = 32;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// Reads one JSON text from front to back.
pub struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    depth_max: usize,
    /// The keys of all open objects, outermost first: how duplicates are found.
    keys: Vec<Cow<'a, str>>,
}

impl<'a> JsonReader<'a> {
    /// A reader of one whole text, which must be UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| malformed(error.valid_up_to(), "the text is not UTF-8"))?;
        Ok(Self { text, at: 0, depth: 0, depth_max: DEPTH_MAX, keys: Vec::new() })
    }

    /// Reads all of `bytes` with `read`; trailing bytes are refused.
    pub fn read<T>(bytes: &'a [u8], read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut reader = Self::new(bytes)?;
        let value = read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// Refuses whatever follows the value.
    pub fn finish(&mut self) -> Result<()> {
        self.skip_space();
        if self.at < self.text.len() {
            return Err(self.malformed("nothing may follow the value"));
        }
        Ok(())
    }

    /// The kind of the next value.
    pub fn peek(&mut self) -> Result<JsonKind> {
        self.skip_space();
        match self.byte() {
            Some(b'n') => Ok(JsonKind::Null),
            Some(b't' | b'f') => Ok(JsonKind::Bool),
            Some(b'-' | b'0'..=b'9') => Ok(JsonKind::Number),
            Some(b'"') => Ok(JsonKind::String),
            Some(b'[') => Ok(JsonKind::Array),
            Some(b'{') => Ok(JsonKind::Object),
            Some(_) => Err(self.malformed("a value was expected")),
            None => Err(self.malformed("the text ends where a value was expected")),
        }
    }

    /// Takes a null if one comes next.
    pub fn take_null(&mut self) -> Result<bool> {
        if self.peek()? != JsonKind::Null {
            return Ok(false);
        }
        self.literal("null").map(|()| true)
    }

    pub fn boolean(&mut self) -> Result<bool> {
        self.expect(JsonKind::Bool)?;
        let value = self.byte() == Some(b't');
        self.literal(if value { "true" } else { "false" }).map(|()| value)
    }

    /// A number's own text.
    pub fn number(&mut self) -> Result<&'a str> {
        self.expect(JsonKind::Number)?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start + usize::from(bytes[start] == b'-');
        let digits = |at: &mut usize| {
            let first = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at > first
        };
        let leading_zero = bytes.get(at) == Some(&b'0');
        let whole = at;
        let mut right = digits(&mut at) && !(leading_zero && at > whole + 1);
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            right &= digits(&mut at);
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            right &= digits(&mut at);
        }
        if !right {
            return Err(self.malformed("this is not a number"));
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    /// A string without its escapes.
    pub fn string(&mut self) -> Result<Cow<'a, str>> {
        self.expect(JsonKind::String)?;
        self.at += 1;
        let start = self.at;
        self.plain_text()?;
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(&self.text[start..self.at - 1]));
        }
        let mut text = self.text[start..self.at].to_owned();
        while self.byte() == Some(b'\\') {
            self.at += 1;
            text.push(self.escape()?);
            let start = self.at;
            self.plain_text()?;
            text.push_str(&self.text[start..self.at]);
        }
        self.at += 1;
        Ok(Cow::Owned(text))
    }

    /// Every element of an array; errors get `[index]` put before their field.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        self.begin(JsonKind::Array)?;
        let mut index = 0;
        while self.next_element(index == 0)? {
            element(self, index).map_err(|error| error.within(format_args!("[{index}]")))?;
            index += 1;
        }
        Ok(())
    }

    /// Every member of an object; errors get the key put before their field. `member` must take the value.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        let first = self.begin(JsonKind::Object)?;
        while let Some(key) = self.next_key(first)? {
            member(self, &key).map_err(|error| error.within(&key))?;
            self.end_member(key);
        }
        Ok(())
    }

    /// Enters an array or object; returns the mark that [`next_key`](Self::next_key) takes.
    pub(super) fn begin(&mut self, kind: JsonKind) -> Result<usize> {
        self.expect(kind)?;
        self.enter()?;
        Ok(self.keys.len())
    }

    /// Moves to the next element of an array, or past its end.
    pub(super) fn next_element(&mut self, first: bool) -> Result<bool> {
        let more = self.next_member(b']', first)?;
        self.depth -= usize::from(!more);
        Ok(more)
    }

    /// The next key of an object whose keys begin at `first`; its value comes next, then [`end_member`](Self::end_member).
    /// `None` past the object's end, where keys that came twice are refused.
    pub(super) fn next_key(&mut self, first: usize) -> Result<Option<Cow<'a, str>>> {
        if !self.next_member(b'}', self.keys.len() == first)? {
            self.depth -= 1;
            refuse_duplicates(&mut self.keys[first..])?;
            self.keys.truncate(first);
            return Ok(None);
        }
        if self.peek()? != JsonKind::String {
            return Err(self.malformed("a key in quotes was expected"));
        }
        let key = self.string()?;
        self.skip_space();
        if self.byte() != Some(b':') {
            return Err(self.malformed("a colon was expected"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Remembers a key whose value was taken.
    pub(super) fn end_member(&mut self, key: Cow<'a, str>) {
        self.keys.push(key);
    }

    /// Any value, checked in all its depth; returns its text as it stands.
    pub fn raw(&mut self) -> Result<&'a str> {
        self.skip_space();
        let start = self.at;
        self.walk()?;
        Ok(&self.text[start..self.at])
    }

    /// An array of strings, as its text stands; the strings are checked when they are read from it. Where no escape is
    /// near this only looks for the end, so that a long list that is known by its text costs next to nothing.
    pub fn raw_strings(&mut self) -> Result<&'a str> {
        self.expect(JsonKind::Array)?;
        let rest = &self.text[self.at..];
        let array = &rest[..memchr::memchr(b']', rest.as_bytes()).map_or(rest.len(), |at| at + 1)];
        let quotes = memchr::memchr_iter(b'"', array.as_bytes()).count();
        if !quotes.is_multiple_of(2) || memchr::memchr(b'\\', array.as_bytes()).is_some() {
            return self.raw();
        }
        self.at += array.len();
        Ok(array)
    }

    /// As [`raw`](Self::raw), for a part of a body that is read again later and then counts its own nesting: only a
    /// bound on it is kept here.
    pub fn raw_to_read_again(&mut self) -> Result<&'a str> {
        let depth_max = std::mem::replace(&mut self.depth_max, self.depth + 2 * DEPTH_MAX);
        let text = self.raw();
        self.depth_max = depth_max;
        text
    }

    /// Reads a value whose nesting is counted from itself, not from the body around it.
    pub fn with_own_depth<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let around = std::mem::take(&mut self.depth);
        let value = read(self);
        self.depth = around;
        value
    }

    /// Refuses a member that is not one of `known`.
    pub fn unknown_member<T>(&self, known: &[&str]) -> Result<T> {
        let known = known.join(", ");
        Err(Error::new(
            Kind::InvalidArgument,
            format!("this field is not known here; the fields are {known}"),
        ))
    }

    /// Says what was expected in place of the next value.
    pub fn refuse<T>(&mut self, expected: impl fmt::Display) -> Result<T> {
        let kind = self.peek()?;
        match kind {
            JsonKind::Null => self.literal("null")?,
            JsonKind::Bool => drop(self.boolean()?),
            _ => {}
        }
        Err(Error::new(Kind::InvalidArgument, format!("expected {expected}, got {kind}")))
    }

    fn walk(&mut self) -> Result<()> {
        match self.peek()? {
            JsonKind::Null => self.literal("null"),
            JsonKind::Bool => self.boolean().map(drop),
            JsonKind::Number => self.number().and_then(double).map(drop),
            JsonKind::String => self.string().map(drop),
            JsonKind::Array => self.array(|reader, _| reader.walk()),
            JsonKind::Object => self.object(|reader, _| reader.walk()),
        }
    }

    fn expect(&mut self, kind: JsonKind) -> Result<()> {
        if self.peek()? == kind { Ok(()) } else { self.refuse(kind) }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &str) -> Result<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.malformed("a value was expected"));
        }
        self.at += word.len();
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        if self.depth >= self.depth_max {
            let message = format!("the nesting is deeper than the limit of {}", self.depth_max);
            return Err(Error::new(Kind::InvalidArgument, message));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Moves to the next member or past the end of a container.
    fn next_member(&mut self, end: u8, first: bool) -> Result<bool> {
        self.skip_space();
        match self.byte() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if first => Ok(true),
            Some(_) => Err(self.malformed("a comma or the end was expected")),
            None => Err(self.malformed("the text is cut short")),
        }
    }

    /// Moves to the next quote or backslash of a string.
    fn plain_text(&mut self) -> Result<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let len = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        self.at += len.unwrap_or(rest.len());
        match self.byte() {
            None => Err(self.malformed("the text ends within a string")),
            Some(0..=0x1f) => Err(self.malformed("control characters must be escaped")),
            Some(_) => Ok(()),
        }
    }

    fn escape(&mut self) -> Result<char> {
        let Some(byte) = self.byte() else { return Err(self.malformed("the text ends within a string")) };
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.malformed("this escape is not known")),
        })
    }

    fn unicode_escape(&mut self) -> Result<char> {
        let mut code = self.hex4()?;
        if (0xd800..0xdc00).contains(&code) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex4()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(self.malformed("a surrogate stands alone"));
            }
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        match char::from_u32(code) {
            Some('\0') => Err(self.malformed("text must not hold NUL")),
            Some(character) => Ok(character),
            None => Err(self.malformed("a surrogate stands alone")),
        }
    }

    fn hex4(&mut self) -> Result<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let value = digits.and_then(|digits| {
            digits.iter().try_fold(0, |value, byte| Some(value * 16 + char::from(*byte).to_digit(16)?))
        });
        self.at += 4;
        value.ok_or_else(|| self.malformed("four hexadecimal digits were expected"))
    }

    fn malformed(&self, why: &str) -> Error {
        malformed(self.at.min(self.text.len()), why)
    }
}

/// A number's text as a double; refused where only infinity is near.
pub fn double(text: &str) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => {
            Err(Error::new(Kind::InvalidArgument, format!("{} is beyond the range of doubles", short(text))))
        }
    }
}

/// The beginning of a text that a caller sent, for messages.
pub fn short(text: &str) -> Cow<'_, str> {
    const CHARS_MAX: usize = 64;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

fn malformed(at: usize, why: &str) -> Error {
    Error::new(Kind::InvalidArgument, format!("malformed JSON at byte {at}: {why}"))
}

fn refuse_duplicates(keys: &mut [Cow<'_, str>]) -> Result<()> {
    const FEW: usize = 12;
    let twice = match keys.len() {
        0..=FEW => (1..keys.len()).find(|i| keys[..*i].contains(&keys[*i])),
        _ => {
            keys.sort_unstable();
            (1..keys.len()).find(|i| keys[i - 1] == keys[*i])
        }
    };
    match twice {
        Some(i) => Err(Error::invalid(short(&keys[i]), "this key stands twice in one object")),
        None => Ok(()),
    }
}

impl fmt::Display for JsonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JsonKind::Null => "null",
            JsonKind::Bool => "a boolean",
            JsonKind::Number => "a number",
            JsonKind::String => "a string",
            JsonKind::Array => "an array",
            JsonKind::Object => "an object",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) -> Result<String> {
        JsonReader::read(text.as_bytes(), |reader| reader.raw().map(str::to_owned))
    }

    fn nested(depth: usize) -> String {
        format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[1",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{1:1}",
            "[,1]",
            "tru",
            "nul",
            "NaN",
            "Infinity",
            "-",
            "01",
            "-01",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "0x1",
            "1e400",
            "-1e400",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\\u0000\"",
            "1 2",
            "{} x",
            "[1]]",
            "'a'",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":1}",
            "[{\"a\":{\"b\":1,\"b\":2}}]",
            "\u{feff}1",
            "/**/1",
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
        assert!(JsonReader::new(b"\"\xff\"").is_err());
    }

    #[test]
    fn nesting_at_its_bound() {
        assert!(check(&nested(DEPTH_MAX)).is_ok());
        assert!(check(&nested(DEPTH_MAX + 1)).is_err());
        assert!(check(&nested(10_000)).is_err());
        assert!(check(&"{\"a\":".repeat(10_000)).is_err());
    }

    #[test]
    fn errors_name_their_field() {
        let field = |text: &str| check(text).unwrap_err().field;
        assert_eq!(field(r#"{"rows":[{},{"values":{"x":1e999}}]}"#).as_deref(), Some("rows[1].values.x"));
        assert_eq!(field(r#"{"rows":[{"a":1,"b":2,"a":3}]}"#).as_deref(), Some("rows[0].a"));
        let many: String = (0..100).map(|i| format!("\"k{i}\":0,")).collect();
        assert_eq!(field(&format!("{{{many}\"k7\":1}}")).as_deref(), Some("k7"));
    }

    #[test]
    fn strings_lose_their_escapes() {
        for (text, value) in [
            (r#""a\"b\\c\/d\b\f\n\r\t""#, "a\"b\\c/d\u{8}\u{c}\n\r\t"),
            (r#""\u00e9\ud83d\ude42x""#, "é🙂x"),
            (r#""é🙂""#, "é🙂"),
            (r#""""#, ""),
        ] {
            let read = JsonReader::read(text.as_bytes(), |reader| reader.string().map(Cow::into_owned));
            assert_eq!(read.unwrap(), value);
        }
    }

    proptest! {
        /// Whatever we take, a kept library takes too; what it takes, we refuse only by a rule of ours.
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:, "\\a-cu0-9.eE+\-tfn]{0,24}"#) {
            if check(&text).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
            }
        }

        #[test]
        fn reads_what_serde_json_writes(text in any::<String>(), number in any::<f64>(), int in any::<i64>()) {
            prop_assume!(!text.contains('\0'));
            let value = serde_json::json!({"t": text, "n": [number, int, null, true], "o": {}});
            let written = value.to_string();
            prop_assert_eq!(check(&written).unwrap(), written);
        }
    }
}
