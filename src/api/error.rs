//! The one table from what went wrong to what each transport says.
//!
//! ```text
//!   error::Kind ──┐
//!                 ├─ ErrorCode ── StatusMapping ──┬─ tonic::Status with google.rpc details
//!   HTTP alone ───┘                 └─ application/problem+json (RFC 9457)
//! ```

use crate::error::{Error, Kind};
use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Longest message that leaves the server, in bytes: it travels in a header of gRPC.
const MESSAGE_BYTES_MAX: usize = 2_048;
/// Who speaks in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "larder";

/// Names of gRPC codes, by number.
pub(super) const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

pub(super) fn code_name(code: Code) -> &'static str {
    CODES[code as usize]
}

/// Why a call is refused: a reason both transports know, or one of HTTP alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    Kind(Kind),
    UnknownPath,
    MethodNotAllowed,
    NotAcceptable,
    BodyTimeout,
    UriTooLong,
    UnsupportedMediaType,
    HeadersTooLarge,
}

/// What an error is called in each transport.
#[derive(Clone, Copy, Debug)]
pub struct StatusMapping {
    pub grpc: Code,
    pub http: StatusCode,
    /// The end of the problem's type, and in capitals the reason of `google.rpc.ErrorInfo`.
    pub slug: &'static str,
    pub title: &'static str,
}

impl ErrorCode {
    /// Its row of the table.
    pub fn mapping(self) -> StatusMapping {
        let row = |grpc, http, slug, title| StatusMapping { grpc, http, slug, title };
        use Kind::*;
        #[rustfmt::skip]
        let row = match self {
            ErrorCode::Kind(Unauthenticated)    => row(Code::Unauthenticated,    StatusCode::UNAUTHORIZED,           "unauthenticated",        "The key is missing or not valid"),
            ErrorCode::Kind(PermissionDenied)   => row(Code::PermissionDenied,   StatusCode::FORBIDDEN,              "permission-denied",      "The key does not allow this"),
            ErrorCode::Kind(NotFound)           => row(Code::NotFound,           StatusCode::NOT_FOUND,              "not-found",              "There is no such thing"),
            ErrorCode::Kind(InvalidArgument)    => row(Code::InvalidArgument,    StatusCode::BAD_REQUEST,            "invalid-argument",       "The request breaks a rule"),
            ErrorCode::Kind(AlreadyExists)      => row(Code::AlreadyExists,      StatusCode::CONFLICT,               "already-exists",         "It contradicts what is registered"),
            ErrorCode::Kind(FailedPrecondition) => row(Code::FailedPrecondition, StatusCode::BAD_REQUEST,            "failed-precondition",    "Not in the present state"),
            ErrorCode::Kind(Aborted)            => row(Code::Aborted,            StatusCode::CONFLICT,               "aborted",                "It conflicts with another request"),
            ErrorCode::Kind(RateLimited)        => row(Code::ResourceExhausted,  StatusCode::TOO_MANY_REQUESTS,      "rate-limited",           "Too many requests"),
            ErrorCode::Kind(TooLarge)           => row(Code::ResourceExhausted,  StatusCode::PAYLOAD_TOO_LARGE,      "too-large",              "Too large"),
            ErrorCode::Kind(Unavailable)        => row(Code::Unavailable,        StatusCode::SERVICE_UNAVAILABLE,    "unavailable",            "A part that is needed cannot be reached"),
            ErrorCode::Kind(DeadlineExceeded)   => row(Code::DeadlineExceeded,   StatusCode::GATEWAY_TIMEOUT,        "deadline-exceeded",      "The deadline is over"),
            ErrorCode::Kind(Internal)           => row(Code::Internal,           StatusCode::INTERNAL_SERVER_ERROR,  "internal",               "A defect of the server"),
            ErrorCode::UnknownPath              => row(Code::Unimplemented,      StatusCode::NOT_FOUND,              "not-found",              "There is no such thing"),
            ErrorCode::MethodNotAllowed         => row(Code::Unimplemented,      StatusCode::METHOD_NOT_ALLOWED,     "method-not-allowed",     "This path does not take this method"),
            ErrorCode::NotAcceptable            => row(Code::InvalidArgument,    StatusCode::NOT_ACCEPTABLE,         "not-acceptable",         "No format that is accepted can be given"),
            ErrorCode::BodyTimeout              => row(Code::DeadlineExceeded,   StatusCode::REQUEST_TIMEOUT,        "request-timeout",        "The request came too slowly"),
            ErrorCode::UriTooLong               => row(Code::ResourceExhausted,  StatusCode::URI_TOO_LONG,           "uri-too-long",           "The URL is too long"),
            ErrorCode::UnsupportedMediaType     => row(Code::InvalidArgument,    StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is in a format that this path does not take"),
            ErrorCode::HeadersTooLarge          => row(Code::ResourceExhausted,  StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "The headers are too large"),
        };
        row
    }
}

/// Why a call was refused, as RFC 9457 has it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Problem<'a> {
    /// `urn:larder:problem:` and what kind it is.
    r#type: String,
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What is wrong, and what to do.
    detail: &'a str,
    /// The path of the offending field in the request, such as `features[1]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// The answer's `x-request-id`.
    request_id: &'a str,
}

