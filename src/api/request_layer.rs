//! The one layer that every request of both transports passes: it names the request, checks who asks, keeps the
//! deadline, catches panics, and writes errors down.

use super::{
    ListenerKind, Shared,
    call::{Call, CallParts, Notes, REQUEST_ID, RequestId},
    connection::{ConnectionState, ObservedBody},
    deadline,
    error::{ApiError, ErrorCode},
    record::{RequestRecord, StreamBody},
    routes::{ARROW, JSON, METRICS, PARQUET, Rpc, Transport, is_guarded, may_stream},
};
use crate::{access::Scope, error::Error};
use axum::{
    Router,
    body::{Body, HttpBody},
};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use std::{any::Any, convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Instant};
use tonic::Code;
use tower::Service as _;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// A proxy on this machine puts one of these into what it forwards: such a request is not from here.
const FORWARDED: [&str; 2] = ["forwarded", "x-forwarded-for"];

/// Stands before the router, one for each connection.
#[derive(Clone)]
pub(super) struct RequestLayer {
    pub shared: Arc<Shared>,
    pub router: Router,
    pub kind: ListenerKind,
    pub state: Arc<ConnectionState>,
    /// Whether the connection comes from this machine.
    pub loopback: bool,
}

/// What the head of a request says.
struct Admission {
    call: Option<Call>,
    /// Whether the request may go on for as long as its caller likes.
    stream: bool,
    deadline: Option<Instant>,
}

impl RequestLayer {
    /// Answers one request, whatever happens.
    pub async fn answer(mut self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let version = request.version();
        let mut request = request.map(|body| ObservedBody::new(body, version, &self.state));
        let mut record = self.record(&request);
        let mut response = match self.admit(&request, &record) {
            Err(error) => record.refused(error),
            Ok(Admission { call, stream, deadline }) => {
                record.call.clone_from(&call);
                if let Some(call) = call {
                    request.extensions_mut().insert(call);
                }
                let handled = AssertUnwindSafe(self.router.call(request)).catch_unwind();
                match deadline::within(deadline, handled).await {
                    Some(Ok(Ok(response))) => {
                        let response = record.answered(response);
                        let streams = match record.transport {
                            Transport::Grpc => stream,
                            Transport::Rest => response.body().size_hint().exact().is_none(),
                        };
                        if streams && record.code == Code::Ok {
                            return Ok(streamed(response, record, deadline));
                        }
                        response
                    }
                    Some(Ok(Err(never))) => match never {},
                    Some(Err(panic)) => record.refused(panicked(&*panic, &record.request_id)),
                    None => record.refused(deadline::over().into()),
                }
            }
        };
        response.headers_mut().insert(REQUEST_ID, record.request_id.header());
        if self.state.has_body_left() {
            // Else a client sends its next request into a connection that is about to be closed.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    fn record(&self, request: &Request<ObservedBody>) -> RequestRecord {
        let transport = transport(request.headers());
        let rpc = match transport {
            Transport::Grpc => Rpc::of_grpc(request.uri().path()),
            // The router knows.
            Transport::Rest => Rpc::OTHER,
        };
        self.state.begin_request();
        RequestRecord {
            shared: self.shared.clone(),
            state: self.state.clone(),
            transport,
            request_id: RequestId::of(request.headers()),
            started: Instant::now(),
            rpc,
            call: None,
            code: Code::Cancelled,
        }
    }

    /// Checks a request's head. Guarded paths get a call.
    fn admit(&self, request: &Request<ObservedBody>, record: &RequestRecord) -> Result<Admission, ApiError> {
        let settings = &self.shared.settings;
        let headers = request.headers();
        if self.state.is_ambiguous() {
            let message = "Content-Length and Transfer-Encoding were both sent; send one";
            return Err(Error::invalid("transfer-encoding", message).into());
        }
        check_sizes(request, settings.uri_bytes_max, settings.header_bytes_max)?;
        let stream = is_stream(request, record);
        let default = (!stream).then_some(settings.request_timeout);
        let timeout = deadline::asked(headers)?.or(default);
        let deadline = timeout.and_then(|timeout| record.started.checked_add(timeout));
        let path = request.uri().path();
        if path == METRICS {
            self.admit_to_metrics(headers)?;
        }
        if !is_guarded(path) {
            return Ok(Admission { call: None, stream, deadline });
        }
        let call = Call::new(CallParts {
            caller: self.shared.authenticate(headers)?,
            request_id: record.request_id.clone(),
            started: record.started,
            deadline,
            notes: Notes::new(record.rpc),
        });
        Ok(Admission { call: Some(call), stream, deadline })
    }

    /// Metrics are for everybody where they have their own address; elsewhere for this machine and for operators.
    fn admit_to_metrics(&self, headers: &HeaderMap) -> Result<(), Error> {
        let from_here = self.loopback && !FORWARDED.iter().any(|name| headers.contains_key(*name));
        if self.kind == ListenerKind::Metrics || from_here {
            return Ok(());
        }
        self.shared.authenticate(headers)?.require(Scope::Operator)
    }
}

impl RequestRecord {
    fn refused(&mut self, error: ApiError) -> Response<Body> {
        self.code = error.cause.mapping().grpc;
        match self.transport {
            Transport::Grpc => error.into_status().into_http(),
            Transport::Rest => error.into_rest(self.request_id.as_str()),
        }
    }

