//! Why a cell is what it is.

use super::forms::{
    AsOf, CellStatusName, DtypeName, Id, Raw, Span, Time, dtype, dtype_name, from_message, given, option,
    span, status_of, time,
};
use crate::{
    feature::Dtype,
    wire::{json::Int64Form, proto, value::timestamp_to},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which cell to explain. Either `entity_id` or `entities`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The feature, by any of its references.
    pub feature: String,
    /// The id, for an entity type with one key.
    #[serde(default)]
    pub entity_id: Id,
    /// Ids by key.
    #[serde(default)]
    pub entities: BTreeMap<String, Id>,
    /// Left out = now.
    pub as_of: Option<AsOf>,
    /// How int64 values go out.
    #[serde(default)]
    pub int64: Int64Form,
}

/// Why a cell is what it is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Explanation {
    /// The full reference.
    pub feature: String,
    #[schemars(with = "DtypeName")]
    pub dtype: String,
    #[schemars(required)]
    pub as_of: Option<Time>,
    #[schemars(with = "CellStatusName")]
    pub status: &'static str,
    /// Null unless the status is PRESENT.
    pub value: Raw,
    /// A sentence for a person.
    pub reason: String,
    /// The newest row with event timestamp ≤ as_of, whether or not it is served; null = there is none.
    pub row: Option<ExplainedRow>,
    /// as_of − the row's event timestamp.
    pub age: Option<Span>,
    /// A row older than this is not served; null = rows never expire.
    pub ttl: Option<Span>,
    /// Of windowed features whose row is there.
    pub window: Option<ExplainedWindow>,
}

/// The row that gave the cell.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExplainedRow {
    #[schemars(required)]
    pub event_timestamp: Option<Time>,
    #[schemars(required)]
    pub created_timestamp: Option<Time>,
    pub sequence: u64,
    pub value: Raw,
    #[schemars(with = "CellStatusName")]
    pub status: &'static str,
    /// Rows with the same event timestamp that this one replaced.
    pub corrections: u32,
}

/// The window that gave the row, and the entity's events in it as far as the event log still holds them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExplainedWindow {
    pub event_type: String,
    pub function: String,
    /// Null = every event counts.
    pub field: Option<String>,
    /// Inclusive.
    #[schemars(required)]
    pub start: Option<Time>,
    /// Exclusive; the row's event timestamp.
    #[schemars(required)]
    pub end: Option<Time>,
    /// Whether the log still holds all that can have been counted; otherwise the numbers are of what is left.
    pub complete: bool,
    /// Events that the value counts.
    pub events_counted: u64,
    /// In the window, but it was closed when they came.
    pub events_late: u64,
    /// In the window, with an `event_id` that was seen already.
    pub events_duplicate: u64,
    /// In the window, without a value that the function takes, or before the feature's start.
    pub events_unused: u64,
    /// Came after the row was emitted; the next row of the same window counts them.
    pub events_pending: u64,
    /// Of the events counted.
    pub first_event: Option<Time>,
    pub last_event: Option<Time>,
}

impl From<Question> for proto::ExplainFeatureRequest {
    fn from(body: Question) -> Self {
        Self {
            feature: body.feature,
            entity_id: body.entity_id.0,
            entities: body.entities.into_iter().map(|(key, id)| (key, id.0)).collect(),
            as_of: body.as_of.map(|AsOf(time)| timestamp_to(time)),
        }
    }
}

impl Explanation {
    pub fn of(answer: proto::ExplainFeatureResponse, int64: Int64Form) -> Self {
        let dtype = dtype(answer.dtype, answer.decimal_type);
        Self {
            status: answer.status().as_str_name(),
            dtype: dtype_name(dtype),
            as_of: time(answer.as_of),
            value: Raw::value(answer.value.as_ref(), dtype, int64),
            row: answer.row.map(|row| ExplainedRow::of(row, dtype, int64)),
            age: span(answer.age),
            ttl: span(answer.ttl),
            window: option(answer.window),
            feature: answer.feature,
            reason: answer.reason,
        }
    }
}

impl ExplainedRow {
    fn of(row: proto::ExplainedRow, dtype: Option<Dtype>, int64: Int64Form) -> Self {
        Self {
            event_timestamp: time(row.event_timestamp),
            created_timestamp: time(row.created_timestamp),
            sequence: row.sequence,
            value: Raw::value(row.value.as_ref(), dtype, int64),
            status: status_of(row.value.as_ref()),
            corrections: row.corrections,
        }
    }
}

from_message!(ExplainedWindow => ExplainedWindow {
    event_type, function, field: given, start: time, end: time, complete, events_counted, events_late, events_duplicate,
    events_unused, events_pending, first_event: time, last_event: time,
});
