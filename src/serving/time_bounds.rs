//! Which moments a caller may name: one rule for written rows, events, online answers and spines.

use super::Service;
use crate::feature::{Duration, Timestamp};

/// From the oldest moment that is kept to a little ahead of the server's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeBounds {
    now: Timestamp,
    ahead_max: Duration,
    /// None = everything is kept.
    kept_from: Option<Timestamp>,
}

impl Service {
    /// As they stand now; they move with the clock.
    pub(super) fn time_bounds(&self) -> TimeBounds {
        TimeBounds {
            now: self.clock.now(),
            ahead_max: self.limits.future_max.0,
            kept_from: self.store.retention_bound(),
        }
    }
}

impl TimeBounds {
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The newest moment that may be named.
    pub fn latest(&self) -> Timestamp {
        self.now.saturating_add(self.ahead_max.micros())
    }

    /// The oldest moment that may be named.
    pub fn earliest(&self) -> Timestamp {
        self.kept_from.unwrap_or(Timestamp::MIN)
    }

    /// Says why a moment may not be named.
    pub fn check(&self, time: Timestamp) -> Result<(), String> {
        self.check_ahead(time)?;
        match self.kept_from {
            Some(bound) if time < bound => Err(format!(
                "{time} is before {bound}, from where on history is kept; the setting store.retention says how long"
            )),
            _ => Ok(()),
        }
    }

    /// The same where age does not matter.
    pub fn check_ahead(&self, time: Timestamp) -> Result<(), String> {
        if time > self.latest() {
            let Self { now, ahead_max, .. } = self;
            return Err(format!("{time} is more than {ahead_max} ahead of the server, where it is {now}"));
        }
        Ok(())
    }
}
