//! Protobuf read in place: the fields of a message one by one, for messages that come too often to be built first.

use crate::error::{Error, Result};

/// What a field holds.
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Hands over every field of a message.
pub(crate) fn each_field<'a>(
    mut message: &'a [u8],
    mut take: impl FnMut(u64, Field<'a>) -> Result<()>,
) -> Result<()> {
    while !message.is_empty() {
        let (number, field) = take_field(&mut message)?;
        take(number, field)?;
    }
    Ok(())
}

/// A message's field of type bool.
pub(crate) fn flag(message: &[u8], wanted: u64) -> Result<bool> {
    let mut given = false;
    each_field(message, |number, field| {
        if let Field::Varint(value) = field
            && number == wanted
        {
            given = value != 0;
        }
        Ok(())
    })?;
    Ok(given)
}

/// Takes one field off the front: its number and its content.
#[inline]
pub(crate) fn take_field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Field<'a>)> {
    let key = take_varint(rest)?;
    let number = key >> 3;
    if number == 0 || key > u64::from(u32::MAX) {
        return Err(malformed("a field has no valid number"));
    }
    let field = match key & 7 {
        0 => Field::Varint(take_varint(rest)?),
        1 => Field::Fixed64(u64::from_le_bytes(take(rest, 8)?.try_into().expect("eight bytes"))),
        2 => {
            let len = usize::try_from(take_varint(rest)?).unwrap_or(usize::MAX);
            Field::Bytes(take(rest, len)?)
        }
        5 => Field::Fixed32(u32::from_le_bytes(take(rest, 4)?.try_into().expect("four bytes"))),
        _ => return Err(malformed("a field has an unknown wire type")),
    };
    Ok((number, field))
}

#[inline]
fn take_varint(rest: &mut &[u8]) -> Result<u64> {
    if let [byte @ ..0x80, after @ ..] = *rest {
        *rest = after;
        return Ok(u64::from(*byte));
    }
    prost::encoding::decode_varint(rest).map_err(malformed)
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len).ok_or_else(|| malformed("it is cut short"))?;
    *rest = after;
    Ok(taken)
}

/// The key and value of a map's entry.
pub(crate) fn take_entry(mut entry: &[u8]) -> Result<(&[u8], &[u8])> {
    let (mut key, mut value): (&[u8], &[u8]) = (b"", b"");
    while !entry.is_empty() {
        match take_field(&mut entry)? {
            (1, Field::Bytes(bytes)) => key = bytes,
            (2, Field::Bytes(bytes)) => value = bytes,
            (1 | 2, _) => return Err(malformed("a field has the wrong wire type")),
            _ => {}
        }
    }
    Ok((key, value))
}

/// A field's text.
pub(crate) fn text<'a>(bytes: &'a [u8], field: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| Error::invalid(field, "this is not valid UTF-8"))
}

/// Bytes that are no message.
pub(crate) fn malformed(why: impl std::fmt::Display) -> Error {
    Error::new(crate::error::Kind::InvalidArgument, format!("the request is not a valid message: {why}"))
}
