//! Entity ids and the keys that storage knows them by.
//!
//! The key of a type with one key is the id itself. A composite key is the netstring of its ids
//! (`2:u1,2:m7,`; <https://cr.yp.to/proto/netstrings.txt>), so that ("a", "bc") and ("ab", "c") never meet.

use std::fmt::Write;

/// Longest entity id, in bytes.
pub const ID_BYTES_MAX: usize = 256;

/// Checks an entity id: 1 to 256 bytes, no control characters, otherwise free.
#[inline]
pub fn check_id(id: &str) -> Result<(), String> {
    // Without a way out in between: ids are short, and nearly all of them plain.
    let is_plain = id.bytes().fold(true, |plain, b| plain & (b' '..0x7f).contains(&b));
    if is_plain && (1..=ID_BYTES_MAX).contains(&id.len()) { Ok(()) } else { check_odd_id(id) }
}

/// The same of any id, and what is wrong with it.
fn check_odd_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("an entity id must not be empty".into());
    }
    if id.len() > ID_BYTES_MAX {
        return Err(format!("an entity id has at most {ID_BYTES_MAX} bytes; this one has {}", id.len()));
    }
    if id.chars().any(char::is_control) {
        return Err(format!("the entity id {id:?} holds a control character"));
    }
    Ok(())
}

/// Appends the storage key of one entity; `ids` are in the order of the type's keys.
pub fn encode_key<'a>(ids: impl ExactSizeIterator<Item = &'a str>, key: &mut String) {
    let composite = ids.len() > 1;
    for id in ids {
        if composite {
            write!(key, "{}:{id},", id.len()).expect("writing to a String");
        } else {
            key.push_str(id);
        }
    }
}

/// The ids within a storage key of a type with `keys` keys; `None` if it is not such a key.
pub fn decode_key(mut key: &str, keys: usize) -> Option<Vec<&str>> {
    if keys == 1 {
        return Some(vec![key]);
    }
    let mut ids = Vec::with_capacity(keys);
    while !key.is_empty() {
        let (len, rest) = key.split_once(':')?;
        let len: usize = len.parse().ok()?;
        ids.push(rest.get(..len)?);
        key = rest.get(len..)?.strip_prefix(',')?;
    }
    (ids.len() == keys).then_some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(ids: &[String]) -> String {
        let mut key = String::new();
        encode_key(ids.iter().map(String::as_str), &mut key);
        key
    }

    proptest! {
        #[test]
        fn keys_decode_to_their_ids(ids in prop::collection::vec("[:%{},*0-9a-cé🙂]{1,8}", 1..4)) {
            let key = encode(&ids);
            prop_assert_eq!(decode_key(&key, ids.len()).unwrap(), ids);
        }

        #[test]
        fn different_ids_have_different_keys(
            a in prop::collection::vec("[:,0-9a-c]{1,5}", 2),
            b in prop::collection::vec("[:,0-9a-c]{1,5}", 2),
        ) {
            prop_assert_eq!(a == b, encode(&a) == encode(&b));
        }
    }

    #[test]
    fn ids_at_their_bound() {
        assert!(check_id(&"x".repeat(256)).is_ok());
        assert!(check_id(&"x".repeat(257)).is_err());
        for id in ["", "a\0b", "a\nb", "\u{7f}", "\u{85}"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        for id in [":", "%", "{}", "*", " ", "🙂", "é"] {
            assert!(check_id(id).is_ok(), "{id:?}");
        }
    }
}
