//! What can be set.

use crate::{clock::Clock, feature::Duration};

/// Settings of the embedded store; the defaults suit most.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long history is kept by event timestamp; None = for ever. Each entity's newest row always stays.
    pub retention: Option<Duration>,
    /// Memory for the newest rows of entities in use.
    pub latest_bytes_max: usize,
    /// Memory for rows not yet in segments; as much again while they are being flushed.
    pub memtable_bytes_max: usize,
    /// A batch of at least this many bytes becomes a segment at once.
    pub segment_bytes_min: usize,
    /// Compaction makes segments no larger than this.
    pub segment_bytes_max: u64,
    /// Partitions of the event log; they stay what they were when it was made.
    pub partitions: u32,
    /// How long events are kept by log time, and late events and dead letters with them. Events leave by volumes: some are
    /// kept longer, by about an eighth. What the live reader of a partition has not read is never removed.
    pub event_retention: Duration,
    /// Bytes of records in a volume of the event log, or those of one group of appends where they are more. It bounds what
    /// a start after a crash has to repair, and is the unit in which old events leave.
    pub event_volume_bytes_max: u64,
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: None,
            latest_bytes_max: 128 << 20,
            memtable_bytes_max: 64 << 20,
            segment_bytes_min: 4 << 20,
            segment_bytes_max: 1 << 30,
            partitions: 1,
            event_retention: Duration::from_secs(7 * 86_400),
            event_volume_bytes_max: 512 << 20,
            clock: Clock::system(),
        }
    }
}
