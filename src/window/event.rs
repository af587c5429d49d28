//! What goes in: records of a log partition, parsed.

use crate::{
    event::FieldValue,
    feature::{Duration, RowId, TenantId, Timestamp},
};
use serde::{Deserialize, Serialize};

/// Where a record stands in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub offset: u64,
    /// The broker's timestamp of the record; the aggregator takes the greatest so far.
    pub log_time: Timestamp,
}

/// One event, borrowed from its record.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub tenant: TenantId,
    /// Needed only where one event type feeds features of two entity types.
    pub entity_type: Option<&'a str>,
    /// Storage key of the entity (`feature::entity`), checked.
    pub entity: &'a str,
    pub event_type: &'a str,
    pub timestamp: Timestamp,
    pub event_id: Option<&'a str>,
    /// Aligned with [`super::Aggregator::fields`] of its event type; fields beyond the end are missing.
    pub values: &'a [FieldValue<'a>],
}

/// What became of an event. In this order, each is judged once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Dead(DeadReason),
    /// Its event id was seen already.
    Duplicate,
    /// Every window that would have counted it was closed.
    Late,
    /// No feature takes it: by type, field or start.
    Unused,
    Counted,
}

/// Why an event that could be decoded is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// Too far ahead of its record's log time.
    Future,
    /// Its type feeds several entity types, and it names none.
    EntityTypeNeeded,
}

impl DeadReason {
    /// What a dead letter says.
    pub fn message(self) -> &'static str {
        match self {
            DeadReason::Future => "the event timestamp lies too far ahead of the log",
            DeadReason::EntityTypeNeeded => {
                "features of several entity types take this event type; give the event its entity_type"
            }
        }
    }
}

/// A judgement, with the closed windows that the event missed (a counted one too may have missed some).
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    pub judgement: Judgement,
    pub missed: &'a [MissedWindows],
}

/// Closed windows of one group: their ends lie a slide apart, from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedWindows {
    pub group: RowId,
    pub first: Timestamp,
    pub last: Timestamp,
    pub slide: Duration,
}

impl MissedWindows {
    pub fn ends(self) -> impl Iterator<Item = Timestamp> {
        let slide = self.slide.micros() as usize;
        (self.first.micros()..=self.last.micros()).step_by(slide).map(Timestamp::from_stored)
    }
}
