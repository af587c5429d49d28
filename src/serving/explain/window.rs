//! The window behind a row, and what became of the entity's events in it.
//!
//! ```text
//!   log partition of the entity   … e e e ┆ e e │ e …      found by the span of the window, as far as the log holds it
//!                                  dropped┆     │ came after the row: pending
//!   late table                    events whose closed windows are this one
//! ```
//!
//! Events are judged again, in the order of `window::Aggregator`: dead, duplicate, late, unused, counted. Of duplicates
//! only those are known whose first event lies in the same window.

use super::ExplainedRow;
use crate::{
    access::Caller,
    error::{Kind, Result},
    event::{self, EventHead, FieldValue},
    feature::{RowId, Timestamp, Window, WindowFunction, definition::Feature},
    registry::Catalogue,
    serving::Service,
    store::{
        log::{Body, EventSource, FindRecords, Record},
        readers::{LateEvent, SideQuery},
    },
    window::{MissedWindows, Options, WindowFeature},
};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// Bytes of the log that one explanation reads.
const SCAN_BYTES_MAX: usize = 64 << 20;
/// Bytes of the log that are read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Late events of an entity that are looked at, and at once.
const LATE_EVENTS_MAX: usize = 100_000;
const LATE_PAGE: usize = 1_000;

/// The window that gave a row, and the entity's events in it as far as the log still holds them.
#[derive(Clone, Debug)]
pub struct ExplainedWindow {
    pub event_type: String,
    pub function: WindowFunction,
    /// None = every event counts.
    pub field: Option<String>,
    /// Inclusive.
    pub start: Timestamp,
    /// Exclusive; the row's event timestamp.
    pub end: Timestamp,
    /// The log still holds all that may lie in the window, and all of that was read.
    pub complete: bool,
    pub events_counted: u64,
    pub events_late: u64,
    pub events_duplicate: u64,
    pub events_unused: u64,
    /// Came after the row was emitted; its next emission counts them.
    pub events_pending: u64,
    /// Of the events counted.
    pub first_event: Option<Timestamp>,
    pub last_event: Option<Timestamp>,
    /// Why some events could not be read.
    pub unread: Option<String>,
}

impl Service {
    pub(super) async fn explained_window(
        &self,
        caller: &Caller,
        feature: &Feature,
        window: &Window,
        key: &str,
        row: &ExplainedRow,
    ) -> Result<ExplainedWindow> {
        let end = row.event_timestamp;
        let mut explained = ExplainedWindow {
            event_type: window.event_type.clone(),
            function: window.function,
            field: window.field.clone(),
            start: end.saturating_add(-window.size.micros()),
            end,
            complete: false,
            events_counted: 0,
            events_late: 0,
            events_duplicate: 0,
            events_unused: 0,
            events_pending: 0,
            first_event: None,
            last_event: None,
            unread: None,
        };
        let taking = WindowFeature::of(feature).expect("only windowed features come here");
        let mut count = Count {
            entity: key,
            entity_type: &feature.entity_type_name,
            takers: takers(&self.registry.catalogue(caller), &window.event_type),
            feature: taking,
            row_offset: row.sequence,
            late: HashSet::new(),
            ids: HashMap::new(),
            options: self.events.windows,
            explained: &mut explained,
        };
        let counted = self.count_events(caller, feature.group, &mut count).await;
        match counted {
            Ok(()) => {}
            // The row is there and is explained, with or without its events.
            Err(error) if matches!(error.kind, Kind::Unavailable | Kind::FailedPrecondition) => {
                explained.unread = Some(error.message);
            }
            Err(error) => return Err(error),
        }
        Ok(explained)
    }

