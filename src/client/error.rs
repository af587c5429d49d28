//! What a failed call means: the server's own error back in our words, with the next step.

use crate::error::{Error, Kind};
use std::error::Error as _;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The error that a status carries; the first field violation says where.
pub(super) fn from_status(status: &Status) -> Error {
    let kind = match status.code() {
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::PermissionDenied => Kind::PermissionDenied,
        Code::NotFound => Kind::NotFound,
        Code::InvalidArgument | Code::OutOfRange => Kind::InvalidArgument,
        Code::AlreadyExists => Kind::AlreadyExists,
        Code::FailedPrecondition => Kind::FailedPrecondition,
        Code::Aborted => Kind::Aborted,
        Code::ResourceExhausted => Kind::TooLarge,
        Code::Unavailable => Kind::Unavailable,
        Code::DeadlineExceeded | Code::Cancelled => Kind::DeadlineExceeded,
        _ => Kind::Internal,
    };
    let mut error = Error::new(kind, status.message());
    if error.message.is_empty() {
        error.message = format!("the server answered {:?} without a word", status.code());
    }
    let violation =
        status.get_details_bad_request().and_then(|details| details.field_violations.into_iter().next());
    error.field = violation.map(|violation| violation.field).filter(|field| !field.is_empty());
    if let Some(field) = &error.field
        && let Some(rest) = error.message.strip_prefix(&format!("{field}: "))
    {
        error.message = rest.to_owned();
    }
    error.retry_after = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
    if let Some(cause) = root_cause(status.source()) {
        error.message = format!("the connection broke: {cause}; is the server still up?");
    }
    error
}

/// Nobody listens at `url`.
pub(super) fn unreachable(url: &str, cause: &tonic::transport::Error) -> Error {
    let cause = root_cause(Some(cause)).unwrap_or_else(|| cause.to_string());
    Error::unavailable(format!(
        "cannot reach {url}: {cause}; start a server with `larder serve`, or say where it is with --url or LARDER_URL"
    ))
}

/// The server left out a part that the contract promises.
pub(super) fn missing(part: &str) -> Error {
    Error::internal(format!("the server's answer lacks {part:?}; do client and server differ in version?"))
}

/// The innermost of a chain of causes.
fn root_cause(mut cause: Option<&(dyn std::error::Error + 'static)>) -> Option<String> {
    let mut innermost = None;
    while let Some(error) = cause {
        innermost = Some(error.to_string());
        cause = error.source();
    }
    innermost
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_status_keeps_its_field() {
        let details = ErrorDetails::with_bad_request_violation("features[1]", "unknown");
        let status = Status::with_error_details(Code::NotFound, "features[1]: no feature \"x\"", details);
        let error = from_status(&status);
        assert_eq!((error.kind, error.field.as_deref()), (Kind::NotFound, Some("features[1]")));
        assert_eq!(error.to_string(), "features[1]: no feature \"x\"");
    }
}
