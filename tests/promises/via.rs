//! One client with two transports: what it asks and gets is the same whichever carries it.

use super::{
    records::{Event, Row},
    shapes::{feature_json, from_json, last_word, registration},
};
use crate::support::{GrpcClient, RestClient, TestApp};
use larder::{
    feature::{Dtype, Round, Timestamp, Value},
    wire::{
        proto::*,
        value::{dtype_from, timestamp_to, value_from},
    },
};
use serde_json::{Value as Json, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A client of either transport.
pub enum Via {
    Grpc(GrpcClient),
    Rest(RestClient),
}

/// Why a call was refused, in words that both transports share.
#[derive(Debug, PartialEq)]
pub struct Refused {
    /// The end of the problem's type.
    pub kind: String,
    pub field: String,
    pub message: String,
}

pub type Outcome<T> = Result<T, Refused>;

/// What a write was answered: accepted, unchanged, and (row, field) of the rejected.
#[derive(Debug, PartialEq)]
pub struct Written {
    pub accepted: u64,
    pub unchanged: u64,
    pub rejected: Vec<(u64, String)>,
}

/// What events were answered: accepted, unused, late, duplicate, and (event, field) of the rejected.
#[derive(Debug, Default, PartialEq)]
pub struct Published {
    pub accepted: u64,
    pub unused: u64,
    pub late: u64,
    pub duplicate: u64,
    pub rejected: Vec<(u64, String)>,
}

/// A value over time: event timestamp in seconds, and the value; `Err(())` = left out.
pub type Moment = (f64, Result<Option<Value>, ()>);

/// Both clients of a fresh server each, so that a test runs twice on an empty store.
pub async fn each(mut test: impl AsyncFnMut(&TestApp, &mut Via)) {
    for grpc in [false, true] {
        let app = TestApp::start().await;
        let mut via = if grpc { Via::Grpc(app.grpc().await) } else { Via::Rest(app.rest()) };
        test(&app, &mut via).await;
    }
}

/// The same transport with another key.
pub async fn with_key(via: &Via, app: &TestApp, key: &str) -> Via {
    match via {
        Via::Grpc(_) => Via::Grpc(app.grpc_with(Some(key)).await),
        Via::Rest(_) => Via::Rest(app.rest_with(Some(key))),
    }
}

impl Via {
    /// Registers what stands under `features` and `entity_types`, in the shape of REST. Answers in it too.
    pub async fn register(&mut self, request: Json) -> Outcome<Json> {
        match self {
            Via::Rest(rest) => answered(rest.post("/api/v1/features/register", &request).await),
            Via::Grpc(grpc) => {
                let answer =
                    grpc.register_features(registration(&request)).await.map_err(refused)?.into_inner();
                let features = answer.features.iter().map(|registered| {
                    let mut json = feature_json(registered.feature.as_ref().unwrap());
                    let outcome = registered.outcome().as_str_name();
                    json["outcome"] = last_word(outcome, "REGISTRATION_OUTCOME_").into();
                    json
                });
                Ok(json!({
                    "features": features.collect::<Vec<_>>(),
                    "entity_types_created": answer.entity_types_created,
                    "revision": answer.revision,
                }))
            }
        }
    }

    pub async fn set_status(&mut self, feature: &str, status: &str) -> Outcome<Json> {
        match self {
            Via::Rest(rest) => {
                let path = format!("/api/v1/features/{feature}/status");
                answered(rest.post(&path, &json!({"status": status})).await)
            }
            Via::Grpc(grpc) => {
                let name = format!("FEATURE_VERSION_STATUS_{}", status.to_uppercase());
                let status = FeatureVersionStatus::from_str_name(&name).unwrap_or_default() as i32;
                let request = SetFeatureStatusRequest { feature: feature.into(), status };
                let answer = grpc.set_feature_status(request).await.map_err(refused)?.into_inner();
                Ok(feature_json(&answer.feature.unwrap()))
            }
        }
    }

    pub async fn feature(&mut self, name: &str) -> Outcome<Json> {
        match self {
            Via::Rest(rest) => answered(rest.get(&format!("/api/v1/features/{name}")).await),
            Via::Grpc(grpc) => {
                let request = GetFeatureRequest { feature: name.into() };
                let answer = grpc.get_feature(request).await.map_err(refused)?.into_inner();
                Ok(feature_json(&answer.feature.unwrap()))
            }
        }
    }

    /// References of a page of features, and the next page's token. `query` is that of REST.
    pub async fn features(&mut self, query: &[(&str, &str)]) -> Outcome<(Vec<String>, String)> {
        let answer = match self {
            Via::Rest(rest) => {
                let query: Vec<String> = query.iter().map(|(k, v)| format!("{k}={}", escaped(v))).collect();
                answered(rest.get(&format!("/api/v1/features?{}", query.join("&"))).await)?
            }
            Via::Grpc(grpc) => {
                let get = |name: &str| {
                    query
                        .iter()
                        .find(|(known, _)| *known == name)
                        .map(|(_, v)| (*v).to_owned())
                        .unwrap_or_default()
                };
                let request = ListFeaturesRequest {
                    entity_type: get("entity_type"),
                    group: get("group"),
                    tag: get("tag"),
                    name_prefix: get("name_prefix"),
                    page_size: get("page_size").parse().unwrap_or_default(),
                    page_token: get("page_token"),
                };
                let answer = grpc.list_features(request).await.map_err(refused)?.into_inner();
                let features: Vec<Json> = answer.features.iter().map(feature_json).collect();
                json!({"features": features, "next_page_token": answer.next_page_token})
            }
        };
        let features = answer["features"].as_array().unwrap();
        let references = features.iter().map(|feature| text(&feature["ref"])).collect();
        Ok((references, text(&answer["next_page_token"])))
    }

    /// Name with version, and references.
    pub async fn put_set(&mut self, name: &str, features: &[&str]) -> Outcome<(String, Vec<String>)> {
        match self {
            Via::Rest(rest) => {
                let path = format!("/api/v1/feature-sets/{name}");
                answered(rest.put(&path, &json!({"features": features})).await).map(|set| set_of(&set))
            }
            Via::Grpc(grpc) => {
                let features = features.iter().map(|name| (*name).to_owned()).collect();
                let request = PutFeatureSetRequest { name: name.into(), features };
                let answer = grpc.put_feature_set(request).await.map_err(refused)?.into_inner();
                let set = answer.feature_set.unwrap();
                Ok((format!("{}@{}", set.name, set.version), set.features))
            }
        }
    }

    pub async fn set(&mut self, name: &str) -> Outcome<(String, Vec<String>)> {
        match self {
            Via::Rest(rest) => {
                answered(rest.get(&format!("/api/v1/feature-sets/{name}")).await).map(|set| set_of(&set))
            }
            Via::Grpc(grpc) => {
                let request = GetFeatureSetRequest { name: name.into() };
                let set =
                    grpc.get_feature_set(request).await.map_err(refused)?.into_inner().feature_set.unwrap();
                Ok((format!("{}@{}", set.name, set.version), set.features))
            }
        }
    }

    /// Names of a page of sets, and the next page's token.
    pub async fn sets(&mut self, page_size: i32, page_token: &str) -> Outcome<(Vec<String>, String)> {
        match self {
            Via::Rest(rest) => {
                let path = format!("/api/v1/feature-sets?page_size={page_size}&page_token={page_token}");
                let answer = answered(rest.get(&path).await)?;
                let sets = answer["feature_sets"].as_array().unwrap();
                Ok((sets.iter().map(|set| set_of(set).0).collect(), text(&answer["next_page_token"])))
            }
            Via::Grpc(grpc) => {
                let request = ListFeatureSetsRequest { page_size, page_token: page_token.into() };
                let answer = grpc.list_feature_sets(request).await.map_err(refused)?.into_inner();
                let names = answer.feature_sets.iter().map(|set| format!("{}@{}", set.name, set.version));
                Ok((names.collect(), answer.next_page_token))
            }
        }
    }

    pub async fn write(&mut self, rows: &[Row]) -> Outcome<Written> {
        self.write_with(rows, false, "").await
    }

    pub async fn write_with(
        &mut self,
        rows: &[Row],
        partial: bool,
        idempotency_key: &str,
    ) -> Outcome<Written> {
        match self {
            Via::Rest(rest) => {
                let rows: Vec<Json> = rows.iter().map(Row::json).collect();
                let path = format!("/api/v1/features/write?partial={partial}");
                let mut request = rest.request(reqwest::Method::POST, &path).json(&json!({"rows": rows}));
                if !idempotency_key.is_empty() {
                    request = request.header("idempotency-key", idempotency_key);
                }
                answered(crate::support::send(request).await).map(|answer| written(&answer))
            }
            Via::Grpc(grpc) => {
                let rows = rows.iter().map(Row::message).collect();
                let request = WriteFeaturesRequest { rows, partial, idempotency_key: idempotency_key.into() };
                let answer = grpc.write_features(request).await.map_err(refused)?.into_inner();
                let rejected =
                    answer.rejected.into_iter().map(|rejected| (rejected.row.into(), rejected.field));
                let rejected = rejected.collect();
                Ok(Written { accepted: answer.accepted, unchanged: answer.unchanged, rejected })
            }
        }
    }

    /// Publishes events as a list.
    pub async fn publish(&mut self, events: &[Event]) -> Outcome<Published> {
        self.publish_with(events, false).await
    }

    pub async fn publish_with(&mut self, events: &[Event], partial: bool) -> Outcome<Published> {
        match self {
            Via::Rest(rest) => {
                let events: Vec<Json> = events.iter().map(Event::json).collect();
                let path = format!("/api/v1/events?partial={partial}");
                answered(rest.post(&path, &events.into()).await).map(|answer| published(&answer))
            }
            Via::Grpc(grpc) => {
                let events = events.iter().map(Event::message).collect();
                let request = PublishEventsRequest { events, partial };
                let answer = grpc.publish_events(request).await.map_err(refused)?.into_inner();
                let rejected = answer.rejected.into_iter();
                Ok(Published {
                    accepted: answer.accepted,
                    unused: answer.unused,
                    late: answer.late,
                    duplicate: answer.duplicate,
                    rejected: rejected.map(|rejected| (rejected.event.into(), rejected.field)).collect(),
                })
            }
        }
    }

    /// A page of a feature's values over time, and the next page's token. `query` is that of REST.
    pub async fn history(&mut self, feature: &str, query: &[(&str, &str)]) -> Outcome<(Vec<Moment>, String)> {
        match self {
            Via::Rest(rest) => {
                let query: Vec<String> = query.iter().map(|(k, v)| format!("{k}={}", escaped(v))).collect();
                let path = format!("/api/v1/features/{feature}/history?{}", query.join("&"));
                let answer = answered(rest.get(&path).await)?;
                let dtype: Dtype = answer["dtype"].as_str().unwrap().parse().unwrap();
                let moments = answer["values"].as_array().unwrap().iter().map(|moment| {
                    let seconds = Timestamp::parse(moment["event_timestamp"].as_str().unwrap(), Round::Down);
                    let value = match moment["status"].as_str().unwrap() {
                        "NOT_FOUND" => Err(()),
                        _ => Ok(from_json(&moment["value"], dtype)),
                    };
                    (seconds.unwrap().micros() as f64 / 1e6, value)
                });
                Ok((moments.collect(), text(&answer["next_page_token"])))
            }
            Via::Grpc(grpc) => {
                let mut request = GetFeatureHistoryRequest { feature: feature.into(), ..Default::default() };
                let time = |text: &str| Timestamp::parse(text, Round::Up).map(timestamp_to).unwrap();
                for (name, value) in query {
                    match *name {
                        "entity_id" => request.entity_id = (*value).into(),
                        "from" => request.from = Some(time(value)),
                        "to" => request.to = Some(time(value)),
                        "page_size" => request.page_size = value.parse().unwrap(),
                        "page_token" => request.page_token = (*value).into(),
                        key => drop(request.entities.insert(key.into(), (*value).into())),
                    }
                }
                let answer = grpc.get_feature_history(request).await.map_err(refused)?.into_inner();
                let dtype = dtype_from(answer.dtype, answer.decimal_type).unwrap();
                let moments = answer.values.into_iter().map(|moment| {
                    let time = moment.event_timestamp.unwrap();
                    let seconds = time.seconds as f64 + f64::from(time.nanos) / 1e9;
                    (seconds, moment.value.map(|value| value_from(value, dtype).unwrap()).ok_or(()))
                });
                Ok((moments.collect(), answer.next_page_token))
            }
        }
    }

    pub async fn invalidate(
        &mut self,
        entity_id: &str,
        entities: &[(&str, &str)],
        entity_type: &str,
        features: &[&str],
    ) -> Outcome<bool> {
        let pairs = || entities.iter().map(|(key, id)| ((*key).to_owned(), (*id).to_owned()));
        match self {
            Via::Rest(rest) => {
                let mut body = json!({"entity_type": entity_type, "features": features});
                if !entity_id.is_empty() {
                    body["entity_id"] = entity_id.into();
                }
                if !entities.is_empty() {
                    body["entities"] = pairs().map(|(key, id)| (key, Json::from(id))).collect();
                }
                let answer = answered(rest.post("/api/v1/cache/invalidate", &body).await)?;
                Ok(answer == json!({"invalidated": true}))
            }
            Via::Grpc(grpc) => {
                let request = InvalidateCacheRequest {
                    entity_id: entity_id.into(),
                    entities: pairs().collect(),
                    entity_type: entity_type.into(),
                    features: features.iter().map(|name| (*name).to_owned()).collect(),
                };
                Ok(grpc.invalidate_cache(request).await.map_err(refused)?.into_inner().invalidated)
            }
        }
    }
}

/// Expects a refusal of a kind at a field.
#[track_caller]
pub fn expect<T: std::fmt::Debug>(outcome: Outcome<T>, kind: &str, field: &str) {
    let refused = outcome.unwrap_err();
    assert_eq!((refused.kind.as_str(), refused.field.as_str()), (kind, field), "{}", refused.message);
}

pub(super) fn answered(answer: crate::support::Answer) -> Outcome<Json> {
    if answer.status == 200 {
        return Ok(answer.json(200));
    }
    let (field, message) = answer.problem(answer.status);
    let problem = answer.json(answer.status);
    let kind = problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let status = match kind.as_str() {
        "invalid-argument" | "failed-precondition" => 400,
        "permission-denied" => 403,
        "not-found" => 404,
        "already-exists" | "aborted" => 409,
        "too-large" => 413,
        "unavailable" => 503,
        other => panic!("{other}: {message}"),
    };
    assert_eq!(answer.status, status);
    Err(Refused { kind, field: field.unwrap_or_default(), message })
}

pub(super) fn refused(status: Status) -> Refused {
    let details = status.get_error_details();
    let kind = details.error_info().unwrap().reason.to_lowercase().replace('_', "-");
    let code = match kind.as_str() {
        "invalid-argument" => Code::InvalidArgument,
        "failed-precondition" => Code::FailedPrecondition,
        "permission-denied" => Code::PermissionDenied,
        "not-found" => Code::NotFound,
        "already-exists" => Code::AlreadyExists,
        "aborted" => Code::Aborted,
        "too-large" => Code::ResourceExhausted,
        "unavailable" => Code::Unavailable,
        other => panic!("{other}: {status}"),
    };
    assert_eq!(status.code(), code);
    let violation = details.bad_request().map(|bad| bad.field_violations[0].clone());
    Refused {
        kind,
        field: violation.map(|violation| violation.field).unwrap_or_default(),
        message: status.message().to_owned(),
    }
}

fn written(answer: &Json) -> Written {
    let rejected = answer["rejected"].as_array().unwrap().iter().map(|rejected| {
        assert!(!rejected["reason"].as_str().unwrap().is_empty());
        (rejected["row"].as_u64().unwrap(), text(&rejected["field"]))
    });
    Written {
        accepted: answer["accepted"].as_u64().unwrap(),
        unchanged: answer["unchanged"].as_u64().unwrap(),
        rejected: rejected.collect(),
    }
}

/// What REST answers to events.
pub fn published(answer: &Json) -> Published {
    let rejected = answer["rejected"].as_array().unwrap().iter().map(|rejected| {
        assert!(!rejected["reason"].as_str().unwrap().is_empty());
        (rejected["event"].as_u64().unwrap(), text(&rejected["field"]))
    });
    let count = |name: &str| answer[name].as_u64().unwrap();
    Published {
        accepted: count("accepted"),
        unused: count("unused"),
        late: count("late"),
        duplicate: count("duplicate"),
        rejected: rejected.collect(),
    }
}

fn set_of(set: &Json) -> (String, Vec<String>) {
    assert_eq!(set["ref"], format!("{}@{}", text(&set["name"]), set["version"]));
    (text(&set["ref"]), set["features"].as_array().unwrap().iter().map(text).collect())
}

fn text(json: &Json) -> String {
    json.as_str().unwrap().to_owned()
}

pub(super) fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
