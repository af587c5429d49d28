//! The one error of the project: what went wrong, where in the request, and what to do next.
//!
//! `api::error` holds the table that turns a [`Kind`] into a gRPC code, an HTTP status and a problem type.

use std::{fmt, time::Duration};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in words that both transports share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No key, or one that is not valid.
    Unauthenticated,
    /// The key lacks a scope, or the request names another tenant.
    PermissionDenied,
    /// A feature, set or path that nobody registered. Absent entities are statuses on cells instead.
    NotFound,
    /// The request breaks a rule; `field` says where.
    InvalidArgument,
    /// A registration contradicts what is there.
    AlreadyExists,
    /// Right as such, but not in the present state.
    FailedPrecondition,
    /// The same idempotency key with other content.
    Aborted,
    /// The caller is over its rate.
    RateLimited,
    /// A message, body or reply over its limit.
    TooLarge,
    /// A part that is needed cannot be reached now; a retry may help.
    Unavailable,
    /// The caller's deadline is over.
    DeadlineExceeded,
    /// A defect of ours.
    Internal,
}

/// An error with its cause and its next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: Kind,
    /// A sentence for a person: what is wrong and what to do.
    pub message: String,
    /// Path of the offending field in the request, such as `rows[57].values.country`.
    pub field: Option<String>,
    /// When a retry makes sense.
    pub retry_after: Option<Duration>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None, retry_after: None }
    }

    /// A rule broken at `field`.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidArgument, message).at(field)
    }

    /// A rule broken; who calls names the field.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidArgument, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after: Some(Duration::from_secs(1)), ..Self::new(Kind::Unavailable, message) }
    }

    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(Kind::Internal, message.to_string())
    }

    /// Names the offending field.
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Puts the field under a parent: `values.country` within `rows[57]` is `rows[57].values.country`.
    pub fn within(mut self, parent: impl fmt::Display) -> Self {
        self.field = Some(match self.field {
            Some(field) if field.starts_with('[') => format!("{parent}{field}"),
            Some(field) => format!("{parent}.{field}"),
            None => parent.to_string(),
        });
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{field}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}

/// A shape that serde's derive describes is refused in the same words as one that is read by hand.
impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::refused(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let known = expected.join(", ");
        Self::invalid(field, format!("this field is not known here; the fields are {known}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::invalid(field, "this field is missing; it is needed here")
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::invalid(field, "this key stands twice in one object")
    }
}
