//! When a silent partition is asked for a tick.
//!
//! A tick is a record that only carries log time, and everybody who reads the partition reads it. So one is asked for only
//! when a row is due and everything was read, one at a time; where its log time fell short of what is due (the log's clock
//! is behind ours) the next one comes after what was missing.

use super::failure::Result;
use crate::{error::Error, store};
use std::time::Duration;
use tokio::{task::JoinHandle, time::Instant};

/// Between a tick whose log time fell short and the next: doubled each time up to the maximum.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct TickSchedule {
    /// The answer to the tick that was asked for last, until it is there.
    asking: Option<JoinHandle<store::Result<()>>>,
    last: Option<Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    /// How far the partition was read then. The tick comes at or after this offset.
    next_offset: u64,
    pause: Duration,
}

impl TickSchedule {
    /// Nothing is due any more.
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// Whether to ask for a tick: everything before `next_offset` is read, and log time is behind what is due by `missing`.
    pub fn may_ask(&self, now: Instant, next_offset: u64, missing: Duration) -> bool {
        self.asking.is_none()
            && self.last.is_none_or(|last| {
                next_offset > last.next_offset && now >= last.at + last.pause.max(missing.min(PAUSE_MAX))
            })
    }

    /// A tick was asked for.
    pub fn asked(&mut self, now: Instant, next_offset: u64, asking: JoinHandle<store::Result<()>>) {
        let pause = self.last.map_or(PAUSE_MIN, |last| (last.pause * 2).min(PAUSE_MAX));
        self.last = Some(Asked { at: now, next_offset, pause });
        self.asking = Some(asking);
    }

    /// How long to wait before [`TickSchedule::may_ask`] can say yes.
    pub fn pause(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| (last.at + last.pause).saturating_duration_since(now))
    }

    /// Waits for the answer to what was asked; for ever if nothing was.
    pub async fn answer(&mut self) -> Result<()> {
        let Some(asking) = &mut self.asking else { return std::future::pending().await };
        let answer = asking.await;
        self.asking = None;
        Ok(answer.map_err(Error::internal)??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_tick_at_a_time_and_the_next_after_what_was_missing() {
        let mut ticks = TickSchedule::default();
        let start = Instant::now();
        let ms = Duration::from_millis;
        assert!(ticks.may_ask(start, 7, ms(0)));
        ticks.asked(start, 7, tokio::spawn(async { Ok(()) }));
        assert!(!ticks.may_ask(start + ms(5_000), 8, ms(0)), "it is not answered");
        ticks.answer().await.unwrap();
        assert!(!ticks.may_ask(start + ms(5_000), 7, ms(0)), "it is not read back");
        assert!(!ticks.may_ask(start + ms(49), 8, ms(0)));
        assert!(ticks.may_ask(start + ms(50), 8, ms(0)));
        assert!(!ticks.may_ask(start + ms(299), 8, ms(300)));
        assert!(ticks.may_ask(start + ms(1_000), 8, ms(60_000)));
        ticks.asked(start, 8, tokio::spawn(async { Ok(()) }));
        ticks.answer().await.unwrap();
        assert!(!ticks.may_ask(start + ms(99), 9, ms(0)) && ticks.may_ask(start + ms(100), 9, ms(0)));
        ticks.reset();
        assert!(ticks.may_ask(start, 9, ms(0)));
    }
}
