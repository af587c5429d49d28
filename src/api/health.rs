//! `/health` (alive), `/ready` (can serve) and `/metrics`.

use super::Shared;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use std::sync::Arc;

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shared.clone())
}

async fn health() -> Response {
    axum::Json(json!({"status": "alive"})).into_response()
}

/// 200 when features can be read and written, else 503, with the reason beside the part that cannot. Where only events are
/// held up the word is `degraded`: reads must not lose their server for that.
async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let ok = || "ok".to_owned();
    let service = &shared.service;
    let store = service.store.snapshot(&[]).await.err().map_or_else(ok, |error| error.to_string());
    let server = if shared.is_draining() { "draining".to_owned() } else { ok() };
    let trouble = service.events.streams.trouble();
    let events = service.events.log.failure().map(|error| error.to_string()).or(trouble).unwrap_or_else(ok);
    let (status, word) = match (store == "ok" && server == "ok", events == "ok") {
        (true, true) => (StatusCode::OK, "ready"),
        (true, false) => (StatusCode::OK, "degraded"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let parts = json!({"server": server, "store": store, "events": events});
    (status, axum::Json(json!({"status": word, "parts": parts}))).into_response()
}

/// Who may see them was judged by the gate.
async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.scrape()).into_response()
}
