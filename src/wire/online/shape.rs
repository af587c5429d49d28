//! The shapes of online reads in JSON, for those who print or describe them. The server reads and writes them by hand,
//! straight from rows (`json`); tests hold the two together.

use crate::wire::{
    control::{CellStatusName, DtypeName, Id, Members, Raw, Span, Time, dtype, dtype_name},
    json::Int64Form,
    proto,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Which features of which entities.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct OnlineQuestion {
    /// By name, reference or version. Either these or `feature_set`.
    #[schemars(default)]
    pub features: Option<Vec<String>>,
    /// `fraud`, or `fraud@3`.
    #[schemars(default)]
    pub feature_set: Option<String>,
    /// Where all features are of one entity type with one key. Either these or `entities`.
    #[schemars(default)]
    pub entity_ids: Option<Vec<Id>>,
    /// Ids by key, in columns of one length: the n-th of each make the n-th result.
    #[schemars(default)]
    pub entities: Option<BTreeMap<String, Vec<Id>>>,
    /// As things were at this timestamp: RFC 3339 with an offset. Left out = now.
    #[schemars(default)]
    pub as_of: Option<Time>,
    /// Takes values older than this for stale, whatever their ttl.
    #[schemars(default)]
    pub max_age: Option<Span>,
    /// Puts defaults into empty cells; their status stays.
    #[schemars(default)]
    pub use_defaults: Option<bool>,
    #[schemars(default)]
    pub int64: Option<Int64Form>,
}

/// The same question, for an answer in packed rows.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PackedQuestion {
    #[serde(flatten)]
    pub question: OnlineQuestion,
    /// Of the schema that the caller holds; 0 = none. A number, or a string of its digits.
    #[schemars(default, with = "Option<Id>")]
    pub schema_id: u64,
}

/// The JSON of `larder.v1.GetOnlineFeaturesResponse`, with the names of its fields as they are.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub struct PackedAnswer(pub BTreeMap<String, serde_json::Value>);

/// The features of some entities.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OnlineAnswer {
    pub request_id: String,
    /// A part of the server was down, and it answered around it.
    pub degraded: bool,
    /// By the name that was asked for.
    pub features: Members<OnlineFeature>,
    /// In the order of the request.
    pub results: Vec<OnlineEntity>,
}

/// A feature that was asked for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OnlineFeature {
    /// The full reference, `group.name@version`.
    pub r#ref: String,
    #[schemars(with = "DtypeName")]
    pub dtype: String,
}

/// The features of one entity, by the names that were asked for.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct OnlineEntity {
    /// Where the request gave `entity_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<String>,
    /// Where the request gave `entities`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entities: Option<BTreeMap<String, String>>,
    pub values: Members<Raw>,
    #[schemars(with = "Members<CellStatusName>")]
    pub statuses: Members<&'static str>,
    pub event_timestamps: Members<Option<Time>>,
    /// Why cells have the status ERROR.
    #[serde(skip_serializing_if = "Members::is_empty")]
    pub errors: Members<String>,
}

impl From<&proto::schema::Feature> for OnlineFeature {
    fn from(feature: &proto::schema::Feature) -> Self {
        Self { r#ref: feature.r#ref.clone(), dtype: dtype_name(dtype(feature.dtype, feature.decimal_type)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{control::members, online::json};
    use std::collections::BTreeSet;

    #[test]
    fn the_shapes_have_the_members_that_are_read() {
        let known = BTreeSet::from(json::MEMBERS.map(str::to_owned));
        assert_eq!(members::<PackedQuestion>(), known);
        let without_schema: BTreeSet<_> = known.into_iter().filter(|name| name != "schema_id").collect();
        assert_eq!(members::<OnlineQuestion>(), without_schema);
    }
}
