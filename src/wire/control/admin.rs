//! What administrators look at: partitions, backfills, and what was not counted.

use super::forms::{PageSize, Time, from_message, given, list, option, time};
use crate::wire::proto;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every partition of the event log.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StreamList {
    pub streams: Vec<Stream>,
}

/// One partition of the event log and its aggregation.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Stream {
    pub partition: u32,
    /// The offset that the next record will get.
    pub end_offset: u64,
    /// Everything before it is counted.
    pub next_offset: u64,
    /// Everything before it is counted and durable; a restart goes on from here.
    pub committed_offset: u64,
    /// Records not counted yet.
    pub lag: u64,
    /// Of the newest record counted.
    pub log_time: Option<Time>,
    #[schemars(required)]
    pub ledger: Option<Ledger>,
    /// Entities with open windows, by event type, summed.
    pub entities: u64,
    /// Pairs of entity and pane.
    pub panes: u64,
    pub state_bytes: u64,
    /// Why it does not go on; null = it does.
    pub stalled: Option<String>,
}

/// Every event judged once: the sum is what was produced.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Ledger {
    pub produced: u64,
    pub counted: u64,
    pub unused: u64,
    pub late: u64,
    pub duplicate: u64,
    pub dead: u64,
}

/// Backfills of the caller's tenant, under way and done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BackfillList {
    pub backfills: Vec<Backfill>,
}

/// One pass over the retained log for features that were registered later.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Backfill {
    pub partition: u32,
    /// Groups of the features.
    pub groups: Vec<String>,
    /// The next record to read.
    pub next_offset: u64,
    /// Where the log ends.
    pub end_offset: u64,
    /// Window ends before this one are the backfill's, later ones are live.
    pub joins_at: Option<Time>,
    pub done: bool,
    /// Null where the pass also counts for other tenants.
    pub ledger: Option<Ledger>,
}

/// Which late events to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LateEventsQuery {
    /// Empty = all.
    pub event_type: String,
    /// Empty = all.
    pub entity_id: String,
    pub page_size: PageSize,
    /// The `next_page_token` of the page before.
    pub page_token: String,
}

/// A page of events that missed closed windows, by partition and offset.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LateEventList {
    pub late_events: Vec<LateEvent>,
    /// Empty = this was the last page.
    pub next_page_token: String,
}

/// An event, and the closed windows that it missed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LateEvent {
    pub partition: u32,
    pub offset: u64,
    #[schemars(required)]
    pub log_time: Option<Time>,
    pub entity_id: String,
    pub event_type: String,
    #[schemars(required)]
    pub timestamp: Option<Time>,
    pub event_id: Option<String>,
    pub entity_type: Option<String>,
    /// It missed every window: no feature counts it.
    pub late: bool,
    pub missed: Vec<MissedWindows>,
}

/// Window ends from `first_end` to `last_end`, a slide apart.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MissedWindows {
    pub group: String,
    #[schemars(required)]
    pub first_end: Option<Time>,
    #[schemars(required)]
    pub last_end: Option<Time>,
    pub windows: u32,
}

/// Which page of the dead letters.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeadLettersQuery {
    pub page_size: PageSize,
    /// The `next_page_token` of the page before.
    pub page_token: String,
}

/// A page of records that could not be used, by partition and offset.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DeadLetterList {
    pub dead_letters: Vec<DeadLetter>,
    /// Empty = this was the last page.
    pub next_page_token: String,
}

/// A record that could not be used. Its partition went on.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DeadLetter {
    pub partition: u32,
    pub offset: u64,
    #[schemars(required)]
    pub log_time: Option<Time>,
    pub reason: String,
    /// The record as it came, in base64.
    pub record: String,
}

from_message!(ListStreamsResponse => StreamList { streams: list });

from_message!(Stream => Stream {
    partition, end_offset, next_offset, committed_offset, lag, log_time: time, ledger: option, entities, panes,
    state_bytes, stalled: given,
});

from_message!(Ledger => Ledger { produced, counted, unused, late, duplicate, dead });

from_message!(ListBackfillsResponse => BackfillList { backfills: list });

from_message!(Backfill => Backfill {
    partition, groups, next_offset, end_offset, joins_at: time, done, ledger: option,
});

from_message!(ListLateEventsResponse => LateEventList { late_events: list, next_page_token });

from_message!(LateEvent => LateEvent {
    partition, offset, log_time: time, entity_id, event_type, timestamp: time, event_id: given, entity_type: given, late,
    missed: list,
});

from_message!(MissedWindows => MissedWindows { group, first_end: time, last_end: time, windows });

from_message!(ListDeadLettersResponse => DeadLetterList { dead_letters: list, next_page_token });

from_message!(DeadLetter => DeadLetter { partition, offset, log_time: time, reason, record: base64 });

fn base64(bytes: Vec<u8>) -> String {
    BASE64_STANDARD.encode(bytes)
}

impl From<LateEventsQuery> for proto::ListLateEventsRequest {
    fn from(query: LateEventsQuery) -> Self {
        let LateEventsQuery { event_type, entity_id, page_size, page_token } = query;
        Self { event_type, entity_id, page_size: page_size.0, page_token }
    }
}

impl From<DeadLettersQuery> for proto::ListDeadLettersRequest {
    fn from(query: DeadLettersQuery) -> Self {
        Self { page_size: query.page_size.0, page_token: query.page_token }
    }
}