    async fn count_events(&self, caller: &Caller, group: RowId, count: &mut Count<'_>) -> Result<()> {
        let log = &*self.events.log.source;
        let partition = self.events.log.sink.partition(count.entity.as_bytes());
        self.find_late(caller, group, partition, count).await?;
        let Some(index) = log.index() else {
            count.explained.unread = Some("this event log finds no events by their time".to_owned());
            return Ok(());
        };
        let registry = self.registry.snapshot();
        let (start, end) = (count.explained.start, count.explained.end);
        let fields: Vec<String> = count.feature.field.iter().cloned().collect();
        let mut from = Some(log.extent(partition).await?.start);
        let mut bytes = 0;
        while let Some(next) = from {
            if bytes >= SCAN_BYTES_MAX {
                count.explained.unread =
                    Some(format!("an explanation reads {} MiB of the log at most", SCAN_BYTES_MAX >> 20));
                return Ok(());
            }
            let query = FindRecords {
                partition,
                from: next,
                event_from: start,
                event_to: end,
                bytes_max: PIECE_BYTES,
            };
            let found = index.find(query).await?;
            for record in &found.records {
                let Body::Event { tenant, payload } = &record.body else { continue };
                bytes += payload.bytes().len();
                // What is no event was counted nowhere.
                if registry.tenant_of(tenant) == Some(caller.tenant())
                    && let Ok(event) = event::decode(payload)
                {
                    let mut values = Vec::new();
                    event.fields(&fields, &mut values);
                    count.add(record, &event.head, &values);
                }
            }
            from = found.next;
        }
        // Asked last: what was dropped while the log was being read is missed.
        count.explained.complete = count.explained.unread.is_none()
            && holds_from(log, partition, start.saturating_add(-count.options.future_max.micros())).await?;
        Ok(())
    }

    /// Late events of this window: the table has them all, the log perhaps not any more.
    async fn find_late(
        &self,
        caller: &Caller,
        group: RowId,
        partition: u32,
        count: &mut Count<'_>,
    ) -> Result<()> {
        let end = count.explained.end;
        let mut after = None;
        for _ in 0..LATE_EVENTS_MAX / LATE_PAGE {
            let query = SideQuery {
                tenant: caller.tenant(),
                after,
                limit: LATE_PAGE,
                event_type: count.explained.event_type.clone(),
                entity_id: count.entity.to_owned(),
            };
            let page = self.events.progress.late_events(query).await?;
            for event in
                page.iter().filter(|event| event.missed.iter().any(|missed| names(missed, group, end)))
            {
                count.explained.events_late += 1;
                if event.place.partition == partition {
                    count.late.insert(event.place.offset);
                }
            }
            after = page.last().map(|event: &LateEvent| event.place);
            if page.len() < LATE_PAGE {
                return Ok(());
            }
        }
        count.explained.unread = Some(format!("only {LATE_EVENTS_MAX} late events were looked at"));
        Ok(())
    }
}

/// Whether these closed windows hold the one of a group that ends then.
fn names(missed: &MissedWindows, group: RowId, end: Timestamp) -> bool {
    missed.group == group
        && (missed.first..=missed.last).contains(&end)
        && (end.micros() - missed.first.micros()) % missed.slide.micros() == 0
}

/// Since when each entity type has had features over an event type: an event has to say which it means while there are
/// several.
fn takers(catalogue: &Catalogue, event_type: &str) -> Vec<Timestamp> {
    let mut since: HashMap<&str, Timestamp> = HashMap::new();
    let takes = |feature: &&std::sync::Arc<Feature>| {
        feature.window.as_ref().is_some_and(|window| window.event_type == event_type)
    };
    for feature in catalogue.features().filter(takes) {
        let known = since.entry(&feature.entity_type_name).or_insert(feature.created_at);
        *known = feature.created_at.min(*known);
    }
    since.into_values().collect()
}

/// Whether nothing that was logged at or after a moment is gone from a partition.
async fn holds_from(log: &dyn EventSource, partition: u32, moment: Timestamp) -> Result<bool> {
    let start = log.extent(partition).await?.start;
    if start == 0 {
        return Ok(true);
    }
    let mut reader = log.reader(partition).await?;
    reader.seek(start).await?;
    let oldest = reader.read(1, Duration::ZERO).await?;
    Ok(oldest.records.first().is_some_and(|record| record.log_time < moment))
}

