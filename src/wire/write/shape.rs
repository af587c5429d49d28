//! The shapes of writes in JSON, for the OpenAPI document. The server reads and writes them by hand (`json`).

use crate::wire::control::{Id, Raw};
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// How bad rows, or bad events, of a JSON body are judged.
#[derive(JsonSchema)]
pub struct PartialQuery {
    /// Takes the good ones, and answers with the bad ones; otherwise one bad one fails the call.
    pub partial: Option<bool>,
}

/// Rows to write.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Rows {
    pub rows: Vec<FeatureRow>,
    /// As the parameter of the same name.
    #[schemars(default)]
    pub partial: bool,
    /// As the header Idempotency-Key: kept 24 hours; the same key with the same rows returns the first answer.
    #[schemars(default)]
    pub idempotency_key: String,
}

/// The values of an entity at one timestamp: every feature of a group, null included.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FeatureRow {
    /// May be left out where the values say it.
    #[schemars(default)]
    pub entity_type: String,
    /// The id, for an entity type with one key.
    #[schemars(default)]
    pub entity_id: Id,
    /// Ids by key, for composite keys and for rows that span entity types.
    #[schemars(default)]
    pub entities: BTreeMap<String, Id>,
    /// When it became true: RFC 3339 with an offset, at most 5 minutes ahead of the server.
    #[schemars(extend("format" = "date-time"))]
    pub event_timestamp: String,
    /// By the reference of the feature.
    pub values: BTreeMap<String, Raw>,
}

/// What became of rows.
#[derive(JsonSchema)]
pub struct Written {
    /// Rows made durable by this call.
    pub accepted: u64,
    /// Rows equal to what was there already; not stored again.
    pub unchanged: u64,
    /// The first of those that were not accepted.
    pub rejected: Vec<RejectedRow>,
    /// How many were not accepted, where not all are listed.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub rejected_total: Option<u64>,
}

/// A row that was not accepted.
#[derive(JsonSchema)]
pub struct RejectedRow {
    /// Position in the request, from 0.
    pub row: u64,
    /// Such as `rows[57].values.country`.
    pub field: String,
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{control::members, write::json};
    use std::collections::BTreeSet;

    #[test]
    fn the_shape_has_the_members_that_are_read() {
        assert_eq!(members::<FeatureRow>(), BTreeSet::from(json::ROW.map(str::to_owned)));
        assert_eq!(members::<Rows>(), BTreeSet::from(json::BODY.map(str::to_owned)));
    }
}
