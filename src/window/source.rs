//! A source: the events of one tenant and type, with the clocks that they move.

use super::{MissedWindows, Options, clock::Clock, population::Population, rows::Cause};
use crate::{event::FieldValue, feature::TenantId};

/// All that events of one type feed.
pub struct Source {
    pub tenant: TenantId,
    pub event_type: Box<str>,
    pub clock: Clock,
    /// Fields that features name; they only grow.
    pub fields: Vec<String>,
    pub populations: Vec<Population>,
    /// The next moment at which some windows are due, in microseconds.
    next_multiple: i64,
    /// The next moment at which some windows close.
    next_close: i64,
}

impl Source {
    pub fn new(tenant: TenantId, event_type: &str) -> Self {
        Self {
            tenant,
            event_type: event_type.into(),
            clock: Clock::UNSET,
            fields: Vec::new(),
            populations: Vec::new(),
            next_multiple: i64::MIN,
            next_close: i64::MIN,
        }
    }

    /// Positions of the fields of features, new ones included.
    pub fn fields_of<'a>(&mut self, names: impl Iterator<Item = Option<&'a str>>) -> Vec<usize> {
        names
            .map(|name| {
                let Some(name) = name else { return 0 };
                self.fields.iter().position(|known| known == name).unwrap_or_else(|| {
                    self.fields.push(name.to_owned());
                    self.fields.len() - 1
                })
            })
            .collect()
    }

    /// The entities that an event is about: `Ok(None)` if nothing is known of their type, `Err` if it has to name one.
    pub fn population(&self, entity_type: Option<&str>) -> Result<Option<usize>, ()> {
        match (entity_type, self.populations.len()) {
            (None, 1) => Ok(Some(0)),
            (None, _) => Err(()),
            (Some(name), _) => Ok(self.populations.iter().position(|known| &*known.entity_type == name)),
        }
    }

    /// The log time at which something may become due, as far as the log's time alone moves emission time.
    pub fn wakes_at(&self) -> i64 {
        if self.clock.is_set() { self.clock.reaches(self.next_multiple) } else { i64::MAX }
    }

    /// Step 1: log time moves emission time.
    pub fn elapse(&mut self, cause: Cause) {
        if self.clock.is_set() {
            self.emit(self.clock.emission(cause.log_time), cause);
        }
    }

    /// Step 2: whether the event is counted; `missed` gets the closed windows that it missed. Beside the entity stands its
    /// number, as a guess.
    #[inline]
    pub fn count(
        &mut self,
        population: usize,
        (entity, guess): (&str, u32),
        timestamp: i64,
        values: &[FieldValue<'_>],
        missed: &mut Vec<MissedWindows>,
    ) -> bool {
        let Population { entities, stores, .. } = &mut self.populations[population];
        let (mut counted, mut known) = (false, None);
        for store in stores {
            let standing = store.judge(timestamp, values, missed);
            if standing.counted || standing.noted {
                let entity = *known.get_or_insert_with(|| entities.intern(entity, guess));
                store.count(entity, timestamp, values);
            }
            counted |= standing.counted;
        }
        counted
    }

    /// Step 3: an event moves the clocks.
    #[inline]
    pub fn advance(&mut self, timestamp: i64, cause: Cause, options: &Options) {
        if self.clock.is_set() && timestamp <= self.clock.greatest {
            return;
        }
        self.clock.advance(timestamp, cause.log_time);
        let emission = self.clock.emission(cause.log_time);
        if emission >= self.next_multiple {
            self.emit(emission, cause);
        }
        let watermark = self.watermark(options);
        if watermark >= self.next_close {
            self.populations.iter_mut().for_each(|population| population.close(watermark, cause));
            self.refresh();
        }
    }

    pub fn watermark(&self, options: &Options) -> i64 {
        self.clock.greatest.saturating_sub(options.watermark_delay.micros())
    }

    fn emit(&mut self, emission: i64, cause: Cause) {
        self.populations.iter_mut().for_each(|population| population.emit(emission, cause));
        self.refresh();
    }

    /// Finds the next moments, after anything that moved them.
    pub fn refresh(&mut self) {
        let stores = || self.populations.iter().flat_map(|population| &population.stores);
        self.next_multiple =
            stores().map(|store| (store.emitted + 1).saturating_mul(store.slide)).min().unwrap_or(i64::MAX);
        self.next_close =
            stores().map(|store| (store.closed + 1).saturating_mul(store.slide)).min().unwrap_or(i64::MAX);
    }

    /// The log time at which a row is due.
    pub fn due_at(&self) -> Option<i64> {
        let stores = self.populations.iter().flat_map(|population| &population.stores);
        let ends = stores.filter_map(|store| Some(store.next_due()? * store.slide));
        ends.min().filter(|_| self.clock.is_set()).map(|end| self.clock.reaches(end))
    }
}
