//! The one layer that every request of both transports passes: it names the request, checks who asks, keeps the
//! deadline, catches panics, and writes refusals down.

use super::{
    Shared,
    call::{Call, CallParts, REQUEST_ID, RequestId},
    error::{Cause, Refusal},
};
use crate::{
    access::Caller,
    error::{Error, Kind},
};
use axum::{Router, body::Body};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, Method, Request, Response, header};
use hyper::body::Incoming;
use std::{
    any::Any,
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tower::Service as _;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Stands before the router.
#[derive(Clone)]
pub(super) struct Gate {
    shared: Arc<Shared>,
    router: Router,
}

impl Gate {
    pub(super) fn new(shared: Arc<Shared>, router: Router) -> Self {
        Self { shared, router }
    }

    /// Answers one request, whatever happens.
    pub(super) async fn answer(
        mut self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let started = Instant::now();
        let request_id = RequestId::of(request.headers());
        let transport = Transport::of(&request);
        let mut response = match self.admit(&request, &request_id, started) {
            Err(refusal) => transport.refuse(refusal, &request_id),
            Ok((call, deadline)) => {
                if let Some(call) = call {
                    request.extensions_mut().insert(call);
                }
                let handled = AssertUnwindSafe(self.router.call(request)).catch_unwind();
                match within(deadline, handled).await {
                    Some(Ok(Ok(response))) => transport.written(response, &request_id),
                    Some(Ok(Err(never))) => match never {},
                    Some(Err(panic)) => transport.refuse(panicked(&*panic, &request_id), &request_id),
                    None => transport.refuse(too_late().into(), &request_id),
                }
            }
        };
        response.headers_mut().insert(REQUEST_ID, request_id.header());
        Ok(response)
    }

    /// Checks a request's head. Guarded paths get a call.
    fn admit(
        &self,
        request: &Request<Incoming>,
        request_id: &RequestId,
        started: Instant,
    ) -> Result<(Option<Call>, Option<Instant>), Refusal> {
        let settings = &self.shared.settings;
        check_sizes(request, settings.uri_bytes_max, settings.header_bytes_max)?;
        let asked = timeout(request.headers())?;
        let default = (!is_stream(request)).then_some(settings.request_timeout);
        let deadline = asked.or(default).and_then(|timeout| started.checked_add(timeout));
        if !is_guarded(request.uri().path()) {
            return Ok((None, deadline));
        }
        let caller = self.authenticate(request.headers())?;
        let parts = CallParts { caller, request_id: request_id.clone(), started, deadline };
        Ok((Some(Call::new(parts)), deadline))
    }

    /// Who asks, by the one key that the request carries.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let unreadable = || Error::new(Kind::Unauthenticated, "the API key is malformed or mistyped");
        let mut presented: Option<&str> = None;
        let keys = headers.get_all(API_KEY).iter().map(|value| value.to_str().map_err(|_| unreadable()));
        let bearers = headers.get_all(header::AUTHORIZATION).iter().map(|value| {
            let text = value.to_str().map_err(|_| unreadable())?;
            match text.split_once(' ') {
                Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Ok(key.trim()),
                _ => Err(Error::new(Kind::Unauthenticated, "Authorization must be: Bearer KEY")),
            }
        });
        for key in keys.chain(bearers) {
            let key = key?;
            if presented.is_some_and(|other| other != key) {
                let message =
                    "two different credentials were sent; send one, as x-api-key or as Authorization: Bearer";
                return Err(Error::invalid("x-api-key", message));
            }
            presented = Some(key);
        }
        let key = presented
            .ok_or_else(|| Error::new(Kind::Unauthenticated, "no API key; send a valid key as x-api-key"))?;
        self.shared.service.registry.authenticate(key, self.shared.service.clock.now())
    }
}

/// Which language a refusal is written in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Grpc,
    Rest,
}

impl Transport {
    fn of<B>(request: &Request<B>) -> Self {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        match content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
            true => Self::Grpc,
            false => Self::Rest,
        }
    }

    fn refuse(self, refusal: Refusal, request_id: &RequestId) -> Response<Body> {
        match self {
            Self::Grpc => refusal.into_status().into_http(),
            Self::Rest => refusal.into_rest(request_id.as_str()),
        }
    }

    /// Writes down the refusal that a handler may have left in its response.
    fn written(self, mut response: Response<Body>, request_id: &RequestId) -> Response<Body> {
        if response.status().is_success() {
            return response;
        }
        let Some(refusal) = response.extensions_mut().remove::<Refusal>() else { return response };
        let mut written = self.refuse(refusal, request_id);
        for name in [header::ALLOW] {
            if let Some(value) = response.headers_mut().remove(&name) {
                written.headers_mut().insert(name, value);
            }
        }
        written
    }
}

/// Whether a path needs a key. Health, reflection and metrics answer without (metrics judge by themselves).
fn is_guarded(path: &str) -> bool {
    path.starts_with("/larder.v1.") || path.starts_with("/api/v1/")
}

/// Whether a request may go on for as long as its caller likes.
fn is_stream(request: &Request<Incoming>) -> bool {
    let says = |name, what: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
            .is_some_and(|value| value.contains(what))
    };
    match request.uri().path() {
        "/larder.v1.FeatureService/GetHistoricalFeatures"
        | "/larder.v1.FeatureService/StreamWriteFeatures" => true,
        "/api/v1/features/batch" | "/api/v1/features/write" => {
            request.method() == Method::POST
                && !(says(header::CONTENT_TYPE, "application/json") && !says(header::ACCEPT, "vnd.apache"))
        }
        path => path.starts_with("/grpc."),
    }
}

fn check_sizes(
    request: &Request<Incoming>,
    uri_bytes_max: usize,
    header_bytes_max: usize,
) -> Result<(), Refusal> {
    let uri = request.uri();
    let uri_bytes = uri.path_and_query().map_or(0, |text| text.as_str().len());
    if uri_bytes > uri_bytes_max {
        let message = format!("the address has {uri_bytes} bytes; at most {uri_bytes_max} are taken");
        return Err(Refusal::http(Cause::UriTooLong, message));
    }
    let header_bytes: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if header_bytes > header_bytes_max {
        let message = format!("the headers have {header_bytes} bytes; at most {header_bytes_max} are taken");
        return Err(Refusal::http(Cause::HeadersTooLarge, message));
    }
    Ok(())
}

/// The caller's own timeout, in gRPC's notation: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else { return Ok(None) };
    let parse = || {
        let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len() - 1)?;
        let fits = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = fits.then(|| digits.parse().ok())??;
        Some(match unit {
            "H" => Duration::from_secs(number * 3_600),
            "M" => Duration::from_secs(number * 60),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    };
    let message = "grpc-timeout must be at most eight digits and one of H M S m u n, such as 200m";
    parse().map(Some).ok_or_else(|| Error::invalid("grpc-timeout", message))
}

/// Drives `work` until its deadline. The deadline is looked at first each time, so that expired work reaches no store.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    let Some(deadline) = deadline else { return Some(work.await) };
    tokio::select! {
        biased;
        () = tokio::time::sleep_until(deadline.into()) => None,
        done = work => Some(done),
    }
}

fn too_late() -> Error {
    Error::new(
        Kind::DeadlineExceeded,
        "the deadline was over before the answer was ready; ask for less or wait longer",
    )
}

fn panicked(panic: &(dyn Any + Send), request_id: &RequestId) -> Refusal {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    tracing::error!(request_id = request_id.as_str(), panic = text.unwrap_or("?"), "a handler panicked");
    Error::internal("a defect of the server ended this request; its log has the cause under this request id")
        .into()
}
