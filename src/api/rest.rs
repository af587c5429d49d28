//! REST under `/api/v1`: a handler for each route of the table.

use super::{
    Call, Shared,
    body::{AnyBody, JsonBody, PathPart, PiecesBody, unsupported},
    error::{Cause, Refusal},
    routes::{ARROW, JSON},
    training,
};
use crate::{
    error::Error,
    wire::{
        control::{
            self, BackfillList, DeadLetterList, DeadLettersQuery, EntityInvalidationQuery, Explanation,
            Feature, FeatureList, FeatureSet, FeatureSetContent, FeatureSetList, FeatureSetsQuery,
            FeatureStatistics, FeaturesQuery, History, HistoryQuery, Invalidated, Invalidation,
            LateEventList, LateEventsQuery, Question, Registered, Registration, StatisticsQuery,
            StatusChange, StreamList,
        },
        events, online,
        proto::{
            GetFeatureRequest, GetFeatureSetRequest, ListBackfillsRequest, ListStreamsRequest,
            PutFeatureSetRequest, SetFeatureStatusRequest,
        },
        query::{self, Query},
        write,
    },
};
use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    response::Response,
};
use serde::Serialize;
use std::sync::Arc;

/// What a handler returns; the gate writes refusals down.
type Answer = Result<Response, Refusal>;
type Api = State<Arc<Shared>>;

/// Makes problems of what a router has no answer for.
pub(super) fn with_fallbacks(router: Router) -> Router {
    router.fallback(unknown_path).method_not_allowed_fallback(wrong_method)
}

pub(super) async fn get_online_features(call: Call, State(shared): Api, JsonBody(body): JsonBody) -> Answer {
    let request = online::JsonRequest::read(&body)?;
    let answer = call.online(&shared.service, request.to_online(&request.entities())?).await?;
    let pieces = online::write_json(&answer, &request, &call.envelope(&shared.service))?;
    Ok(json(Body::new(PiecesBody::new(pieces))))
}

pub(super) async fn get_online_features_packed(
    call: Call,
    State(shared): Api,
    JsonBody(body): JsonBody,
) -> Answer {
    let (request, envelope) = (online::JsonRequest::read_packed(&body)?, call.envelope(&shared.service));
    let answer = call.online(&shared.service, request.to_online(&request.entities())?).await?;
    let reply = online::Reply::new(answer, request.schema_id, &envelope)?;
    Ok(json(online::write_packed(&reply, envelope.bytes_max)?))
}

pub(super) async fn get_historical_features(
    call: Call,
    State(shared): Api,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: AnyBody,
) -> Answer {
    training::rest::answer(&call, &shared, &headers, query.as_deref(), body).await
}

pub(super) async fn register_features(call: Call, State(shared): Api, JsonBody(body): JsonBody) -> Answer {
    let request = control::read::<Registration>(&body)?.into_proto()?;
    Ok(shape(Registered::from(shared.register_features(&call, request).await?)))
}

pub(super) async fn set_feature_status(
    call: Call,
    State(shared): Api,
    PathPart(feature): PathPart,
    JsonBody(body): JsonBody,
) -> Answer {
    let status = control::read::<StatusChange>(&body)?.status()?.into();
    let answer = shared.set_feature_status(&call, SetFeatureStatusRequest { feature, status }).await?;
    Ok(shape(answer.feature.map(Feature::from)))
}

pub(super) async fn get_feature(call: Call, State(shared): Api, PathPart(feature): PathPart) -> Answer {
    let answer = shared.get_feature(&call, GetFeatureRequest { feature }).await?;
    Ok(shape(answer.feature.map(Feature::from)))
}

pub(super) async fn list_features(call: Call, State(shared): Api, RawQuery(query): RawQuery) -> Answer {
    let request = query::read::<FeaturesQuery>(query.as_deref())?;
    Ok(shape(FeatureList::from(shared.list_features(&call, request.into()).await?)))
}

pub(super) async fn put_feature_set(
    call: Call,
    State(shared): Api,
    PathPart(name): PathPart,
    JsonBody(body): JsonBody,
) -> Answer {
    let FeatureSetContent { features } = control::read(&body)?;
    let answer = shared.put_feature_set(&call, PutFeatureSetRequest { name, features }).await?;
    Ok(shape(answer.feature_set.map(FeatureSet::from)))
}

pub(super) async fn get_feature_set(call: Call, State(shared): Api, PathPart(name): PathPart) -> Answer {
    let answer = shared.get_feature_set(&call, GetFeatureSetRequest { name }).await?;
    Ok(shape(answer.feature_set.map(FeatureSet::from)))
}

pub(super) async fn list_feature_sets(call: Call, State(shared): Api, RawQuery(query): RawQuery) -> Answer {
    let request = query::read::<FeatureSetsQuery>(query.as_deref())?;
    Ok(shape(FeatureSetList::from(shared.list_feature_sets(&call, request.into()).await?)))
}

