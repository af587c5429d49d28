//! What can be set.

use crate::feature::{Duration, Timestamp};
use std::{fmt, sync::Arc};

/// Settings of the embedded store; the defaults suit most.
#[derive(Clone)]
pub struct Options {
    /// How long history is kept by event timestamp; None = for ever. Each entity's newest row always stays.
    pub retention: Option<Duration>,
    /// Memory for the newest rows of entities in use.
    pub latest_bytes_max: usize,
    /// Memory for rows not yet in segments; as much again while they are being flushed.
    pub memtable_bytes_max: usize,
    /// A batch of at least this many bytes becomes a segment at once.
    pub segment_bytes_min: usize,
    /// The time. Tests put theirs here.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: None,
            latest_bytes_max: 128 << 20,
            memtable_bytes_max: 64 << 20,
            segment_bytes_min: 4 << 20,
            clock: Arc::new(|| Timestamp::from_stored(chrono::Utc::now().timestamp_micros())),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("retention", &self.retention)
            .field("latest_bytes_max", &self.latest_bytes_max)
            .field("memtable_bytes_max", &self.memtable_bytes_max)
            .field("segment_bytes_min", &self.segment_bytes_min)
            .finish_non_exhaustive()
    }
}
