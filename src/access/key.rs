//! API keys: `lrd_<id>_<secret><checksum>`, of which only a hash is stored.
//!
//! The id (8 hex digits) names the key in lists and logs. The secret is 32 hex digits (128 random bits). The checksum is
//! CRC-32 over everything before it (8 hex digits): a fake or mistyped key is refused without a look-up.

use super::Scope;
use crate::{feature::Timestamp, random};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const PREFIX: &str = "lrd_";
const TEXT_LEN: usize = PREFIX.len() + 8 + 1 + 32 + 8;

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    pub id: String,
    /// SHA-256 of the whole key text.
    pub hash: [u8; 32],
    pub scopes: Vec<Scope>,
    pub created_at: Timestamp,
    /// Refused from this moment on.
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// A key's text: shown once, never stored, never logged.
#[derive(Clone)]
pub struct ApiKeySecret(String);

impl ApiKeySecret {
    /// A fresh random key.
    pub fn generate() -> Self {
        let hex: String = random::bytes::<20>().iter().map(|byte| format!("{byte:02x}")).collect();
        let body = format!("{PREFIX}{}_{}", &hex[..8], &hex[8..]);
        let checksum = crc32fast::hash(body.as_bytes());
        Self(format!("{body}{checksum:08x}"))
    }

    /// Checks form and checksum; says nothing on whether the key exists.
    pub fn parse(text: &str) -> Option<Self> {
        is_well_formed(text).then(|| Self(text.to_owned()))
    }

    /// A key that an operator chose (`LARDER_BOOTSTRAP_KEY`): ours, or any text of 16 to 128 printable bytes.
    pub fn chosen(text: &str) -> Result<Self, String> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || !(16..=128).contains(&text.len()) {
            return Err("a chosen key must have 16 to 128 printable ASCII characters".into());
        }
        match text.starts_with(PREFIX) {
            true => Self::parse(text)
                .ok_or_else(|| format!("a key that begins with {PREFIX} must carry its checksum")),
            false => Ok(Self(text.to_owned())),
        }
    }

    /// The hash by which a presented key is looked up; `None` if it bears our prefix and is a fake.
    pub fn hash_of(text: &str) -> Option<[u8; 32]> {
        if text.starts_with(PREFIX) && !is_well_formed(text) {
            return None;
        }
        Some(Sha256::digest(text).into())
    }

    /// What names the key in lists and logs: its public part, or the start of its hash where it was chosen.
    pub fn id(&self) -> String {
        match self.0.strip_prefix(PREFIX) {
            Some(rest) => rest[..8].to_owned(),
            None => self.hash()[..4].iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// The whole text, to hand to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Whether form and checksum are right. Every request asks, so nothing is allocated.
fn is_well_formed(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() != TEXT_LEN || !text.starts_with(PREFIX) || bytes[12] != b'_' {
        return false;
    }
    let (body, checksum) = bytes.split_at(TEXT_LEN - 8);
    let digit = |nibble: u32| b"0123456789abcdef"[(nibble & 15) as usize];
    let expected = crc32fast::hash(body);
    checksum.iter().zip((0..8).rev()).all(|(byte, place)| *byte == digit(expected >> (4 * place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_parse_and_fakes_do_not() {
        let key = ApiKeySecret::generate();
        assert_eq!(ApiKeySecret::parse(key.reveal()).unwrap().hash(), key.hash());
        let mut fake = key.reveal().to_owned();
        let last = if fake.pop() == Some('0') { '1' } else { '0' };
        fake.push(last);
        for text in [fake.as_str(), "", "lrd_", &"é".repeat(26), &key.reveal()[1..]] {
            assert!(ApiKeySecret::parse(text).is_none(), "{text:?}");
        }
    }
}
