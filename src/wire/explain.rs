//! Why a cell is what it is, in both encodings.

use super::{
    history::{entity_from, status},
    json::{Int64Form, JsonWriter, read_id, read_timestamp},
    proto,
    value::{dtype_to, duration_to, timestamp_from, timestamp_to, value_to},
};
use crate::{
    error::Result,
    feature::{Cell, Round, json::JsonReader},
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

/// `{"feature", "entity_id" | "entities", "as_of", "int64"}`
pub fn read_question(body: &[u8]) -> Result<(ExplainRequest, Int64Form)> {
    let mut request = ExplainRequest::default();
    let mut int64 = Int64Form::default();
    JsonReader::read(body, |reader| {
        reader.object(|reader, key| {
            match key {
                "feature" => request.feature = reader.string()?.into_owned(),
                "entity_id" => request.entity.entity_id = read_id(reader)?.into_owned(),
                "entities" => reader.object(|reader, key| {
                    request.entity.entities.push((key.to_owned(), read_id(reader)?.into_owned()));
                    Ok(())
                })?,
                "as_of" if reader.take_null()? => {}
                "as_of" => request.as_of = Some(read_timestamp(reader, Round::Down)?),
                "int64" => int64 = Int64Form::read(reader)?,
                _ => {
                    return reader.unknown_member(&["feature", "entity_id", "entities", "as_of", "int64"]);
                }
            }
            Ok(())
        })
    })?;
    Ok((request, int64))
}

pub fn write_explanation(explanation: &Explanation, int64: Int64Form) -> Vec<u8> {
    let mut out = Vec::new();
    JsonWriter { out: &mut out, int64 }.object(|w| {
        w.key("feature").string(&explanation.feature.full_ref().to_string());
        w.key("dtype").string(explanation.feature.dtype.name());
        w.key("as_of").timestamp(explanation.as_of);
        w.key("status").string(explanation.status.name());
        w.key("value").value(explanation.value());
        w.key("reason").string(&explanation.reason);
        w.key("row").option(explanation.row.as_ref(), |w, row| {
            w.object(|w| {
                w.key("event_timestamp").timestamp(row.event_timestamp);
                w.key("created_timestamp").timestamp(row.created);
                w.key("sequence").uint(row.sequence);
                w.key("value").value(row.cell.value());
                w.key("status").string(status(&row.cell).name());
                w.key("corrections").uint(row.corrections.into());
            });
        });
        w.key("age").option(explanation.age(), JsonWriter::duration);
        w.key("ttl").option(explanation.ttl(), JsonWriter::duration);
        w.key("window").option(explanation.window.as_ref(), |w, window| {
            w.object(|w| write_window(w, window));
        });
    });
    out
}

fn write_window(w: &mut JsonWriter<'_>, window: &ExplainedWindow) {
    w.key("event_type").string(&window.event_type);
    w.key("function").string(window.function.name());
    w.key("field").option(window.field.as_deref(), JsonWriter::string);
    w.key("start").timestamp(window.start);
    w.key("end").timestamp(window.end);
    w.key("complete").boolean(window.complete);
    w.key("events_counted").uint(window.events_counted);
    w.key("events_late").uint(window.events_late);
    w.key("events_duplicate").uint(window.events_duplicate);
    w.key("events_unused").uint(window.events_unused);
    w.key("events_pending").uint(window.events_pending);
    w.key("first_event").option(window.first_event, JsonWriter::timestamp);
    w.key("last_event").option(window.last_event, JsonWriter::timestamp);
}
