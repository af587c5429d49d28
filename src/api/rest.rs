//! REST of the data plane, whose bodies are read and written by hand; `control` has the handlers of the control plane.

use super::{
    Call, Shared,
    body::{AnyBody, JsonBody, PiecesBody, unsupported},
    error::{ApiError, ErrorCode},
    routes::{ARROW, JSON},
    training,
};
use crate::{
    error::Error,
    wire::{events, online, write},
};
use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    response::Response,
};
use std::sync::Arc;

/// What a handler returns; the request layer writes errors down.
pub(super) type Answer = Result<Response, ApiError>;
pub(super) type Api = State<Arc<Shared>>;

/// Makes problems of what a router has no answer for.
pub(super) fn with_fallbacks(router: Router) -> Router {
    router.fallback(unknown_path).method_not_allowed_fallback(wrong_method)
}

pub(super) async fn get_online_features(call: Call, State(shared): Api, JsonBody(body): JsonBody) -> Answer {
    let request = online::JsonRequest::read(&body)?;
    let answer = call.online(&shared.service, request.to_online(&request.entities())?).await?;
    let pieces = online::write_json(&answer, &request, &call.envelope(&shared.service))?;
    Ok(json(Body::new(PiecesBody::new(pieces))))
}

pub(super) async fn get_online_features_packed(
    call: Call,
    State(shared): Api,
    JsonBody(body): JsonBody,
) -> Answer {
    let (request, envelope) = (online::JsonRequest::read_packed(&body)?, call.envelope(&shared.service));
    let answer = call.online(&shared.service, request.to_online(&request.entities())?).await?;
    let reply = online::Reply::new(answer, request.schema_id, &envelope)?;
    Ok(json(online::write_packed(&reply, envelope.bytes_max)?))
}

pub(super) async fn get_historical_features(
    call: Call,
    State(shared): Api,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: AnyBody,
) -> Answer {
    training::rest::answer(&call, &shared, &headers, query.as_deref(), body).await
}

pub(super) async fn write_features(
    call: Call,
    State(shared): Api,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: AnyBody,
) -> Answer {
    let request = write::JsonRequest::new(query.as_deref(), idempotency_key(&headers)?)?;
    let (service, caller) = (&shared.service, &call.caller);
    let (outcome, rejected) = match body {
        AnyBody::Json(body) => (request.write(service, caller, &body).await?, 0),
        AnyBody::Lines(pieces) => write::write_lines(request, service, caller, pieces).await?,
        AnyBody::Arrow(_) => return Err(unsupported(ARROW, "application/json or application/x-ndjson")),
    };
    call.wrote(outcome.accepted);
    Ok(json(write::write_outcome(&outcome, rejected)))
}

pub(super) async fn publish_events(
    call: Call,
    State(shared): Api,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: AnyBody,
) -> Answer {
    let request = events::JsonRequest::new(query.as_deref(), idempotency_key(&headers)?)?;
    let (service, caller) = (&shared.service, &call.caller);
    let (outcome, rejected) = match body {
        AnyBody::Json(body) => (request.publish(service, caller, &body).await?, 0),
        AnyBody::Lines(pieces) => events::publish_lines(service, caller, pieces).await?,
        AnyBody::Arrow(_) => return Err(unsupported(ARROW, "application/json or application/x-ndjson")),
    };
    call.published(outcome.accepted);
    Ok(json(events::publish_outcome(&outcome, rejected)))
}

async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::http(
        ErrorCode::UnknownPath,
        format!("there is no path {}; the API is under /api/v1", uri.path()),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}; the Allow header says what it takes", uri.path());
    ApiError::http(ErrorCode::MethodNotAllowed, message)
}

/// The caller's own name for a write, so that a repeat does nothing.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let key = headers.get("idempotency-key").map(HeaderValue::to_str).transpose();
    key.map_err(|_| Error::invalid("idempotency_key", "the header Idempotency-Key holds visible ASCII"))
}

/// An answer in JSON.
pub(super) fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}
