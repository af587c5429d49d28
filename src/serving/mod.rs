//! The use cases, one file each. Every one takes a [`Caller`](crate::access::Caller), so none can forget whose data it is.

mod limits;
pub mod online;

pub use limits::Limits;

use crate::{clock::Clock, registry::Registry, store::DurableStore};
use std::sync::Arc;

/// What both transports share.
#[derive(Clone)]
pub struct Service {
    pub registry: Arc<Registry>,
    pub store: Arc<dyn DurableStore>,
    pub limits: Arc<Limits>,
    pub clock: Clock,
}