pub(super) async fn write_features(
    call: Call,
    State(shared): Api,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: AnyBody,
) -> Answer {
    let request = write::JsonRequest::new(query.as_deref(), idempotency_key(&headers)?)?;
    let (service, caller) = (&shared.service, &call.caller);
    let (outcome, rejected) = match body {
        AnyBody::Json(body) => (request.write(service, caller, &body).await?, 0),
        AnyBody::Lines(pieces) => write::write_lines(request, service, caller, pieces).await?,
        AnyBody::Arrow(_) => return Err(unsupported(ARROW, "application/json or application/x-ndjson")),
    };
    call.wrote(outcome.accepted);
    Ok(json(write::write_outcome(&outcome, rejected)))
}

pub(super) async fn publish_events(
    call: Call,
    State(shared): Api,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: AnyBody,
) -> Answer {
    let request = events::JsonRequest::new(query.as_deref(), idempotency_key(&headers)?)?;
    let (service, caller) = (&shared.service, &call.caller);
    let (outcome, rejected) = match body {
        AnyBody::Json(body) => (request.publish(service, caller, &body).await?, 0),
        AnyBody::Lines(pieces) => events::publish_lines(service, caller, pieces).await?,
        AnyBody::Arrow(_) => return Err(unsupported(ARROW, "application/json or application/x-ndjson")),
    };
    call.published(outcome.accepted);
    Ok(json(events::publish_outcome(&outcome, rejected)))
}

pub(super) async fn get_feature_history(
    call: Call,
    State(shared): Api,
    PathPart(name): PathPart,
    RawQuery(query): RawQuery,
) -> Answer {
    let (request, int64) = HistoryQuery::request(name, query.as_deref())?;
    Ok(shape(History::of(shared.get_feature_history(&call, request).await?, int64)))
}

pub(super) async fn get_feature_statistics(
    call: Call,
    State(shared): Api,
    PathPart(name): PathPart,
    RawQuery(query): RawQuery,
) -> Answer {
    let request = query::read::<StatisticsQuery>(query.as_deref())?.of(name);
    Ok(shape(FeatureStatistics::from(shared.get_feature_statistics(&call, request).await?)))
}

pub(super) async fn explain_feature(call: Call, State(shared): Api, JsonBody(body): JsonBody) -> Answer {
    let question: Question = control::read(&body)?;
    let int64 = question.int64;
    Ok(shape(Explanation::of(shared.explain_feature(&call, question.into()).await?, int64)))
}

/// No reserved word: a feature may be called so.
pub(super) async fn get_feature_called_explain(call: Call, shared: Api) -> Answer {
    get_feature(call, shared, PathPart("explain".into())).await
}

pub(super) async fn invalidate_entity(
    call: Call,
    State(shared): Api,
    PathPart(entity_id): PathPart,
    RawQuery(query): RawQuery,
) -> Answer {
    let request = query::read::<EntityInvalidationQuery>(query.as_deref())?.of(entity_id);
    Ok(shape(Invalidated::from(shared.invalidate_cache(&call, request).await?)))
}

pub(super) async fn invalidate_cache(call: Call, State(shared): Api, JsonBody(body): JsonBody) -> Answer {
    let request: Invalidation = control::read(&body)?;
    Ok(shape(Invalidated::from(shared.invalidate_cache(&call, request.into()).await?)))
}

pub(super) async fn list_streams(call: Call, State(shared): Api, RawQuery(query): RawQuery) -> Answer {
    Query::parse(query.as_deref())?.finish()?;
    Ok(shape(StreamList::from(shared.list_streams(&call, ListStreamsRequest {}).await?)))
}

pub(super) async fn list_backfills(call: Call, State(shared): Api, RawQuery(query): RawQuery) -> Answer {
    Query::parse(query.as_deref())?.finish()?;
    Ok(shape(BackfillList::from(shared.list_backfills(&call, ListBackfillsRequest {}).await?)))
}

pub(super) async fn list_late_events(call: Call, State(shared): Api, RawQuery(query): RawQuery) -> Answer {
    let request = query::read::<LateEventsQuery>(query.as_deref())?;
    Ok(shape(LateEventList::from(shared.list_late_events(&call, request.into()).await?)))
}

pub(super) async fn list_dead_letters(call: Call, State(shared): Api, RawQuery(query): RawQuery) -> Answer {
    let request = query::read::<DeadLettersQuery>(query.as_deref())?;
    Ok(shape(DeadLetterList::from(shared.list_dead_letters(&call, request.into()).await?)))
}

async fn unknown_path(uri: Uri) -> Refusal {
    Refusal::http(Cause::UnknownPath, format!("there is no path {}; the API is under /api/v1", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let message = format!("{} does not take {method}; the Allow header says what it takes", uri.path());
    Refusal::http(Cause::MethodNotAllowed, message)
}

/// The caller's own name for a write, so that a repeat does nothing.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let key = headers.get("idempotency-key").map(HeaderValue::to_str).transpose();
    key.map_err(|_| Error::invalid("idempotency_key", "the header Idempotency-Key holds visible ASCII"))
}

/// An answer of the control plane.
fn shape(shape: impl Serialize) -> Response {
    json(control::to_json(&shape))
}

/// An answer in JSON.
fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}
