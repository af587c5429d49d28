//! The control plane's RPCs, each once: both transports call them with the contract's messages.

use super::{Call, Shared};
use crate::{
    error::Result,
    serving::page::PageRequest,
    wire::{admin, explain, history, proto::*, register, statistics},
};

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
