//! Pages of lists. A token says where the next page begins and carries a seal, so that none can be forged or used with
//! another question.

use crate::{
    access::Caller,
    error::{Error, Result},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

const SIZE_DEFAULT: usize = 100;
const SIZE_MAX: usize = 1_000;
const SEAL_BYTES: usize = 12;

/// Which page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// 0 = 100; at most 1 000.
    pub size: i64,
    /// Empty = the first page.
    pub token: String,
}

/// A page being answered: bound to the caller's key and to the question.
pub(super) struct Pages {
    pub size: usize,
    /// Where the page begins, in bytes that the use case knows. None = at the beginning.
    pub after: Option<Vec<u8>>,
    question: Sha256,
}

impl PageRequest {
    /// Checks size and token. `question` are the parts that a token is good for.
    pub(super) fn open(&self, caller: &Caller, question: &[&str]) -> Result<Pages> {
        let size = match usize::try_from(self.size) {
            Ok(0) => SIZE_DEFAULT,
            Ok(size @ 1..=SIZE_MAX) => size,
            _ => {
                let message = format!("a page has 1 to {SIZE_MAX} entries, not {}", self.size);
                return Err(Error::invalid("page_size", message));
            }
        };
        let mut hash = Sha256::new();
        hash.update(caller.key().hash);
        for part in question {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let mut pages = Pages { size, after: None, question: hash };
        if !self.token.is_empty() {
            pages.after = Some(pages.unseal(&self.token).ok_or_else(|| {
                Error::invalid(
                    "page_token",
                    "this page token is not one that this question gave; begin again",
                )
            })?);
        }
        Ok(pages)
    }
}

impl Pages {
    /// The token of the page that begins after `position`.
    pub(super) fn token(&self, position: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode([&self.seal(position)[..], position].concat())
    }

    /// Cuts what was read (one entry more than the page holds, if there are more) to the page, and makes the next one's
    /// token.
    pub(super) fn cut<T, P: AsRef<[u8]>>(&self, entries: &mut Vec<T>, position: impl Fn(&T) -> P) -> String {
        let more = entries.len() > self.size;
        entries.truncate(self.size);
        match entries.last() {
            Some(last) if more => self.token(position(last).as_ref()),
            _ => String::new(),
        }
    }

    fn unseal(&self, token: &str) -> Option<Vec<u8>> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (seal, position) = bytes.split_first_chunk::<SEAL_BYTES>()?;
        (*seal == self.seal(position)).then(|| position.to_vec())
    }

    fn seal(&self, position: &[u8]) -> [u8; SEAL_BYTES] {
        let digest = self.question.clone().chain_update(position).finalize();
        *digest.first_chunk().expect("a digest has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::{ApiKey, ApiKeySecret, Scope},
        feature::{TenantId, Timestamp},
    };
    use std::sync::Arc;

    fn caller() -> Caller {
        let secret = ApiKeySecret::generate();
        let key = ApiKey {
            id: secret.id(),
            hash: secret.hash(),
            scopes: Scope::ALL.to_vec(),
            created_at: Timestamp::from_stored(0),
            expires_at: None,
            revoked_at: None,
        };
        Caller::new(TenantId::from_stored(1), "default".into(), Arc::new(key))
    }

    #[test]
    fn tokens_are_good_for_their_question_alone() {
        let (caller, stranger) = (caller(), caller());
        let open = |caller: &Caller, question: &[&str], token: &str| {
            PageRequest { size: 0, token: token.into() }.open(caller, question)
        };
        let token = open(&caller, &["user", ""], "").unwrap().token(b"country");
        let again = open(&caller, &["user", ""], &token).unwrap();
        assert_eq!(again.after.as_deref(), Some(&b"country"[..]));
        assert!(open(&caller, &["", "user"], &token).is_err());
        assert!(open(&stranger, &["user", ""], &token).is_err());
        for i in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
            assert!(open(&caller, &["user", ""], std::str::from_utf8(&forged).unwrap()).is_err(), "{i}");
        }
        for token in ["x", "====", "AAAA", "é"] {
            assert!(open(&caller, &["user", ""], token).is_err());
        }
    }

    #[test]
    fn sizes_at_their_bounds() {
        let size =
            |size| PageRequest { size, token: String::new() }.open(&caller(), &[]).map(|pages| pages.size);
        assert_eq!((size(0), size(1), size(1_000)), (Ok(100), Ok(1), Ok(1_000)));
        for refused in [-1, 1_001, i64::MIN, i64::MAX] {
            assert_eq!(size(refused).unwrap_err().field.as_deref(), Some("page_size"));
        }
    }
}
