//! The shapes of training sets, for the OpenAPI document. The server reads and writes them by hand (`request`, `json_in`,
//! `json_out`).

use crate::wire::{
    control::{Members, Span, Time},
    json::Int64Form,
    online::shape::OnlineFeature,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// Which training set, and its spine.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TrainingSetQuestion {
    /// By name, reference or version. Either these or `feature_set`.
    #[schemars(default)]
    pub features: Option<Vec<String>>,
    /// `fraud`, or `fraud@3`.
    #[schemars(default)]
    pub feature_set: Option<String>,
    /// As things were known: at a timestamp, or `row` = at each row's own. Left out = all that is known now.
    #[schemars(default)]
    pub known_at: Option<String>,
    /// The spine's own columns: that of `timestamp`, and that of each key.
    #[schemars(default)]
    pub columns: Option<BTreeMap<String, String>>,
    /// Adds the status and the event timestamp of every cell.
    #[schemars(default)]
    pub details: Option<bool>,
    /// Takes values older than this for stale, whatever their ttl.
    #[schemars(default)]
    pub max_age: Option<Span>,
    #[schemars(default)]
    pub use_defaults: Option<bool>,
    #[schemars(default)]
    pub int64: Option<Int64Form>,
    /// Rows with a timestamp, the entity, and columns of their own.
    pub spine: Vec<BTreeMap<String, Value>>,
}

/// How a training set is asked for beside an Arrow spine.
#[derive(JsonSchema)]
pub struct TrainingSetQuery {
    /// The request as JSON, without its spine.
    pub request: Option<String>,
}

/// A line: first the request without its spine, then one row of the spine each. Answers are rows alone.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub struct SpineLine(pub BTreeMap<String, Value>);

/// The features of every row of the spine, as they were at its timestamp.
#[derive(JsonSchema)]
pub struct TrainingSet {
    /// In the order of the spine, its own columns untouched.
    pub rows: Vec<BTreeMap<String, Value>>,
    /// Nothing that happened before this can still change the answer.
    pub settled_at: Time,
    /// The same question gives the same bytes again.
    pub repeatable: bool,
    /// By the name that was asked for.
    pub features: Members<OnlineFeature>,
    /// Of the spine's rows.
    pub spine_hash: String,
}

/// A body that is not text.
pub struct Binary;

impl JsonSchema for Binary {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Binary".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "Columns, as the media type has them."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{control::members, historical::request};
    use std::collections::BTreeSet;

    #[test]
    fn the_shape_has_the_members_that_are_read() {
        assert_eq!(members::<TrainingSetQuestion>(), BTreeSet::from(request::FIELDS.map(str::to_owned)));
    }
}