/// A refused call on its way out. REST handlers return it; the request layer writes it, because only the request layer knows the request id.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub cause: ErrorCode,
    pub error: Error,
}

impl ApiError {
    /// A reason of HTTP alone.
    pub fn http(cause: ErrorCode, message: impl Into<String>) -> Self {
        Self { cause, error: Error::new(Kind::InvalidArgument, message) }
    }

    /// The body of a problem, as RFC 9457 has it.
    pub fn problem(&self, request_id: &str) -> Vec<u8> {
        let row = self.cause.mapping();
        let problem = Problem {
            r#type: format!("urn:larder:problem:{}", row.slug),
            title: row.title,
            status: row.http.as_u16(),
            detail: bounded(&self.error.message),
            field: self.error.field.as_deref().map(bounded),
            request_id,
        };
        serde_json::to_vec(&problem).expect("strings and numbers are JSON")
    }

    /// The answer to a REST call.
    pub fn into_rest(self, request_id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from(self.problem(request_id)));
        *response.status_mut() = self.cause.mapping().http;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.error.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.cause == ErrorCode::Kind(Kind::Unauthenticated) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// The answer to a gRPC call.
    pub fn into_status(self) -> Status {
        let row = self.cause.mapping();
        let mut details = ErrorDetails::new();
        details.set_error_info(row.slug.to_uppercase().replace('-', "_"), DOMAIN, HashMap::new());
        if let Some(field) = &self.error.field {
            details.add_bad_request_violation(bounded(field), bounded(&self.error.message));
        }
        if let Some(after) = self.error.retry_after {
            details.set_retry_info(Some(after));
        }
        Status::with_error_details(row.grpc, bounded(&self.error.to_string()), details)
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self { cause: ErrorCode::Kind(error.kind), error }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        ApiError::from(error).into_status()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.cause.mapping().http;
        response.extensions_mut().insert(self);
        response
    }
}

/// The start of a text that may hold a caller's data.
fn bounded(text: &str) -> &str {
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_refusal_reads_the_same_in_both_transports() {
        let mut error = Error::invalid("features[1]", "there is no feature \"x\"");
        error.retry_after = Some(Duration::from_secs(2));
        let error = ApiError::from(error);

        let problem: serde_json::Value = serde_json::from_slice(&error.problem("r-1")).unwrap();
        let expected = serde_json::json!({
            "type": "urn:larder:problem:invalid-argument", "title": "The request breaks a rule", "status": 400,
            "detail": "there is no feature \"x\"", "field": "features[1]", "request_id": "r-1",
        });
        assert_eq!(problem, expected);
        assert_eq!(error.clone().into_rest("r-1").headers()["retry-after"], "2");

        let status = error.into_status();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "features[1]: there is no feature \"x\"");
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "features[1]");
        assert_eq!(details.error_info().unwrap().reason, "INVALID_ARGUMENT");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
    }

    #[test]
    fn codes_are_named_by_number() {
        for number in 0..17 {
            let code = Code::from_i32(number);
            assert_eq!(format!("{code:?}").to_uppercase(), code_name(code).replace('_', ""));
        }
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let status = Status::from(Error::not_found("é".repeat(MESSAGE_BYTES_MAX)));
        assert_eq!(status.message().len(), MESSAGE_BYTES_MAX);
    }
}
