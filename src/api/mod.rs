//! The transports: gRPC and REST from one router on one port, three lines a verb, the same verbs in the same order.
//!
//! ```text
//!   connection ── gate ───────────────── router ─┬─ grpc   FeatureService, health, reflection
//!   (server.rs)   request id, key,               ├─ rest   /api/v1
//!                 deadline, panics, errors       └─ health /health /ready /metrics
//! ```
//!
//! To add a verb: its use case in `serving`, its conversions in `wire`, three lines in `grpc` and in `rest`.

mod body;
mod call;
mod codec;
pub mod error;
mod gate;
mod grpc;
mod health;
mod rest;
mod server;
mod settings;

pub use call::{Call, RequestId};
pub use server::Server;
pub use settings::HttpSettings;

use crate::serving::Service;
use axum::Router;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What every connection and handler shares.
pub struct Shared {
    pub service: Service,
    pub settings: HttpSettings,
    draining: AtomicBool,
}

impl Shared {
    pub fn new(service: Service, settings: HttpSettings) -> Arc<Self> {
        Arc::new(Self { service, settings, draining: AtomicBool::new(false) })
    }

    /// Whether the server takes no more work and finishes what it has.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Everything that is served, behind no gate yet.
fn router(shared: &Arc<Shared>) -> Router {
    grpc::routes(shared).into_axum_router().merge(rest::router(shared)).merge(health::router(shared))
}
