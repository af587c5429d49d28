//! Why a cell is what it is, as the contract has it.

use super::{
    history::entity_from,
    proto,
    value::{decimal_to, dtype_to, duration_to, timestamp_from, timestamp_to, value_to},
};
use crate::{
    error::Result,
    feature::{Cell, Round},
    serving::explain::{ExplainRequest, ExplainedRow, ExplainedWindow, Explanation},
};

pub fn question_from(request: proto::ExplainFeatureRequest) -> Result<ExplainRequest> {
    let proto::ExplainFeatureRequest { feature, entity_id, entities, as_of } = request;
    Ok(ExplainRequest {
        feature,
        entity: entity_from(entity_id, entities),
        as_of: as_of.map(|time| timestamp_from(time, Round::Down, "as_of")).transpose()?,
    })
}

pub fn explanation_to(explanation: &Explanation) -> proto::ExplainFeatureResponse {
    proto::ExplainFeatureResponse {
        feature: explanation.feature.full_ref().to_string(),
        dtype: dtype_to(explanation.feature.dtype) as i32,
        decimal_type: decimal_to(explanation.feature.dtype),
        as_of: Some(timestamp_to(explanation.as_of)),
        // The contract's numbers are those of the vocabulary.
        status: explanation.status as i32,
        value: explanation.value().map(|value| value_to(Some(value))),
        reason: explanation.reason.clone(),
        row: explanation.row.as_ref().map(row_to),
        age: explanation.age().map(duration_to),
        ttl: explanation.ttl().map(duration_to),
        window: explanation.window.as_ref().map(window_to),
    }
}

fn row_to(row: &ExplainedRow) -> proto::ExplainedRow {
    proto::ExplainedRow {
        event_timestamp: Some(timestamp_to(row.event_timestamp)),
        created_timestamp: Some(timestamp_to(row.created)),
        sequence: row.sequence,
        value: match &row.cell {
            Cell::LeftOut => None,
            cell => Some(value_to(cell.value())),
        },
        corrections: row.corrections,
    }
}

fn window_to(window: &ExplainedWindow) -> proto::ExplainedWindow {
    proto::ExplainedWindow {
        event_type: window.event_type.clone(),
        function: window.function.name().to_owned(),
        field: window.field.clone().unwrap_or_default(),
        start: Some(timestamp_to(window.start)),
        end: Some(timestamp_to(window.end)),
        complete: window.complete,
        events_counted: window.events_counted,
        events_late: window.events_late,
        events_duplicate: window.events_duplicate,
        events_unused: window.events_unused,
        first_event: window.first_event.map(timestamp_to),
        last_event: window.last_event.map(timestamp_to),
        events_pending: window.events_pending,
    }
}
