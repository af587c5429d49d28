//! Values over time.

use super::forms::{
    CellStatusName, DtypeName, Edge, PageSize, Raw, Time, dtype, dtype_name, status_of, time,
};
use crate::{
    error::{Error, Result},
    wire::{json::Int64Form, proto, query, value::timestamp_to},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which values to list. A composite key stands as one parameter for each of its keys: `?user=u1&merchant=m7`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HistoryQuery {
    /// The id, for an entity type with one key.
    pub entity_id: String,
    /// Inclusive; left out = from the beginning.
    pub from: Option<Edge>,
    /// Exclusive; left out = without end.
    pub to: Option<Edge>,
    /// How int64 values go out.
    pub int64: Int64Form,
    pub page_size: PageSize,
    /// The `next_page_token` of the page before.
    pub page_token: String,
}

/// A page of values, oldest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct History {
    /// The full reference.
    pub feature: String,
    #[schemars(with = "DtypeName")]
    pub dtype: String,
    pub values: Vec<HistoryValue>,
    /// Empty = this was the last page.
    pub next_page_token: String,
}

/// A value, when it was true and when it was learned.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HistoryValue {
    #[schemars(required)]
    pub event_timestamp: Option<Time>,
    #[schemars(required)]
    pub created_timestamp: Option<Time>,
    pub value: Raw,
    /// As an online read would call it, whatever its age.
    #[schemars(with = "CellStatusName")]
    pub status: &'static str,
}

impl HistoryQuery {
    /// Reads the query of a feature's history.
    pub fn request(
        feature: String,
        query: Option<&str>,
    ) -> Result<(proto::GetFeatureHistoryRequest, Int64Form)> {
        let (query, entities) = query::read_open::<Self>(query)?;
        if let Some((name, _)) = entities.first().filter(|_| !query.entity_id.is_empty()) {
            let message = format!(
                "{name:?} is read as a key of the entity, and entity_id excludes keys; the other parameters are from, to, \
                 page_size, page_token, int64"
            );
            return Err(Error::invalid("entities", message));
        }
        let request = proto::GetFeatureHistoryRequest {
            feature,
            entity_id: query.entity_id,
            entities: entities.into_iter().collect(),
            from: query.from.map(|Edge(time)| timestamp_to(time)),
            to: query.to.map(|Edge(time)| timestamp_to(time)),
            page_size: query.page_size.0,
            page_token: query.page_token,
        };
        Ok((request, query.int64))
    }
}

impl History {
    pub fn of(page: proto::GetFeatureHistoryResponse, int64: Int64Form) -> Self {
        let dtype = dtype(page.dtype, page.decimal_type);
        let values = page.values.iter().map(|value| HistoryValue {
            event_timestamp: time(value.event_timestamp),
            created_timestamp: time(value.created_timestamp),
            value: Raw::value(value.value.as_ref(), dtype, int64),
            status: status_of(value.value.as_ref()),
        });
        Self {
            values: values.collect(),
            feature: page.feature,
            dtype: dtype_name(dtype),
            next_page_token: page.next_page_token,
        }
    }
}