/// Counts the events of one entity in one window.
struct Count<'a> {
    /// Its storage key, which is its id: events name entities by one id.
    entity: &'a str,
    entity_type: &'a str,
    takers: Vec<Timestamp>,
    feature: WindowFeature,
    /// The record that caused the row: what came before it is in the row. The record itself is not, since what it makes
    /// due ended before its own event.
    row_offset: u64,
    /// Offsets of events that missed the window.
    late: HashSet<u64>,
    /// Event ids, with the log time at which each was seen.
    ids: HashMap<(Option<String>, String), Timestamp>,
    options: Options,
    explained: &'a mut ExplainedWindow,
}

impl Count<'_> {
    /// Judges one event, in the order of the rules.
    fn add(&mut self, record: &Record, head: &EventHead<'_>, values: &[FieldValue<'_>]) {
        if head.entity_id != self.entity || self.is_dead(record, head) {
            return;
        }
        let is_repeat = self.is_repeat(record, head);
        let is_ours = head.event_type == *self.explained.event_type
            && head.entity_type.as_ref().is_none_or(|name| *name == self.entity_type)
            && (self.explained.start..self.explained.end).contains(&head.timestamp);
        if !is_ours {
            return;
        }
        let of = &mut *self.explained;
        if is_repeat {
            of.events_duplicate += 1;
        } else if self.late.contains(&record.offset) {
            // Counted already, from the table.
        } else if !self.feature.takes(values.first().copied().unwrap_or(FieldValue::Missing)) {
            of.events_unused += 1;
        } else if record.offset >= self.row_offset {
            of.events_pending += 1;
        } else {
            of.events_counted += 1;
            of.first_event = Some(of.first_event.map_or(head.timestamp, |first| first.min(head.timestamp)));
            of.last_event = of.last_event.max(Some(head.timestamp));
        }
    }

    fn is_dead(&self, record: &Record, head: &EventHead<'_>) -> bool {
        let is_ahead = head.timestamp > record.log_time.saturating_add(self.options.future_max.micros());
        let takers = || self.takers.iter().filter(|since| **since <= record.log_time).count();
        let lacks_type =
            head.entity_type.is_none() && head.event_type == *self.explained.event_type && takers() > 1;
        is_ahead || lacks_type
    }

    /// Whether its id was seen already, within the time that ids are remembered. Remembers it.
    fn is_repeat(&mut self, record: &Record, head: &EventHead<'_>) -> bool {
        let Some(id) = &head.event_id else { return false };
        let key = (head.entity_type.as_deref().map(str::to_owned), id.as_ref().to_owned());
        let remembered = record.log_time.saturating_add(-self.options.ids_for.micros());
        match self.ids.get(&key) {
            Some(seen) if *seen > remembered => true,
            _ => {
                self.ids.insert(key, record.log_time);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feature::{Dtype, TenantId},
        store::log::TenantRef,
    };

    const SECOND: i64 = 1_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_stored(seconds * SECOND)
    }

    /// An event: offset, log time, event time, id, entity type, type, and what `value` holds.
    type Given<'a> = (u64, i64, i64, Option<&'a str>, Option<&'a str>, &'a str, FieldValue<'a>);

    /// What is counted of these events in the window from 600 s to 900 s, of a row that record 50 caused; record 9 missed it.
    fn count(events: &[Given<'_>], takers: Vec<Timestamp>) -> ExplainedWindow {
        let mut explained = ExplainedWindow {
            event_type: "buy".into(),
            function: WindowFunction::Sum,
            field: Some("value".into()),
            start: at(600),
            end: at(900),
            complete: true,
            events_counted: 0,
            events_late: 1,
            events_duplicate: 0,
            events_unused: 0,
            events_pending: 0,
            first_event: None,
            last_event: None,
            unread: None,
        };
        let mut count = Count {
            entity: "u",
            entity_type: "user",
            takers,
            feature: WindowFeature {
                function: WindowFunction::Sum,
                field: Some("value".into()),
                dtype: Dtype::Float64,
                allow_non_finite: false,
            },
            row_offset: 50,
            late: HashSet::from([9]),
            ids: HashMap::new(),
            options: Options::default(),
            explained: &mut explained,
        };
        for (offset, log_time, time, event_id, entity_type, event_type, value) in events {
            let payload = event::Payload::Json(bytes::Bytes::new());
            let body = Body::Event { tenant: TenantRef::Id(TenantId::from_stored(1)), payload };
            let record = Record { offset: *offset, log_time: at(*log_time), key: None, body };
            let head = EventHead {
                entity_id: if *event_type == "other" { "v" } else { "u" }.into(),
                event_type: (*event_type).into(),
                timestamp: at(*time),
                event_id: event_id.map(Into::into),
                entity_type: entity_type.map(Into::into),
            };
            count.add(&record, &head, &[*value]);
        }
        explained
    }

    #[test]
    fn events_are_judged_in_the_order_of_the_rules() {
        use FieldValue::*;
        let found = count(
            &[
                (1, 700, 600, None, None, "buy", Float(1.0)),
                (2, 700, 899, Some("a"), Some("user"), "buy", Int(2)),
                (3, 700, 650, Some("a"), Some("user"), "buy", Text("a repeat, whatever it holds")),
                (4, 700, 650, Some("a"), None, "buy", Int(2)), // another key: no entity type
                (5, 700, 650, None, None, "buy", Text("of another type")),
                (6, 700, 650, None, None, "buy", Missing),
                (7, 700, 599, None, None, "buy", Int(1)),
                (8, 700, 900, None, None, "buy", Int(1)),
                (9, 700, 650, None, None, "buy", Int(1)), // late, counted from the table
                (10, 300, 601, None, None, "buy", Int(1)), // dead: ahead of its log time
                (11, 700, 650, None, Some("shop"), "buy", Int(1)),
                (12, 700, 650, None, None, "sell", Int(1)),
                (13, 700, 650, None, None, "other", Int(1)),
                (50, 900, 650, None, None, "buy", Int(1)),
                (51, 901, 650, None, None, "buy", Int(1)),
            ],
            vec![at(0)],
        );
        let numbers = (found.events_counted, found.events_late, found.events_duplicate);
        assert_eq!(numbers, (3, 1, 1));
        assert_eq!((found.events_unused, found.events_pending), (2, 2));
        assert_eq!((found.first_event, found.last_event), (Some(at(600)), Some(at(899))));
    }

    #[test]
    fn ids_are_remembered_for_an_hour_of_log_time_and_across_types() {
        let id = Some("a");
        let found = count(
            &[
                (1, 1_000, 650, id, None, "sell", FieldValue::Int(1)),
                (2, 1_001, 650, id, None, "buy", FieldValue::Int(1)),
                // An hour after it was first seen, not after its repeat.
                (3, 4_600, 650, id, None, "buy", FieldValue::Int(1)),
                (4, 4_601, 650, id, None, "buy", FieldValue::Int(1)),
            ],
            vec![at(0)],
        );
        assert_eq!((found.events_counted, found.events_duplicate), (1, 2));
    }

    #[test]
    fn an_event_says_its_entity_type_once_there_are_several() {
        let event = |offset, log_time| (offset, log_time, 650, None, None, "buy", FieldValue::Int(1));
        let found = count(&[event(1, 700), event(2, 800)], vec![at(0), at(750)]);
        assert_eq!(found.events_counted, 1);
    }

    #[test]
    fn missed_windows_are_found_by_group_and_end() {
        let missed = MissedWindows {
            group: RowId::from_stored(7),
            first: at(600),
            last: at(900),
            slide: crate::feature::Duration::from_secs(60),
        };
        for (group, end, is) in
            [(7, 600, true), (7, 900, true), (7, 960, false), (7, 630, false), (8, 600, false)]
        {
            assert_eq!(names(&missed, RowId::from_stored(group), at(end)), is, "{group} {end}");
        }
    }
}
