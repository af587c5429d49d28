//! Who asks: the one key that a request carries.

use super::Shared;
use crate::{
    access::Caller,
    error::{Error, Kind, Result},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

impl Shared {
    /// The caller that the headers' key stands for: `x-api-key`, or `Authorization: Bearer`, or both if they agree.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<Caller> {
        let keys = headers.get_all(API_KEY).iter().map(readable);
        let bearers = headers.get_all(header::AUTHORIZATION).iter().map(bearer);
        let mut presented: Option<&str> = None;
        for key in keys.chain(bearers) {
            let key = key?;
            if presented.is_some_and(|other| other != key) {
                let message =
                    "two different credentials were sent; send one, as x-api-key or as Authorization: Bearer";
                return Err(Error::invalid("x-api-key", message));
            }
            presented = Some(key);
        }
        let key = presented.ok_or_else(|| refused("no API key was sent"))?;
        self.service.registry.authenticate(key, self.service.clock.now())
    }
}

fn bearer(value: &HeaderValue) -> Result<&str> {
    match readable(value)?.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Ok(key.trim()),
        _ => Err(refused("Authorization must be: Bearer KEY")),
    }
}

fn readable(value: &HeaderValue) -> Result<&str> {
    value.to_str().map_err(|_| refused("the API key is malformed or mistyped"))
}

fn refused(why: &str) -> Error {
    Error::new(Kind::Unauthenticated, format!("{why}; send a valid key as x-api-key"))
}
