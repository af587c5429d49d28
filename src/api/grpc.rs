//! gRPC: `larder.v1.FeatureService` and `larder.v1.AdminService`, their verbs in the order of the contract.

use super::{
    Call, Shared,
    codec::server::{
        admin_service_server::{AdminService, AdminServiceServer},
        feature_service_server::{FeatureService, FeatureServiceServer},
    },
    training,
};
use crate::{
    error::{Error, Kind, Result},
    wire::{
        codec::InPlace,
        events, online,
        proto::{self, *},
        write,
    },
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use std::sync::Arc;
use tonic::{Code, Request, Response, Status, Streaming, codec::CompressionEncoding, service::Routes};
use tonic_health::server::HealthReporter;

type Answer<T> = Result<Response<T>, Status>;

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

/// A service: each method is one of `Shared` under the same name.
macro_rules! service {
    ($service:ident for $server:ident {
        $($method:ident($request:ty) -> $response:ty;)*
    } $(streams {
        $($stream:ident($part:ty) -> $answers:ident<$answer:ty>;)*
    })?) => {
        #[tonic::async_trait]
        impl $service for $server {
            $(async fn $method(&self, request: Request<$request>) -> Answer<$response> {
                let (call, request) = Call::split(request)?;
                Ok(Response::new(self.0.$method(&call, request).await?))
            })*
            $($(type $answers = BoxStream<'static, Result<$answer, Status>>;

            async fn $stream(&self, request: Request<Streaming<$part>>) -> Answer<Self::$answers> {
                let (call, requests) = Call::split(request)?;
                Ok(Response::new(self.0.$stream(call, requests).map_err(Status::from).boxed()))
            })*)?
        }
    };
}

struct Features(Arc<Shared>);

service! { FeatureService for Features {
    get_online_features(online::Request) -> online::Reply;
    register_features(RegisterFeaturesRequest) -> RegisterFeaturesResponse;
    set_feature_status(SetFeatureStatusRequest) -> SetFeatureStatusResponse;
    get_feature(GetFeatureRequest) -> GetFeatureResponse;
    list_features(ListFeaturesRequest) -> ListFeaturesResponse;
    put_feature_set(PutFeatureSetRequest) -> PutFeatureSetResponse;
    get_feature_set(GetFeatureSetRequest) -> GetFeatureSetResponse;
    list_feature_sets(ListFeatureSetsRequest) -> ListFeatureSetsResponse;
    write_features(InPlace) -> WriteFeaturesResponse;
    publish_events(InPlace) -> PublishEventsResponse;
    get_feature_history(GetFeatureHistoryRequest) -> GetFeatureHistoryResponse;
    get_feature_statistics(GetFeatureStatisticsRequest) -> GetFeatureStatisticsResponse;
    explain_feature(ExplainFeatureRequest) -> ExplainFeatureResponse;
    invalidate_cache(InvalidateCacheRequest) -> InvalidateCacheResponse;
} streams {
    get_historical_features(GetHistoricalFeaturesRequest)
        -> GetHistoricalFeaturesStream<GetHistoricalFeaturesResponse>;
    stream_write_features(InPlace) -> StreamWriteFeaturesStream<StreamWriteFeaturesResponse>;
    stream_publish_events(InPlace) -> StreamPublishEventsStream<StreamPublishEventsResponse>;
}}

struct Admin(Arc<Shared>);

service! { AdminService for Admin {
    list_streams(ListStreamsRequest) -> ListStreamsResponse;
    list_backfills(ListBackfillsRequest) -> ListBackfillsResponse;
    list_late_events(ListLateEventsRequest) -> ListLateEventsResponse;
    list_dead_letters(ListDeadLettersRequest) -> ListDeadLettersResponse;
}}

/// The data plane: its messages are read and written in place.
impl Shared {
    async fn get_online_features(&self, call: &Call, request: online::Request) -> Result<online::Reply> {
        let parts = request.parts()?;
        let answer = call.online(&self.service, parts.to_online()?).await?;
        online::Reply::new(answer, parts.schema_id, &call.envelope(&self.service))
    }

    fn get_historical_features(
        self: &Arc<Self>,
        call: Call,
        requests: Streaming<GetHistoricalFeaturesRequest>,
    ) -> impl Stream<Item = Result<GetHistoricalFeaturesResponse>> + Send + 'static {
        training::grpc::answer(self.clone(), call, requests.map_err(broken_off))
    }

    async fn write_features(&self, call: &Call, request: InPlace) -> Result<WriteFeaturesResponse> {
        let outcome = write::write(&request, &self.service, &call.caller).await?;
        call.wrote(outcome.accepted);
        Ok(write::outcome_to(outcome))
    }

    fn stream_write_features(
        &self,
        call: Call,
        requests: Streaming<InPlace>,
    ) -> impl Stream<Item = Result<StreamWriteFeaturesResponse, Status>> + Send + 'static {
        let outcomes = write::write_stream(self.service.clone(), call.caller.clone(), requests);
        outcomes.inspect_ok(move |outcome| call.wrote(outcome.accepted)).map_ok(write::stream_outcome_to)
    }

    async fn publish_events(&self, call: &Call, request: InPlace) -> Result<PublishEventsResponse> {
        let outcome = events::publish(&request, &self.service, &call.caller).await?;
        call.published(outcome.accepted);
        Ok(events::outcome_to(outcome))
    }

    fn stream_publish_events(
        &self,
        call: Call,
        requests: Streaming<InPlace>,
    ) -> impl Stream<Item = Result<StreamPublishEventsResponse, Status>> + Send + 'static {
        let outcomes = events::publish_stream(self.service.clone(), call.caller.clone(), requests);
        outcomes.inspect_ok(move |outcome| call.published(outcome.accepted)).map_ok(events::stream_outcome_to)
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
