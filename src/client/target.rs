//! Where the server is, and the key to it.

use crate::error::{Error, Kind, Result};
use std::{fmt, fs, path::Path};

/// A server's address and a key.
#[derive(Clone)]
pub struct Target {
    /// `http://host:port`.
    pub url: String,
    pub key: Option<String>,
}

impl Target {
    /// Where a server listens unless told otherwise.
    pub const DEFAULT_URL: &str = "http://127.0.0.1:8000";

    /// The key as given, else the one that a server on this machine left in `key_file`.
    pub fn find(url: Option<String>, key: Option<String>, key_file: &Path) -> Self {
        let left = || fs::read_to_string(key_file).ok().map(|text| text.trim().to_owned());
        let url = match url {
            Some(url) if url.contains("://") => url,
            Some(address) => format!("http://{address}"),
            None => Self::DEFAULT_URL.to_owned(),
        };
        Self { url, key: key.filter(|key| !key.is_empty()).or_else(left) }
    }

    pub(super) fn key(&self) -> Result<&str> {
        self.key.as_deref().ok_or_else(|| {
            Error::new(
                Kind::Unauthenticated,
                "no API key: set LARDER_KEY, or run where the server keeps its data (it left admin.key there)",
            )
        })
    }
}

/// Without the key: it must not reach a log.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_key_comes_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("admin.key");
        assert!(Target::find(None, None, &file).key().is_err());
        fs::write(&file, "from the file\n").unwrap();
        assert_eq!(Target::find(None, None, &file).key().unwrap(), "from the file");
        let target = Target::find(Some("host:1".into()), Some("given".into()), &file);
        assert_eq!((target.url.as_str(), target.key().unwrap()), ("http://host:1", "given"));
        assert!(!format!("{target:?}").contains("given"));
    }
}
