//! Values over time, and what is dropped from caches, in both encodings.

use super::{
    json::{Int64Form, JsonWriter, read_id, read_strings},
    proto,
    query::Query,
    value::{dtype_to, timestamp_from, timestamp_to, value_to},
};
use crate::{
    error::{Error, Result},
    feature::{Cell, Round, json::JsonReader, status::CellStatus},
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
        values: values.collect(),
        next_page_token: history.next_page_token,
    }
}

/// `?entity_id=&from=&to=`, or `?user=u1&merchant=m7` for a composite key.
pub fn read_history(feature: String, query: Option<&str>) -> Result<(HistoryRequest, Int64Form)> {
    let mut query = Query::parse(query)?;
    let (from, to) = (query.take_time("from", Round::Up)?, query.take_time("to", Round::Up)?);
    let int64 = match query.take("int64").as_deref() {
        None | Some("number") => Int64Form::Number,
        Some("string") => Int64Form::String,
        Some(_) => return Err(Error::invalid("int64", "use number or string")),
    };
    let page = query.take_page()?;
    let entity_id = query.take("entity_id").unwrap_or_default();
    let entities = query.rest();
    if let Some((name, _)) = entities.first().filter(|_| !entity_id.is_empty()) {
        let message = format!(
            "{name:?} is read as a key of the entity, and entity_id excludes keys; the other parameters are from, to, \
             page_size, page_token, int64"
        );
        return Err(Error::invalid("entities", message));
    }
    let entity = EntityName { entity_id, entities };
    Ok((HistoryRequest { feature, entity, from, to, page }, int64))
}

pub fn write_history(history: &History, int64: Int64Form) -> Vec<u8> {
    let mut out = Vec::new();
    JsonWriter { out: &mut out, int64 }.object(|w| {
        w.key("feature").string(&history.feature.full_ref().to_string());
        w.key("dtype").string(history.feature.dtype.name());
        w.key("values").array(|w| {
            for value in &history.values {
                w.object(|w| {
                    w.key("event_timestamp").timestamp(value.event_timestamp);
                    w.key("created_timestamp").timestamp(value.created);
                    w.key("value").value(value.cell.value());
                    w.key("status").string(status(&value.cell).name());
                });
            }
        });
        w.key("next_page_token").string(&history.next_page_token);
    });
    out
}

pub fn invalidation_from(request: proto::InvalidateCacheRequest) -> Invalidation {
    let proto::InvalidateCacheRequest { entity_id, entities, entity_type, features } = request;
    Invalidation { entity: entity_from(entity_id, entities), entity_type, features }
}

/// `DELETE /cache/invalidate/{entity_id}?entity_type=&feature=`
pub fn read_entity_invalidation(entity_id: String, query: Option<&str>) -> Result<Invalidation> {
    let mut query = Query::parse(query)?;
    let entity_type = query.take("entity_type").unwrap_or_default();
    let features = query.take("feature").into_iter().filter(|name| !name.is_empty()).collect();
    query.finish()?;
    Ok(Invalidation { entity: EntityName { entity_id, entities: Vec::new() }, entity_type, features })
}

/// `{"entities": {…}, "features": […]}`
pub fn read_invalidation(body: &[u8]) -> Result<Invalidation> {
    let mut request = Invalidation::default();
    JsonReader::read(body, |reader| {
        reader.object(|reader, key| {
            match key {
                "entity_id" => request.entity.entity_id = read_id(reader)?.into_owned(),
                "entities" => reader.object(|reader, key| {
                    request.entity.entities.push((key.to_owned(), read_id(reader)?.into_owned()));
                    Ok(())
                })?,
                "entity_type" => request.entity_type = reader.string()?.into_owned(),
                "features" => request.features = read_strings(reader)?,
                _ => return reader.unknown_member(&["entity_id", "entities", "entity_type", "features"]),
            }
            Ok(())
        })
    })?;
    Ok(request)
}

/// `{"invalidated": true}`
pub fn write_invalidated() -> Vec<u8> {
    b"{\"invalidated\":true}".to_vec()
}

pub(super) fn entity_from(
    entity_id: String,
    entities: impl IntoIterator<Item = (String, String)>,
) -> EntityName {
    EntityName { entity_id, entities: entities.into_iter().collect() }
}

/// As an online read would call a row's cell, whatever its age.
pub(super) fn status(cell: &Cell) -> CellStatus {
    match cell {
        Cell::LeftOut => CellStatus::NotFound,
        Cell::Null => CellStatus::NullValue,
        Cell::Value(_) => CellStatus::Present,
    }
}
