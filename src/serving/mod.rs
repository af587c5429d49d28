//! The use cases, one file each. Every one takes a [`Caller`](crate::access::Caller), so none can forget whose data it is.

pub mod admin;
pub mod catalogue;
pub mod entity;
pub mod events;
pub mod explain;
pub mod history;
pub mod invalidate;
mod limits;
pub mod online;
pub mod page;
pub mod register;
pub mod sets;
pub mod statistics;
mod store_error;
pub mod streams;
mod time_bounds;
pub mod training;
pub mod write;

pub use limits::Limits;

use crate::{
    clock::Clock,
    registry::Registry,
    store::{DurableStore, log::EventLog, readers::Progress},
    window,
};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What both transports share.
#[derive(Clone)]
pub struct Service {
    pub registry: Arc<Registry>,
    pub store: Arc<dyn DurableStore>,
    pub events: Events,
    pub limits: Arc<Limits>,
    pub clock: Clock,
    /// Memory that training sets share, in permits of [`training::SHARE_BYTES`].
    pub training_memory: Arc<Semaphore>,
}

/// Where events go, and what becomes of them.
#[derive(Clone)]
pub struct Events {
    pub log: EventLog,
    /// What readers of the log keep.
    pub progress: Arc<dyn Progress>,
    /// The partitions that this process reads.
    pub streams: Arc<streams::Streams>,
    /// How events are judged by whoever reads the log.
    pub windows: window::Options,
}

impl Events {
    pub fn new(log: EventLog, progress: Arc<dyn Progress>) -> Self {
        Self { log, progress, streams: Arc::default(), windows: window::Options::default() }
    }
}

impl Service {
    pub fn new(
        registry: Arc<Registry>,
        store: Arc<dyn DurableStore>,
        events: Events,
        limits: Arc<Limits>,
        clock: Clock,
    ) -> Self {
        let shares = limits.training_bytes_max / training::SHARE_BYTES;
        let training_memory = Arc::new(Semaphore::new(shares.clamp(1, Semaphore::MAX_PERMITS)));
        Self { registry, store, events, limits, clock, training_memory }
    }
}
