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

/// 200 when every part can serve, else 503 with the reason beside the part that cannot.
async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let store = match shared.service.store.snapshot(&[]).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.message,
    };
    let server = if shared.is_draining() { "draining" } else { "ok" };
    let (status, word) = match store == "ok" && server == "ok" {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    (status, axum::Json(json!({"status": word, "parts": {"server": server, "store": store}}))).into_response()
}

/// Who may see them was judged by the gate.
async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.scrape()).into_response()
}
