//! `/health` (alive), `/ready` (can serve) and `/metrics`.

use super::Shared;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// The process is alive.
#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    /// `alive`.
    status: &'static str,
}

/// Whether the server can do its work.
#[derive(Serialize, JsonSchema)]
pub(super) struct Readiness {
    parts: Parts,
    /// `ready`; `degraded`, where events are held up; `not ready`, where features cannot be read or written.
    status: &'static str,
}

/// Each part: `ok`, or why it cannot work.
#[derive(Serialize, JsonSchema)]
struct Parts {
    events: String,
    server: String,
    store: String,
}

pub(super) async fn health() -> Response {
    axum::Json(Health { status: "alive" }).into_response()
}

/// 200 when features can be read and written, else 503, with the reason beside the part that cannot. Where only events are
/// held up the word is `degraded`: reads must not lose their server for that.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let ok = || "ok".to_owned();
    let service = &shared.service;
    let store = service.store.snapshot(&[]).await.err().map_or_else(ok, |error| error.to_string());
    let server = if shared.is_draining() { "draining".to_owned() } else { ok() };
    let trouble = service.events.streams.trouble();
    let events =
        service.events.log.sink.failure().map(|error| error.to_string()).or(trouble).unwrap_or_else(ok);
    let (code, status) = match (store == "ok" && server == "ok", events == "ok") {
        (true, true) => (StatusCode::OK, "ready"),
        (true, false) => (StatusCode::OK, "degraded"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let parts = Parts { events, server, store };
    (code, axum::Json(Readiness { parts, status })).into_response()
}

/// Who may see them was judged by the layer.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.scrape()).into_response()
}
