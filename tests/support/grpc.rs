//! A gRPC client that sends its key.

use larder::wire::proto::{
    admin_service_client::AdminServiceClient, feature_service_client::FeatureServiceClient,
};
use std::net::SocketAddr;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// The generated client.
pub type GrpcClient = FeatureServiceClient<InterceptedService<Channel, WithKey>>;

/// The generated client of administrators.
pub type AdminClient = AdminServiceClient<InterceptedService<Channel, WithKey>>;

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
    let (channel, key) = (channel(address).await, WithKey(key.map(|key| key.parse().unwrap())));
    FeatureServiceClient::with_interceptor(channel, key).max_decoding_message_size(64 << 20)
}

pub async fn connect_admin(address: SocketAddr, key: Option<&str>) -> AdminClient {
    let (channel, key) = (channel(address).await, WithKey(key.map(|key| key.parse().unwrap())));
    AdminServiceClient::with_interceptor(channel, key)
}

async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}
