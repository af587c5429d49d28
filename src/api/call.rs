//! A call under way: who asks, under which request id, until when.
//!
//! The request layer makes it after authentication and puts it into the request; handlers of both transports take it from there
//! and leave notes on it, which the request layer writes into metrics and the log.

use super::{error::ApiError, routes::Rpc};
use crate::{
    access::Caller,
    error::{Error, Kind},
    serving::{
        Service,
        explain::{ExplainRequest, Explanation},
        online::{OnlineAnswer, OnlineRequest},
    },
    wire::online::Envelope,
};
use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
};
use std::{
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Instant,
};
use tonic::{Request, Status};

/// The header that names a request in answers and logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is kept, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// An authenticated call. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Call(Arc<CallParts>);

/// What a call knows.
#[derive(Debug)]
pub struct CallParts {
    pub caller: Caller,
    pub request_id: RequestId,
    /// When the request's head had come.
    pub started: Instant,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    pub(super) notes: Notes,
}

/// What handlers tell of a call.
#[derive(Debug)]
pub(super) struct Notes {
    pub rpc: AtomicU8,
    pub feature_count: AtomicU64,
    pub cells_read: AtomicU64,
    pub rows_written: AtomicU64,
    pub events_published: AtomicU64,
    pub entity_id: OnceLock<String>,
}

impl Notes {
    pub fn new(rpc: Rpc) -> Self {
        Self {
            rpc: AtomicU8::new(rpc.number()),
            feature_count: AtomicU64::new(0),
            cells_read: AtomicU64::new(0),
            rows_written: AtomicU64::new(0),
            events_published: AtomicU64::new(0),
            entity_id: OnceLock::new(),
        }
    }

    pub fn rpc(&self) -> Rpc {
        Rpc::of_number(self.rpc.load(Ordering::Relaxed))
    }
}

impl Call {
    pub(super) fn new(parts: CallParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Takes a gRPC request apart: the call and the message (or stream of messages).
    pub fn split<T>(request: Request<T>) -> Result<(Self, T), Status> {
        let (_, mut extensions, message) = request.into_parts();
        let call = extensions.remove::<Call>().ok_or_else(unauthenticated)?;
        Ok((call, message))
    }

    /// Asks the service, and notes what was asked.
    pub(super) async fn online(
        &self,
        service: &Service,
        request: OnlineRequest<'_>,
    ) -> Result<OnlineAnswer, Error> {
        self.about(request.entities.first());
        let answer = service.online(&self.caller, request).await?;
        self.read(answer.plan.features.len(), answer.rows);
        Ok(answer)
    }

    /// The same for one cell and its reasons.
    pub(super) async fn explain(
        &self,
        service: &Service,
        request: &ExplainRequest,
    ) -> Result<Explanation, Error> {
        self.about(Some(request.entity.first()).filter(|id| !id.is_empty()));
        let explanation = service.explain_feature(&self.caller, request).await?;
        self.read(1, 1);
        Ok(explanation)
    }

    /// What stands around an online answer to this call.
    pub(super) fn envelope(&self, service: &Service) -> Envelope<'_> {
        let bytes_max = service.limits.reply_bytes_max;
        Envelope { request_id: self.request_id.as_str(), started: self.started, bytes_max }
    }

    /// Notes that so many features of so many entities were answered. Counts on, so pieces of a stream may each say so.
    pub fn read(&self, features: usize, entities: usize) {
        self.notes.feature_count.store(features as u64, Ordering::Relaxed);
        self.notes.cells_read.fetch_add((features * entities) as u64, Ordering::Relaxed);
    }

    /// Notes that so many rows became durable.
    pub fn wrote(&self, rows: u64) {
        self.notes.rows_written.fetch_add(rows, Ordering::Relaxed);
    }

    /// Notes that so many events became durable.
    pub fn published(&self, events: u64) {
        self.notes.events_published.fetch_add(events, Ordering::Relaxed);
    }

    /// Notes whom the call is about, for the log. Only the first is kept.
    pub fn about(&self, entity_id: Option<&str>) {
        if let Some(entity_id) = entity_id {
            self.notes.entity_id.get_or_init(|| entity_id.to_owned());
        }
    }
}

impl Deref for Call {
    type Target = CallParts;

    fn deref(&self) -> &CallParts {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let call = parts.extensions.get::<Call>().cloned().ok_or_else(unauthenticated)?;
        if let Some(pattern) = parts.extensions.get::<MatchedPath>() {
            let rpc = Rpc::of_rest(&parts.method, pattern.as_str());
            call.notes.rpc.store(rpc.number(), Ordering::Relaxed);
        }
        Ok(call)
    }
}

/// Only a path that the request layer does not guard comes here.
fn unauthenticated() -> Error {
    Error::new(Kind::Unauthenticated, "no API key; send a valid key as x-api-key")
}

/// Names a request: the caller's own, or a fresh one. Always visible ASCII.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Keeps the caller's id if it is fit to be logged, else makes one.
    pub fn of(headers: &HeaderMap) -> Self {
        let fit = |value: &&HeaderValue| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&value.len())
                && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        match headers.get(&REQUEST_ID).filter(fit) {
            Some(kept) => Self(kept.clone()),
            None => Self::generate(),
        }
    }

    fn generate() -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let random = fastrand::u128(..).to_be_bytes();
        let mut text = [0u8; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(random) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self(HeaderValue::from_bytes(&text).expect("hex digits fit a header"))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("only visible ASCII was let in")
    }

    /// Never indexed: an id that comes once would only push the headers that stay out of HPACK's table.
    pub(super) fn header(&self) -> HeaderValue {
        let mut value = self.0.clone();
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_request_id_is_kept() {
        let of = |text: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text).unwrap());
            RequestId::of(&headers).as_str().to_owned()
        };
        assert_eq!(of(b"my-id/7"), "my-id/7");
        assert_eq!(of(&[b'a'; 128]), "a".repeat(128));
        for unfit in [&[b'a'; 129][..], b"", b"a b", "é".as_bytes()] {
            assert_eq!(of(unfit).len(), 32, "{unfit:?}");
        }
        assert_ne!(RequestId::generate().as_str(), RequestId::generate().as_str());
    }
}
