//! gRPC: `larder.v1.FeatureService` and `larder.v1.AdminService`, their verbs in the order of the contract.

use super::{
    Call, Shared,
    codec::server::{
        admin_service_server::{AdminService, AdminServiceServer},
        feature_service_server::{FeatureService, FeatureServiceServer},
    },
};
use crate::{
    error::{Error, Kind},
    serving::page::PageRequest,
    wire::{
        admin,
        codec::InPlace,
        events, explain, historical, history, online,
        proto::{self, *},
        register, statistics, write,
    },
};
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use std::sync::Arc;
use tonic::{Code, Request, Response, Status, Streaming, codec::CompressionEncoding, service::Routes};
use tonic_health::server::HealthReporter;

type Answer<T> = Result<Response<T>, Status>;
type AnswerStream<T> = BoxStream<'static, Result<T, Status>>;

/// The services, with health and reflection beside it, and who reports health.
pub(super) async fn routes(shared: &Arc<Shared>) -> (HealthReporter, Routes) {
    let message_bytes_max = shared.service.limits.message_bytes_max;
    let features = FeatureServiceServer::new(Features(shared.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(message_bytes_max);
    let admin = AdminServiceServer::new(Admin(shared.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(message_bytes_max);
    let (reporter, health) = tonic_health::server::health_reporter();
    let health =
        health.accept_compressed(CompressionEncoding::Gzip).send_compressed(CompressionEncoding::Gzip);
    reporter.set_serving::<FeatureServiceServer<Features>>().await;
    reporter.set_serving::<AdminServiceServer<Admin>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().expect("the contract was compiled with this program");
    let v1alpha = reflection().build_v1alpha().expect("the contract was compiled with this program");
    let routes =
        Routes::new(features).add_service(admin).add_service(health).add_service(v1).add_service(v1alpha);
    (reporter, routes)
}

/// Tells those who watch health that the server takes no more work.
pub(super) async fn set_not_serving(reporter: &HealthReporter) {
    reporter.set_not_serving::<FeatureServiceServer<Features>>().await;
    reporter.set_not_serving::<AdminServiceServer<Admin>>().await;
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
}

struct Features(Arc<Shared>);

#[tonic::async_trait]
impl FeatureService for Features {
    async fn get_online_features(&self, request: Request<online::Request>) -> Answer<online::Reply> {
        let (call, request) = Call::split(request)?;
        let parts = request.parts()?;
        let answer = call.online(&self.0.service, parts.to_online()?).await?;
        Ok(Response::new(online::Reply::new(answer, parts.schema_id, &call.envelope(&self.0.service))?))
    }

    type GetHistoricalFeaturesStream = AnswerStream<GetHistoricalFeaturesResponse>;

    async fn get_historical_features(
        &self,
        request: Request<Streaming<GetHistoricalFeaturesRequest>>,
    ) -> Answer<Self::GetHistoricalFeaturesStream> {
        let (call, requests) = Call::split(request)?;
        let requests = requests.map_err(broken_off);
        let (service, caller) = (self.0.service.clone(), call.caller.clone());
        let request_id = call.request_id.as_str().to_owned();
        let answers = historical::serve_grpc(service, caller, request_id, requests, self.0.patience(&call));
        let answers = answers.inspect_ok(move |part| call.read_part(part));
        Ok(Response::new(answers.map_err(Status::from).boxed()))
    }

    async fn register_features(
        &self,
        request: Request<RegisterFeaturesRequest>,
    ) -> Answer<RegisterFeaturesResponse> {
        let (call, request) = Call::split(request)?;
        let registered =
            self.0.service.register_features(&call.caller, register::registration_from(request)?).await?;
        Ok(Response::new(register::registered_to(&registered)))
    }

    async fn set_feature_status(
        &self,
        request: Request<SetFeatureStatusRequest>,
    ) -> Answer<SetFeatureStatusResponse> {
        let (call, request) = Call::split(request)?;
        let status = register::status_from(request.status)?;
        let entry = self.0.service.set_feature_status(&call.caller, &request.feature, status).await?;
        Ok(Response::new(SetFeatureStatusResponse { feature: Some(register::feature_to(&entry)) }))
    }

    async fn get_feature(&self, request: Request<GetFeatureRequest>) -> Answer<GetFeatureResponse> {
        let (call, request) = Call::split(request)?;
        let entry = self.0.service.get_feature(&call.caller, &request.feature)?;
        Ok(Response::new(GetFeatureResponse { feature: Some(register::feature_to(&entry)) }))
    }

    async fn list_features(&self, request: Request<ListFeaturesRequest>) -> Answer<ListFeaturesResponse> {
        let (call, request) = Call::split(request)?;
        let (filter, page) = register::filter_from(request);
        let page = self.0.service.list_features(&call.caller, &filter, &page)?;
        Ok(Response::new(register::features_to(page)))
    }

    async fn put_feature_set(&self, request: Request<PutFeatureSetRequest>) -> Answer<PutFeatureSetResponse> {
        let (call, request) = Call::split(request)?;
        let entry = self.0.service.put_feature_set(&call.caller, &request.name, &request.features).await?;
        Ok(Response::new(PutFeatureSetResponse { feature_set: Some(register::set_to(&entry)) }))
    }

    async fn get_feature_set(&self, request: Request<GetFeatureSetRequest>) -> Answer<GetFeatureSetResponse> {
        let (call, request) = Call::split(request)?;
        let entry = self.0.service.get_feature_set(&call.caller, &request.name)?;
        Ok(Response::new(GetFeatureSetResponse { feature_set: Some(register::set_to(&entry)) }))
    }

    async fn list_feature_sets(
        &self,
        request: Request<ListFeatureSetsRequest>,
    ) -> Answer<ListFeatureSetsResponse> {
        let (call, request) = Call::split(request)?;
        let page = PageRequest { size: request.page_size.into(), token: request.page_token };
        let page = self.0.service.list_feature_sets(&call.caller, &page)?;
        Ok(Response::new(register::sets_to(page)))
    }

    async fn write_features(&self, request: Request<InPlace>) -> Answer<WriteFeaturesResponse> {
        let (call, request) = Call::split(request)?;
        let outcome = write::write(&request, &self.0.service, &call.caller).await?;
        call.wrote(outcome.accepted);
        Ok(Response::new(write::outcome_to(outcome)))
    }

    type StreamWriteFeaturesStream = AnswerStream<StreamWriteFeaturesResponse>;

    async fn stream_write_features(
        &self,
        request: Request<Streaming<InPlace>>,
    ) -> Answer<Self::StreamWriteFeaturesStream> {
        let (call, requests) = Call::split(request)?;
        let outcomes = write::write_stream(self.0.service.clone(), call.caller.clone(), requests);
        let outcomes = outcomes.inspect_ok(move |outcome| call.wrote(outcome.accepted));
        Ok(Response::new(outcomes.map_ok(write::stream_outcome_to).boxed()))
    }

    async fn publish_events(&self, request: Request<InPlace>) -> Answer<PublishEventsResponse> {
        let (call, request) = Call::split(request)?;
        let outcome = events::publish(&request, &self.0.service, &call.caller).await?;
        call.published(outcome.accepted);
        Ok(Response::new(events::outcome_to(outcome)))
    }

    type StreamPublishEventsStream = AnswerStream<StreamPublishEventsResponse>;

    async fn stream_publish_events(
        &self,
        request: Request<Streaming<InPlace>>,
    ) -> Answer<Self::StreamPublishEventsStream> {
        let (call, requests) = Call::split(request)?;
        let outcomes = events::publish_stream(self.0.service.clone(), call.caller.clone(), requests);
        let outcomes = outcomes.inspect_ok(move |outcome| call.published(outcome.accepted));
        Ok(Response::new(outcomes.map_ok(events::stream_outcome_to).boxed()))
    }

    async fn get_feature_history(
        &self,
        request: Request<GetFeatureHistoryRequest>,
    ) -> Answer<GetFeatureHistoryResponse> {
        let (call, request) = Call::split(request)?;
        let page = self.0.service.feature_history(&call.caller, &history::history_from(request)?).await?;
        Ok(Response::new(history::history_to(page)))
    }

    async fn get_feature_statistics(
        &self,
        request: Request<GetFeatureStatisticsRequest>,
    ) -> Answer<GetFeatureStatisticsResponse> {
        let (call, request) = Call::split(request)?;
        let request = statistics::statistics_from(request)?;
        let found = self.0.service.feature_statistics(&call.caller, &request).await?;
        Ok(Response::new(statistics::statistics_to(&found)))
    }

    async fn explain_feature(
        &self,
        request: Request<ExplainFeatureRequest>,
    ) -> Answer<ExplainFeatureResponse> {
        let (call, request) = Call::split(request)?;
        let explanation = call.explain(&self.0.service, &explain::question_from(request)?).await?;
        Ok(Response::new(explain::explanation_to(&explanation)))
    }

    async fn invalidate_cache(
        &self,
        request: Request<InvalidateCacheRequest>,
    ) -> Answer<InvalidateCacheResponse> {
        let (call, request) = Call::split(request)?;
        self.0.service.invalidate_cache(&call.caller, &history::invalidation_from(request))?;
        Ok(Response::new(InvalidateCacheResponse { invalidated: true }))
    }
}

struct Admin(Arc<Shared>);

#[tonic::async_trait]
impl AdminService for Admin {
    async fn list_streams(&self, request: Request<ListStreamsRequest>) -> Answer<ListStreamsResponse> {
        let (call, ListStreamsRequest {}) = Call::split(request)?;
        let streams = self.0.service.streams(&call.caller).await?;
        Ok(Response::new(admin::streams_to(&streams)))
    }

    async fn list_backfills(&self, request: Request<ListBackfillsRequest>) -> Answer<ListBackfillsResponse> {
        let (call, ListBackfillsRequest {}) = Call::split(request)?;
        let backfills = self.0.service.backfills(&call.caller).await?;
        Ok(Response::new(admin::backfills_to(backfills)))
    }

    async fn list_late_events(
        &self,
        request: Request<ListLateEventsRequest>,
    ) -> Answer<ListLateEventsResponse> {
        let (call, request) = Call::split(request)?;
        let (filter, page) = admin::late_from(request);
        let page = self.0.service.late_events(&call.caller, &filter, &page).await?;
        Ok(Response::new(admin::late_to(page)))
    }

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Answer<ListDeadLettersResponse> {
        let (call, request) = Call::split(request)?;
        let page = self.0.service.dead_letters(&call.caller, &admin::dead_from(request)).await?;
        Ok(Response::new(admin::dead_to(page)))
    }
}

/// What ended a caller's stream before its time.
fn broken_off(status: Status) -> Error {
    let kind = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => Kind::TooLarge,
        Code::InvalidArgument | Code::Internal => Kind::InvalidArgument,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("the stream could not be read on: {}", status.message()))
}
