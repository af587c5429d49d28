//! A gRPC client that sends its key.

use larder::wire::proto::feature_service_client::FeatureServiceClient;
use std::net::SocketAddr;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// The generated client.
pub type GrpcClient = FeatureServiceClient<InterceptedService<Channel, WithKey>>;

/// Puts the key into every request.
#[derive(Clone)]
pub struct WithKey(Option<MetadataValue<Ascii>>);

impl Interceptor for WithKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("x-api-key", key.clone());
        }
        Ok(request)
    }
}

pub async fn connect(address: SocketAddr, key: Option<&str>) -> GrpcClient {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let key = WithKey(key.map(|key| key.parse().unwrap()));
    FeatureServiceClient::with_interceptor(channel, key).max_decoding_message_size(64 << 20)
}
