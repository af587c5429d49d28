//! What an operator may set. The same log gives the same rows only under the same settings.

use crate::feature::Duration;

/// Settings of an aggregator.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How far the watermark stays behind a source's greatest event timestamp.
    pub watermark_delay: Duration,
    /// How far an event may lie ahead of its record's log time.
    pub future_max: Duration,
    /// How long an event id is remembered, in log time.
    pub ids_for: Duration,
    /// Event ids remembered at most; the oldest in log order go first.
    pub ids_max: usize,
    /// Bound of the state, see [`super::Memory::bytes`]: over it records are refused, and nothing changes.
    pub bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            watermark_delay: Duration::from_secs(600),
            future_max: Duration::from_secs(300),
            ids_for: Duration::from_secs(3_600),
            ids_max: 4_000_000,
            bytes_max: 2 << 30,
        }
    }
}
