//! The shapes of events in JSON, for the OpenAPI document. The server reads and writes them by hand (`event`, `body`).

use crate::wire::control::Id;
use schemars::JsonSchema;
use serde_json::Value;
use std::collections::BTreeMap;

/// Something that happened to an entity. Members that are not known are ignored.
#[derive(JsonSchema)]
pub struct Event {
    pub entity_id: Id,
    pub event_type: String,
    /// What windows compute over unless their feature says another field.
    #[schemars(default)]
    pub value: Value,
    /// When it happened: RFC 3339 with an offset.
    #[schemars(extend("format" = "date-time"))]
    pub timestamp: String,
    /// Fields that windows may compute over.
    #[schemars(default)]
    pub metadata: Option<BTreeMap<String, Value>>,
    /// Makes a repeat harmless.
    #[schemars(default)]
    pub event_id: Option<String>,
    /// Needed only where one event type feeds features of two entity types.
    #[schemars(default)]
    pub entity_type: Option<String>,
}

/// What became of events.
#[derive(JsonSchema)]
pub struct Published {
    /// Events made durable, the unused, late and duplicate ones included.
    pub accepted: u64,
    /// No feature names their event type or takes their value.
    pub unused: u64,
    /// Every window of theirs was closed.
    pub late: u64,
    /// Their event_id was seen already.
    pub duplicate: u64,
    /// The first of those that were not accepted.
    pub rejected: Vec<RejectedEvent>,
    /// How many were not accepted, where not all are listed.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub rejected_total: Option<u64>,
}

/// An event that was not accepted.
#[derive(JsonSchema)]
pub struct RejectedEvent {
    /// Position in the request, from 0.
    pub event: u64,
    /// Such as `events[57].timestamp`.
    pub field: String,
    pub reason: String,
}

/// One event, or an array of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Events {
    One(Box<Event>),
    Many(Vec<Event>),
}
