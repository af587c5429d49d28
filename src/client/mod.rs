//! The Rust client: one connection, the key on every call, and a helper for each thing people do.
//!
//! The command line, the demo, tests and benchmarks all go through it, so what they see is what any client sees.
//!
//! ```no_run
//! # async fn run() -> larder::error::Result<()> {
//! use larder::client::{Client, Target};
//!
//! let target = Target { url: "http://127.0.0.1:8000".into(), key: Some("…".into()) };
//! let client = Client::connect(&target).await?;
//! let answer = client.online_by_id(&["user_123"], &["country"]).await?;
//! println!("{:?}", answer.cell(0, 0).value);
//! # Ok(())
//! # }
//! ```

mod admin;
mod answer;
mod error;
mod stream;
mod target;
mod training;

pub use admin::AdminGrpc;
pub use answer::{OnlineAnswer, OnlineCell};
pub use stream::{Acknowledged, EventWriter, RowWriter, StreamWriter};
pub use target::Target;
pub use training::{SpinePieces, TrainingSet};

use crate::{
    error::{Error, Result},
    wire::proto::{
        self, admin_service_client::AdminServiceClient, feature_service_client::FeatureServiceClient,
    },
};
use std::time::Duration;
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// The generated client with the key on every call.
pub type Grpc = FeatureServiceClient<InterceptedService<Channel, Credentials>>;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a unary call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer taken, in bytes: a piece of a training set may be larger than a request.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// HTTP/2 windows, in bytes: wide enough that a training set is not paced by round trips.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Entries that one page of a list holds.
const PAGE_SIZE: i32 = 1_000;

/// A connection to a server. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    grpc: Grpc,
    admin: AdminGrpc,
}

impl Client {
    /// Connects, and fails at once where nobody listens.
    pub async fn connect(target: &Target) -> Result<Self> {
        let credentials = Credentials::new(target.key()?)?;
        let endpoint = Endpoint::from_shared(target.url.clone())
            .map_err(|_| {
                Error::invalid("url", format!("{:?} is not a URL such as http://127.0.0.1:8000", target.url))
            })?
            .user_agent(concat!("larder-client/", env!("CARGO_PKG_VERSION")))
            .map_err(Error::internal)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let channel = endpoint.connect().await.map_err(|cause| error::unreachable(&target.url, &cause))?;
        let grpc = FeatureServiceClient::with_interceptor(channel.clone(), credentials.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        let admin = AdminServiceClient::with_interceptor(channel, credentials)
            .max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self { grpc, admin })
    }

    /// The generated client, for what has no helper here.
    pub fn grpc(&self) -> Grpc {
        self.grpc.clone()
    }

    /// Registers features, or with `dry_run` says what that would do.
    pub async fn register(
        &self,
        request: proto::RegisterFeaturesRequest,
    ) -> Result<proto::RegisterFeaturesResponse> {
        self.unary(request, async |mut grpc, request| grpc.register_features(request).await).await
    }

    /// One feature by any of its references.
    pub async fn feature(&self, feature: &str) -> Result<proto::Feature> {
        let request = proto::GetFeatureRequest { feature: feature.to_owned() };
        let answer = self.unary(request, async |mut grpc, request| grpc.get_feature(request).await).await?;
        answer.feature.ok_or_else(|| error::missing("feature"))
    }

    /// Every feature that the filters match; their page fields are ours.
    pub async fn features(&self, filter: proto::ListFeaturesRequest) -> Result<Vec<proto::Feature>> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListFeaturesRequest { page_size: PAGE_SIZE, page_token, ..filter.clone() };
            let page =
                self.unary(request, async |mut grpc, request| grpc.list_features(request).await).await?;
            all.extend(page.features);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Makes a version (`name@version`) active, or deprecates it.
    pub async fn set_feature_status(
        &self,
        feature: &str,
        status: proto::FeatureVersionStatus,
    ) -> Result<proto::Feature> {
        let request = proto::SetFeatureStatusRequest { feature: feature.to_owned(), status: status.into() };
        let answer =
            self.unary(request, async |mut grpc, request| grpc.set_feature_status(request).await).await?;
        answer.feature.ok_or_else(|| error::missing("feature"))
    }

    /// Pins features under a name.
    pub async fn put_feature_set(
        &self,
        name: &str,
        features: &[impl AsRef<str>],
    ) -> Result<proto::FeatureSet> {
        let request = proto::PutFeatureSetRequest { name: name.to_owned(), features: owned(features) };
        let answer =
            self.unary(request, async |mut grpc, request| grpc.put_feature_set(request).await).await?;
        answer.feature_set.ok_or_else(|| error::missing("feature_set"))
    }

    /// One feature set, `fraud` or `fraud@3`.
    pub async fn feature_set(&self, name: &str) -> Result<proto::FeatureSet> {
        let request = proto::GetFeatureSetRequest { name: name.to_owned() };
        let answer =
            self.unary(request, async |mut grpc, request| grpc.get_feature_set(request).await).await?;
        answer.feature_set.ok_or_else(|| error::missing("feature_set"))
    }

