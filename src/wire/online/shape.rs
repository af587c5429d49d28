//! The shape of the online answer in JSON, for those who print or describe it. The server writes it by hand, straight from
//! rows (`json`); a test holds the two together.

use crate::wire::{
    control::{CellStatusName, DtypeName, Members, Raw, Time, dtype_name},
    proto,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// The features of some entities.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "OnlineAnswer")]
pub struct Answer {
    pub request_id: String,
    /// A part of the server was down, and it answered around it.
    pub degraded: bool,
    /// By the name that was asked for.
    pub features: Members<Feature>,
    /// In the order of the request.
    pub results: Vec<Entity>,
}

/// A feature that was asked for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "OnlineFeature")]
pub struct Feature {
    /// The full reference, `group.name@version`.
    pub r#ref: String,
    #[schemars(with = "DtypeName")]
    pub dtype: String,
}

/// The features of one entity, by the names that were asked for.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "OnlineEntity")]
pub struct Entity {
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

impl From<&proto::schema::Feature> for Feature {
    fn from(feature: &proto::schema::Feature) -> Self {
        Self { r#ref: feature.r#ref.clone(), dtype: dtype_name(feature.dtype) }
    }
}
