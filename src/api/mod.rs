//! The transports: gRPC and REST from one router on one port, one table of RPCs and routes.
//!
//! ```text
//!   connection ── request layer ──────── router ─┬─ grpc   FeatureService, AdminService, health, reflection
//!   (server.rs)   request id, key,               ├─ rest   /api/v1
//!                 deadline, panics, errors,      └─ health /health /ready /metrics
//!                 metrics, log
//! ```
//!
//! `routes` is the one table: router, labels, sampling, streams and the OpenAPI document come from it.

mod body;
mod call;
mod codec;
mod connection;
mod control;
mod credentials;
mod deadline;
pub mod error;
mod grpc;
mod health;
mod openapi;
mod record;
mod request_layer;
mod rest;
mod routes;
mod server;
mod settings;
mod training;

pub use call::{Call, RequestId};
pub use server::{ListenerKind, Server};
pub use settings::HttpSettings;

use crate::{serving::Service, telemetry::Metrics};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// What every connection and handler shares.
pub struct Shared {
    pub service: Service,
    pub settings: HttpSettings,
    pub metrics: Arc<Metrics>,
    draining: AtomicBool,
    /// Of so many online reads one is logged.
    online_sample: u64,
    online_seen: AtomicU64,
}

impl Shared {
    /// `online_sample`: of so many frequent requests one is logged at `info`; 0 = none.
    pub fn new(service: Service, settings: HttpSettings, online_sample: u64) -> Arc<Self> {
        let metrics = Metrics::new(routes::LABELS);
        let streams = service.events.streams.clone();
        metrics.watch_streams(move || streams.samples());
        Arc::new(Self {
            service,
            settings,
            metrics: Arc::new(metrics),
            draining: AtomicBool::new(false),
            online_sample,
            online_seen: AtomicU64::new(0),
        })
    }

    /// Whether the server takes no more work and finishes what it has.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether this frequent request is the one of many that is logged.
    fn is_sampled(&self) -> bool {
        self.online_sample > 0
            && self.online_seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.online_sample)
    }
}
