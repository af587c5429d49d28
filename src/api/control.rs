//! The control plane's RPCs, each once: both transports call them with the contract's messages. Below them, for REST, what
//! turns a request into such a message and an answer into its shape.

use super::{
    Call, Shared,
    body::{JsonBody, PathPart},
    rest::{Answer, Api, json},
};
use crate::{
    error::Result,
    serving::page::PageRequest,
    wire::{
        admin,
        control::{
            self, BackfillList, DeadLetterList, DeadLettersQuery, EntityInvalidationQuery, Explanation,
            Feature, FeatureList, FeatureSet, FeatureSetContent, FeatureSetList, FeatureSetsQuery,
            FeatureStatistics, FeaturesQuery, History, HistoryQuery, Invalidated, Invalidation,
            LateEventList, LateEventsQuery, Question, Registered, Registration, StatisticsQuery,
            StatusChange, StreamList,
        },
        explain, history,
        proto::*,
        query::{self, Query},
        register, statistics,
    },
};
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use serde::Serialize;

impl Shared {
    pub(super) async fn register_features(
        &self,
        call: &Call,
        request: RegisterFeaturesRequest,
    ) -> Result<RegisterFeaturesResponse> {
        let registration = register::registration_from(request)?;
        let registered = self.service.register_features(&call.caller, registration).await?;
        Ok(register::registered_to(&registered))
    }

    pub(super) async fn set_feature_status(
        &self,
        call: &Call,
        request: SetFeatureStatusRequest,
    ) -> Result<SetFeatureStatusResponse> {
        let status = register::status_from(request.status)?;
        let entry = self.service.set_feature_status(&call.caller, &request.feature, status).await?;
        Ok(SetFeatureStatusResponse { feature: Some(register::feature_to(&entry)) })
    }

    pub(super) async fn get_feature(
        &self,
        call: &Call,
        request: GetFeatureRequest,
    ) -> Result<GetFeatureResponse> {
        let entry = self.service.get_feature(&call.caller, &request.feature).await?;
        Ok(GetFeatureResponse { feature: Some(register::feature_to(&entry)) })
    }

    pub(super) async fn list_features(
        &self,
        call: &Call,
        request: ListFeaturesRequest,
    ) -> Result<ListFeaturesResponse> {
        let (filter, page) = register::filter_from(request);
        Ok(register::features_to(self.service.list_features(&call.caller, &filter, &page).await?))
    }

    pub(super) async fn put_feature_set(
        &self,
        call: &Call,
        request: PutFeatureSetRequest,
    ) -> Result<PutFeatureSetResponse> {
        let entry = self.service.put_feature_set(&call.caller, &request.name, &request.features).await?;
        Ok(PutFeatureSetResponse { feature_set: Some(register::set_to(&entry)) })
    }

    pub(super) async fn get_feature_set(
        &self,
        call: &Call,
        request: GetFeatureSetRequest,
    ) -> Result<GetFeatureSetResponse> {
        let entry = self.service.get_feature_set(&call.caller, &request.name)?;
        Ok(GetFeatureSetResponse { feature_set: Some(register::set_to(&entry)) })
    }

    pub(super) async fn list_feature_sets(
        &self,
        call: &Call,
        request: ListFeatureSetsRequest,
    ) -> Result<ListFeatureSetsResponse> {
        let page = PageRequest { size: request.page_size.into(), token: request.page_token };
        Ok(register::sets_to(self.service.list_feature_sets(&call.caller, &page)?))
    }

    pub(super) async fn get_feature_history(
        &self,
        call: &Call,
        request: GetFeatureHistoryRequest,
    ) -> Result<GetFeatureHistoryResponse> {
        let page = self.service.feature_history(&call.caller, &history::history_from(request)?).await?;
        Ok(history::history_to(page))
    }

    pub(super) async fn get_feature_statistics(
        &self,
        call: &Call,
        request: GetFeatureStatisticsRequest,
    ) -> Result<GetFeatureStatisticsResponse> {
        let request = statistics::statistics_from(request)?;
        let found = self.service.feature_statistics(&call.caller, &request).await?;
        Ok(statistics::statistics_to(&found))
    }

    pub(super) async fn explain_feature(
        &self,
        call: &Call,
        request: ExplainFeatureRequest,
    ) -> Result<ExplainFeatureResponse> {
        let explanation = call.explain(&self.service, &explain::question_from(request)?).await?;
        Ok(explain::explanation_to(&explanation))
    }

    pub(super) async fn invalidate_cache(
        &self,
        call: &Call,
        request: InvalidateCacheRequest,
    ) -> Result<InvalidateCacheResponse> {
        self.service.invalidate_cache(&call.caller, &history::invalidation_from(request))?;
        Ok(InvalidateCacheResponse { invalidated: true })
    }

    pub(super) async fn list_streams(
        &self,
        call: &Call,
        _: ListStreamsRequest,
    ) -> Result<ListStreamsResponse> {
        Ok(admin::streams_to(&self.service.streams(&call.caller).await?))
    }

    pub(super) async fn list_backfills(
        &self,
        call: &Call,
        _: ListBackfillsRequest,
    ) -> Result<ListBackfillsResponse> {
        Ok(admin::backfills_to(self.service.backfills(&call.caller).await?))
    }

    pub(super) async fn list_late_events(
        &self,
        call: &Call,
        request: ListLateEventsRequest,
    ) -> Result<ListLateEventsResponse> {
        let (filter, page) = admin::late_from(request);
        Ok(admin::late_to(self.service.late_events(&call.caller, &filter, &page).await?))
    }

    pub(super) async fn list_dead_letters(
        &self,
        call: &Call,
        request: ListDeadLettersRequest,
    ) -> Result<ListDeadLettersResponse> {
        let page = self.service.dead_letters(&call.caller, &admin::dead_from(request)).await?;
        Ok(admin::dead_to(page))
    }
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

/// An answer of the control plane.
fn shape(shape: impl Serialize) -> Response {
    json(control::to_json(&shape))
}
