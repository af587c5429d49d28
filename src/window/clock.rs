//! The two clocks of a source, in microseconds.
//!
//! ```text
//!   watermark ◄── delay ── greatest ··· log time since its record ···► emission time
//! ```

use serde::{Deserialize, Serialize};

/// Before every moment; a clock that was never set.
pub const NEVER: i64 = i64::MIN;

/// Watermark and emission time of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The greatest event timestamp.
    pub greatest: i64,
    /// Log time of the record that set it.
    set_at: i64,
    /// Running maximum, as of the last record that moved the greatest.
    emission: i64,
}

impl Clock {
    pub const UNSET: Clock = Clock { greatest: NEVER, set_at: NEVER, emission: NEVER };

    pub fn is_set(self) -> bool {
        self.greatest != NEVER
    }

    /// Emission time when the log's time is `log_time`; the clock must be set.
    pub fn emission(self, log_time: i64) -> i64 {
        self.emission.max(self.greatest + (log_time - self.set_at))
    }

    /// The log time at which emission time reaches `moment`, if nothing else moves it.
    pub fn reaches(self, moment: i64) -> i64 {
        (moment - self.greatest).saturating_add(self.set_at)
    }

    /// Moves the greatest to a later event timestamp.
    pub fn advance(&mut self, event_timestamp: i64, log_time: i64) {
        let so_far = if self.is_set() { self.emission(log_time) } else { NEVER };
        *self = Clock { greatest: event_timestamp, set_at: log_time, emission: so_far.max(event_timestamp) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule 11: log time drives emission time from the record that set the greatest; it never runs back.
    #[test]
    fn emission_time_is_a_running_maximum() {
        let mut clock = Clock::UNSET;
        clock.advance(100, 1_000);
        assert_eq!((clock.emission(1_000), clock.emission(1_050)), (100, 150));
        clock.advance(120, 1_060);
        assert_eq!((clock.emission(1_060), clock.emission(1_099), clock.emission(1_101)), (160, 160, 161));
        assert_eq!((clock.reaches(161), clock.greatest), (1_101, 120));
    }
}