    /// Writes down the error that a handler may have left in its response.
    fn answered(&mut self, mut response: Response<Body>) -> Response<Body> {
        if let Some(error) = response.extensions_mut().remove::<ApiError>() {
            let mut written = self.refused(error);
            if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
                written.headers_mut().insert(header::ALLOW, allow);
            }
            return written;
        }
        self.code = match response.headers().get(GRPC_STATUS) {
            Some(status) => Code::from_bytes(status.as_bytes()),
            None if response.status().is_success() => Code::Ok,
            None if response.status().as_u16() == 503 => Code::Unavailable,
            None => Code::Unknown,
        };
        response
    }
}

/// Hands the record to the answer's body: a stream ends when that does.
fn streamed(
    response: Response<Body>,
    mut record: RequestRecord,
    deadline: Option<Instant>,
) -> Response<Body> {
    let request_id = record.request_id.header();
    record.code = Code::Cancelled;
    let mut response = response.map(|body| Body::new(StreamBody::new(body, record, deadline)));
    response.headers_mut().insert(REQUEST_ID, request_id);
    response
}

fn transport(headers: &HeaderMap) -> Transport {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    match content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
        true => Transport::Grpc,
        false => Transport::Rest,
    }
}

/// Whether a request may go on for as long as its caller likes.
fn is_stream(request: &Request<ObservedBody>, record: &RequestRecord) -> bool {
    let path = request.uri().path();
    match record.transport {
        Transport::Grpc => record.rpc.row().is_some_and(|row| row.streams) || path.starts_with("/grpc."),
        Transport::Rest if may_stream(request.method(), path) => {
            let mentions = |name: HeaderName, media_type| {
                let value = request.headers().get(name).and_then(|value| value.to_str().ok());
                value.is_some_and(|value| value.contains(media_type))
            };
            !mentions(header::CONTENT_TYPE, JSON)
                || [ARROW, PARQUET].iter().any(|media_type| mentions(header::ACCEPT, media_type))
        }
        Transport::Rest => false,
    }
}

fn check_sizes(
    request: &Request<ObservedBody>,
    uri_bytes_max: usize,
    header_bytes_max: usize,
) -> Result<(), ApiError> {
    let uri_bytes = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
    if uri_bytes > uri_bytes_max {
        let message = format!("the URL has {uri_bytes} bytes; at most {uri_bytes_max} are taken");
        return Err(ApiError::http(ErrorCode::UriTooLong, message));
    }
    let header_bytes: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if header_bytes > header_bytes_max {
        let message = format!("the headers have {header_bytes} bytes; at most {header_bytes_max} are taken");
        return Err(ApiError::http(ErrorCode::HeadersTooLarge, message));
    }
    Ok(())
}

/// A panic ends one request and nothing else; the log has its cause.
pub(super) fn panicked(panic: &(dyn Any + Send), request_id: &RequestId) -> ApiError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    tracing::error!(request_id = request_id.as_str(), panic = text.unwrap_or("?"), "a handler panicked");
    Error::internal("a defect of the server ended this request; its log has the cause under this request id")
        .into()
}