    /// The newest version of every feature set.
    pub async fn feature_sets(&self) -> Result<Vec<proto::FeatureSet>> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListFeatureSetsRequest { page_size: PAGE_SIZE, page_token };
            let page =
                self.unary(request, async |mut grpc, request| grpc.list_feature_sets(request).await).await?;
            all.extend(page.feature_sets);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Writes rows in one transaction; durable when answered.
    pub async fn write(&self, request: proto::WriteFeaturesRequest) -> Result<proto::WriteFeaturesResponse> {
        self.unary(request, async |mut grpc, request| grpc.write_features(request).await).await
    }

    /// Opens a stream of writes that keeps up to `in_flight_max` requests unanswered.
    pub fn writer(&self, in_flight_max: usize) -> RowWriter {
        let mut grpc = self.grpc();
        RowWriter::open(
            in_flight_max,
            move |requests| async move { grpc.stream_write_features(requests).await },
        )
    }

    /// Takes events in; durable and judged when answered.
    pub async fn publish(
        &self,
        request: proto::PublishEventsRequest,
    ) -> Result<proto::PublishEventsResponse> {
        self.unary(request, async |mut grpc, request| grpc.publish_events(request).await).await
    }

    /// Opens a stream of events that keeps up to `in_flight_max` requests unanswered.
    pub fn event_writer(&self, in_flight_max: usize) -> EventWriter {
        let mut grpc = self.grpc();
        EventWriter::open(
            in_flight_max,
            move |requests| async move { grpc.stream_publish_events(requests).await },
        )
    }

    /// The features of entities, as any request puts the question.
    pub async fn online(&self, request: proto::GetOnlineFeaturesRequest) -> Result<OnlineAnswer> {
        let use_defaults = request.use_defaults;
        let answer =
            self.unary(request, async |mut grpc, request| grpc.get_online_features(request).await).await?;
        OnlineAnswer::new(answer, use_defaults)
    }

    /// The newest features of entities whose type has one key.
    pub async fn online_by_id(
        &self,
        entity_ids: &[impl AsRef<str>],
        features: &[impl AsRef<str>],
    ) -> Result<OnlineAnswer> {
        let request = proto::GetOnlineFeaturesRequest {
            entity_ids: owned(entity_ids),
            features: owned(features),
            ..Default::default()
        };
        self.online(request).await
    }

    /// A training set: sends the spine while it receives the answer.
    pub async fn training_set(
        &self,
        options: proto::HistoricalOptions,
        spine: impl SpinePieces,
    ) -> Result<TrainingSet> {
        TrainingSet::open(self.grpc(), options, spine).await
    }

    /// One page of a feature's values over time.
    pub async fn history(
        &self,
        request: proto::GetFeatureHistoryRequest,
    ) -> Result<proto::GetFeatureHistoryResponse> {
        self.unary(request, async |mut grpc, request| grpc.get_feature_history(request).await).await
    }

    /// How a feature's values are spread, by hour of event time.
    pub async fn statistics(
        &self,
        request: proto::GetFeatureStatisticsRequest,
    ) -> Result<proto::GetFeatureStatisticsResponse> {
        self.unary(request, async |mut grpc, request| grpc.get_feature_statistics(request).await).await
    }

    /// Why a cell is what it is.
    pub async fn explain(
        &self,
        request: proto::ExplainFeatureRequest,
    ) -> Result<proto::ExplainFeatureResponse> {
        self.unary(request, async |mut grpc, request| grpc.explain_feature(request).await).await
    }

    /// Drops an entity from the caches.
    pub async fn invalidate(&self, request: proto::InvalidateCacheRequest) -> Result<bool> {
        let answer =
            self.unary(request, async |mut grpc, request| grpc.invalidate_cache(request).await).await?;
        Ok(answer.invalidated)
    }

    async fn unary<A, B>(
        &self,
        message: A,
        call: impl AsyncFnOnce(Grpc, Request<A>) -> Result<Response<B>, Status>,
    ) -> Result<B> {
        call(self.grpc(), timed(message))
            .await
            .map(Response::into_inner)
            .map_err(|status| error::from_status(&status))
    }
}

/// A unary request, which does not wait for ever.
fn timed<A>(message: A) -> Request<A> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// Puts the key on every call.
#[derive(Clone, Debug)]
pub struct Credentials {
    key: MetadataValue<Ascii>,
}

impl Credentials {
    fn new(key: &str) -> Result<Self> {
        let mut key = MetadataValue::try_from(key.trim())
            .map_err(|_| Error::invalid("key", "the API key holds characters that no key has"))?;
        key.set_sensitive(true);
        Ok(Self { key })
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("x-api-key", self.key.clone());
        Ok(request)
    }
}

fn owned(texts: &[impl AsRef<str>]) -> Vec<String> {
    texts.iter().map(|text| text.as_ref().to_owned()).collect()
}
