//! Values over time, and what is dropped from caches, as the contract has them.

use super::{
    proto,
    value::{decimal_to, dtype_to, timestamp_from, timestamp_to, value_to},
};
use crate::{
    error::Result,
    feature::{Cell, Round},
    serving::{
        entity::EntityName,
        history::{History, HistoryRequest},
        invalidate::Invalidation,
        page::PageRequest,
    },
};

pub fn history_from(request: proto::GetFeatureHistoryRequest) -> Result<HistoryRequest> {
    let proto::GetFeatureHistoryRequest { feature, entity_id, entities, from, to, page_size, page_token } =
        request;
    Ok(HistoryRequest {
        feature,
        entity: entity_from(entity_id, entities),
        // Both ends are at the first whole microsecond that they let in or out.
        from: from.map(|time| timestamp_from(time, Round::Up, "from")).transpose()?,
        to: to.map(|time| timestamp_from(time, Round::Up, "to")).transpose()?,
        page: PageRequest { size: page_size.into(), token: page_token },
    })
}

pub fn history_to(history: History) -> proto::GetFeatureHistoryResponse {
    let values = history.values.iter().map(|value| proto::FeatureValue {
        event_timestamp: Some(timestamp_to(value.event_timestamp)),
        created_timestamp: Some(timestamp_to(value.created)),
        value: match &value.cell {
            Cell::LeftOut => None,
            cell => Some(value_to(cell.value())),
        },
    });
    proto::GetFeatureHistoryResponse {
        feature: history.feature.full_ref().to_string(),
        dtype: dtype_to(history.feature.dtype) as i32,
        decimal_type: decimal_to(history.feature.dtype),
        values: values.collect(),
        next_page_token: history.next_page_token,
    }
}

pub fn invalidation_from(request: proto::InvalidateCacheRequest) -> Invalidation {
    let proto::InvalidateCacheRequest { entity_id, entities, entity_type, features } = request;
    Invalidation { entity: entity_from(entity_id, entities), entity_type, features }
}

pub(super) fn entity_from(
    entity_id: String,
    entities: impl IntoIterator<Item = (String, String)>,
) -> EntityName {
    EntityName { entity_id, entities: entities.into_iter().collect() }
}
