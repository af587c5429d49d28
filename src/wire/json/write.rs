//! Writing JSON: straight into a buffer, without a tree.

use super::BASE64;
use crate::{
    error::{Error, Result},
    feature::{
        Duration, Timestamp,
        json::{JsonReader, append, short, write_string},
    },
};
use base64::Engine as _;
use serde::Deserialize;
use std::io::Write;

/// How int64 values go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Int64Form {
    /// As numbers with all their digits.
    #[default]
    Number,
    /// As strings, for readers whose numbers are doubles.
    String,
}

impl Int64Form {
    /// Reads the request's `"int64"`: `"number"` or `"string"`.
    pub fn read(reader: &mut JsonReader<'_>) -> Result<Self> {
        reader.string()?.into_owned().try_into().map_err(Error::refused)
    }
}

impl TryFrom<String> for Int64Form {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "number" => Ok(Self::Number),
            "string" => Ok(Self::String),
            other => Err(format!("{:?} is not a form of int64; use number or string", short(other))),
        }
    }
}

/// Writes JSON into a buffer and sets the commas itself: a value needs one unless it comes first.
pub struct JsonWriter<'a> {
    pub out: &'a mut Vec<u8>,
    pub int64: Int64Form,
}

impl<'a> JsonWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, int64: Int64Form::default() }
    }

    pub fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push(b'{');
        members(self);
        self.out.push(b'}');
    }

    pub fn array(&mut self, elements: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push(b'[');
        elements(self);
        self.out.push(b']');
    }

    /// A member's name; its value must follow.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.string(name);
        self.out.push(b':');
        self
    }

    pub fn null(&mut self) {
        self.raw(b"null");
    }

    pub fn boolean(&mut self, value: bool) {
        self.raw(if value { b"true" } else { b"false" });
    }

    pub fn string(&mut self, text: &str) {
        self.separate();
        write_string(text, self.out);
    }

    pub fn strings(&mut self, texts: &[String]) {
        self.array(|writer| texts.iter().for_each(|text| writer.string(text)));
    }

    /// What `write` makes of a value; null without one.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }

    /// A count or id, always a number.
    pub fn uint(&mut self, value: u64) {
        self.separate();
        write!(self.out, "{value}").expect("writing to a Vec");
    }

    pub fn timestamp(&mut self, value: Timestamp) {
        self.separate();
        self.out.push(b'"');
        value.write_rfc3339(self.out);
        self.out.push(b'"');
    }

    pub fn duration(&mut self, value: Duration) {
        self.string(&value.to_string());
    }

    /// Text that is JSON already.
    pub fn raw(&mut self, json: &[u8]) {
        self.separate();
        self.out.extend_from_slice(json);
    }

    pub fn int64(&mut self, value: i64) {
        self.separate();
        let quote: &[u8] = if self.int64 == Int64Form::String { b"\"" } else { b"" };
        self.out.extend_from_slice(quote);
        write!(self.out, "{value}").expect("writing to a Vec");
        self.out.extend_from_slice(quote);
    }

    pub fn float64(&mut self, value: f64) {
        if value.is_finite() {
            self.separate();
            append(zmij::Buffer::new().format_finite(value).as_bytes(), self.out);
        } else {
            self.string(non_finite(value));
        }
    }

    pub fn float32(&mut self, value: f32) {
        if value.is_finite() {
            self.separate();
            append(zmij::Buffer::new().format_finite(value).as_bytes(), self.out);
        } else {
            self.string(non_finite(value.into()));
        }
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.string(&BASE64.encode(bytes));
    }

    /// Whatever ends before the next value is one of: nothing, an opening, a colon, a line; else a comma is due.
    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':' | b'\n')) {
            self.out.push(b',');
        }
    }
}

fn non_finite(value: f64) -> &'static str {
    match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}
