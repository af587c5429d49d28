//! What looks into values and streams, over either transport, answered in the shapes of REST.

use super::via::{Outcome, Via, answered, escaped, refused};
use crate::support::TestApp;
use larder::{
    feature::{Round, Timestamp},
    wire::{
        json::JsonWriter,
        proto::{self, *},
        value::{dtype_from, timestamp_to, value_from},
    },
};
use serde_json::{Value as Json, json};

/// `query` is that of REST.
pub async fn statistics(via: &mut Via, feature: &str, query: &[(&str, &str)]) -> Outcome<Json> {
    match via {
        Via::Rest(rest) => {
            answered(rest.get(&format!("/api/v1/features/{feature}/statistics?{}", encoded(query))).await)
        }
        Via::Grpc(grpc) => {
            let time = |name| {
                let text = query.iter().find(|(known, _)| *known == name);
                text.map(|(_, text)| timestamp_to(Timestamp::parse(text, Round::Up).unwrap()))
            };
            let request =
                GetFeatureStatisticsRequest { feature: feature.into(), from: time("from"), to: time("to") };
            let answer = grpc.get_feature_statistics(request).await.map_err(refused)?.into_inner();
            let part = |of: &FeatureStatistics| {
                let mut json = json!({
                    "rows": of.rows, "nulls": of.nulls, "distinct_entities": of.distinct_entities,
                    "min": of.min, "max": of.max, "mean": of.mean,
                    "newest_event_timestamp": moment(of.newest_event_timestamp),
                });
                if of.hour.is_some() {
                    json["hour"] = moment(of.hour);
                }
                json
            };
            Ok(json!({
                "feature": answer.feature, "dtype": dtype_from(answer.dtype, answer.decimal_type).unwrap().name(),
                "from": moment(answer.from), "to": moment(answer.to),
                "total": part(answer.total.as_ref().unwrap()),
                "hours": answer.hours.iter().map(part).collect::<Vec<_>>(),
            }))
        }
    }
}

/// `request` is that of REST.
pub async fn explain(via: &mut Via, request: Json) -> Outcome<Json> {
    match via {
        Via::Rest(rest) => answered(rest.post("/api/v1/features/explain", &request).await),
        Via::Grpc(grpc) => {
            let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
            let entities = request["entities"].as_object().into_iter().flatten();
            let as_of = request["as_of"].as_str();
            let message = ExplainFeatureRequest {
                feature: text("feature"),
                entity_id: text("entity_id"),
                entities: entities.map(|(key, id)| (key.clone(), id.as_str().unwrap().to_owned())).collect(),
                as_of: as_of.map(|text| timestamp_to(Timestamp::parse(text, Round::Down).unwrap())),
            };
            let answer = grpc.explain_feature(message).await.map_err(refused)?.into_inner();
            Ok(explanation(&answer))
        }
    }
}

fn explanation(answer: &ExplainFeatureResponse) -> Json {
    let dtype = dtype_from(answer.dtype, answer.decimal_type).unwrap();
    let value = |value: &Option<proto::Value>| {
        let mut out = Vec::new();
        let value = value.clone().and_then(|value| value_from(value, dtype).unwrap());
        JsonWriter::new(&mut out).value(value.as_ref());
        serde_json::from_slice::<Json>(&out).unwrap()
    };
    let row = answer.row.as_ref().map(|row| {
        let status = match row.value.as_ref().map(|value| matches!(value.kind, Some(value::Kind::NullValue(_)))) {
            None => "NOT_FOUND",
            Some(true) => "NULL_VALUE",
            Some(false) => "PRESENT",
        };
        json!({
            "event_timestamp": moment(row.event_timestamp), "created_timestamp": moment(row.created_timestamp),
            "sequence": row.sequence, "value": value(&row.value), "status": status, "corrections": row.corrections,
        })
    });
    let window = answer.window.as_ref().map(|window| {
        json!({
            "event_type": window.event_type, "function": window.function,
            "field": Some(window.field.as_str()).filter(|field| !field.is_empty()),
            "start": moment(window.start), "end": moment(window.end), "complete": window.complete,
            "events_counted": window.events_counted, "events_late": window.events_late,
            "events_duplicate": window.events_duplicate, "events_unused": window.events_unused,
            "events_pending": window.events_pending,
            "first_event": moment(window.first_event), "last_event": moment(window.last_event),
        })
    });
    json!({
        "feature": answer.feature, "dtype": dtype.name(), "as_of": moment(answer.as_of),
        "status": answer.status().as_str_name(), "value": value(&answer.value), "reason": answer.reason,
        "row": row, "age": span(answer.age), "ttl": span(answer.ttl), "window": window,
    })
}

/// One of the lists under `/api/v1/admin`, by a key. `query` is that of REST.
pub async fn admin_list(
    app: &TestApp,
    via: &Via,
    key: &str,
    list: &str,
    query: &[(&str, &str)],
) -> Outcome<Json> {
    if let Via::Rest(_) = via {
        let path = format!("/api/v1/admin/{list}?{}", encoded(query));
        return answered(app.rest_with(Some(key)).get(&path).await);
    }
    let mut admin = app.admin_with(Some(key)).await;
    let get = |name: &str| {
        let found = query.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| (*text).to_owned()).unwrap_or_default()
    };
    let (page_size, page_token) = (get("page_size").parse().unwrap_or_default(), get("page_token"));
    Ok(match list {
        "streams" => {
            let answer = admin.list_streams(ListStreamsRequest {}).await.map_err(refused)?.into_inner();
            let streams = answer.streams.iter().map(|stream| {
                json!({
                    "partition": stream.partition, "end_offset": stream.end_offset,
                    "next_offset": stream.next_offset, "committed_offset": stream.committed_offset,
                    "lag": stream.lag, "log_time": moment(stream.log_time), "ledger": ledger(&stream.ledger),
                    "entities": stream.entities, "panes": stream.panes, "state_bytes": stream.state_bytes,
                    "stalled": given(&stream.stalled),
                })
            });
            json!({"streams": streams.collect::<Vec<_>>()})
        }
        "backfills" => {
            let answer = admin.list_backfills(ListBackfillsRequest {}).await.map_err(refused)?.into_inner();
            let backfills = answer.backfills.iter().map(|backfill| {
                json!({
                    "partition": backfill.partition, "groups": backfill.groups,
                    "next_offset": backfill.next_offset, "end_offset": backfill.end_offset,
                    "joins_at": moment(backfill.joins_at), "done": backfill.done,
                    "ledger": ledger(&backfill.ledger),
                })
            });
            json!({"backfills": backfills.collect::<Vec<_>>()})
        }
        "late-events" => {
            let (event_type, entity_id) = (get("event_type"), get("entity_id"));
            let request = ListLateEventsRequest { event_type, entity_id, page_size, page_token };
            let answer = admin.list_late_events(request).await.map_err(refused)?.into_inner();
            let events = answer.late_events.iter().map(|event| {
                let missed = event.missed.iter().map(|missed| {
                    json!({
                        "group": missed.group, "first_end": moment(missed.first_end),
                        "last_end": moment(missed.last_end), "windows": missed.windows,
                    })
                });
                json!({
                    "partition": event.partition, "offset": event.offset, "log_time": moment(event.log_time),
                    "entity_id": event.entity_id, "event_type": event.event_type,
                    "timestamp": moment(event.timestamp), "event_id": given(&event.event_id),
                    "entity_type": given(&event.entity_type), "late": event.late,
                    "missed": missed.collect::<Vec<_>>(),
                })
            });
            json!({"late_events": events.collect::<Vec<_>>(), "next_page_token": answer.next_page_token})
        }
        "dead-letters" => {
            let request = ListDeadLettersRequest { page_size, page_token };
            let answer = admin.list_dead_letters(request).await.map_err(refused)?.into_inner();
            let letters = answer.dead_letters.iter().map(|letter| {
                let mut record = Vec::new();
                JsonWriter::new(&mut record).bytes(&letter.record);
                json!({
                    "partition": letter.partition, "offset": letter.offset, "log_time": moment(letter.log_time),
                    "reason": letter.reason, "record": serde_json::from_slice::<Json>(&record).unwrap(),
                })
            });
            json!({"dead_letters": letters.collect::<Vec<_>>(), "next_page_token": answer.next_page_token})
        }
        other => panic!("there is no list {other}"),
    })
}

fn ledger(ledger: &Option<Ledger>) -> Json {
    ledger.as_ref().map_or(Json::Null, |ledger| {
        json!({
            "produced": ledger.produced, "counted": ledger.counted, "unused": ledger.unused,
            "late": ledger.late, "duplicate": ledger.duplicate, "dead": ledger.dead,
        })
    })
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn moment(time: Option<prost_types::Timestamp>) -> Json {
    time.map_or(Json::Null, |time| {
        Timestamp::from_seconds_nanos(time.seconds, time.nanos, Round::Down).unwrap().to_string().into()
    })
}

fn span(span: Option<prost_types::Duration>) -> Json {
    span.map_or(Json::Null, |span| larder::wire::value::duration_from(span, "").unwrap().to_string().into())
}

fn encoded(query: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = query.iter().map(|(name, text)| format!("{name}={}", escaped(text))).collect();
    pairs.join("&")
}
