//! Servers in this process, with a store in memory and a free port, and clients of both transports.

mod grpc;
pub mod log;
mod raw;
mod rest;
mod store;

pub use grpc::{AdminClient, GrpcClient};
pub use raw::RawConnection;
pub use rest::{Answer, RestClient, send};
pub use store::Door;

use larder::{
    access::Scope,
    app::{App, Storage},
    clock::Clock,
    config::Config,
};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use store::WatchedStore;

/// How long a test waits for what has to come. Only a test that fails takes so long: on a machine with other work anything
/// else may.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again until the answer is there; a panic with the last one where it does not come.
#[track_caller]
pub fn until<T>(mut ask: impl AsyncFnMut() -> Result<T, String>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    let started = Instant::now();
    async move {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(last) => assert!(started.elapsed() < PATIENCE, "{caller}: {last}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A running server. It ends with the test's runtime, or drained by [`TestApp::stop`].
pub struct TestApp {
    app: App,
    key: String,
    door: Arc<Door>,
}

impl TestApp {
    /// With default settings.
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// With settings of the test's own.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Clock::system(), change).await
    }

    /// With a clock of the test's own.
    pub async fn start_at(clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let mut config =
            Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), in_memory: true, ..Config::default() };
        change(&mut config);
        let door = Arc::new(Door::default());
        let mut storage = Storage::embedded(&config, &clock).unwrap();
        storage.durable = Arc::new(WatchedStore { inner: storage.durable, door: door.clone() });
        let app = App::build_on(&config, storage, clock, None).await.unwrap();
        Self { door, ..Self::over(app) }
    }

    /// An app that the test put together itself.
    pub fn over(app: App) -> Self {
        let door = Arc::default();
        let key = app.first_key().expect("the store is empty").reveal().to_owned();
        Self { app, key, door }
    }

    pub fn app(&self) -> &App {
        &self.app
    }

    pub fn address(&self) -> SocketAddr {
        self.app.address()
    }

    /// Where reads of the store pass: to count them, slow them down or make them panic.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// A bare connection.
    pub async fn raw(&self) -> RawConnection {
        RawConnection::open(self.address()).await
    }

    /// Registers the feature `country` of users and gives `u1` the value `GB`.
    pub async fn with_country(self) -> Self {
        let rest = self.rest();
        let feature = json!({"name": "country", "entity_type": "user", "dtype": "string"});
        rest.post("/api/v1/features/register", &json!({"features": [feature]})).await.json(200);
        let row = json!({"entity_type": "user", "entity_id": "u1", "event_timestamp": "2024-01-15T14:22:00Z", "values": {"country": "GB"}});
        rest.post("/api/v1/features/write", &json!({"rows": [row]})).await.json(200);
        self
    }

    /// The key with all scopes of the tenant `default`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A key of any tenant, which is made if there is none of this name.
    pub async fn key_of(&self, tenant: &str, scopes: &[Scope]) -> String {
        self.app.create_key(tenant, scopes).await.unwrap().reveal().to_owned()
    }

    /// A client with the key that may do everything.
    pub fn rest(&self) -> RestClient {
        RestClient::new(self.address(), Some(&self.key))
    }

    /// A client with another key, or none.
    pub fn rest_with(&self, key: Option<&str>) -> RestClient {
        RestClient::new(self.address(), key)
    }

    /// A client with the key that may do everything.
    pub async fn grpc(&self) -> GrpcClient {
        grpc::connect(self.address(), Some(&self.key)).await
    }

    /// A client with another key, or none.
    pub async fn grpc_with(&self, key: Option<&str>) -> GrpcClient {
        grpc::connect(self.address(), key).await
    }

    /// A client of administrators with any key, or none.
    pub async fn admin_with(&self, key: Option<&str>) -> AdminClient {
        grpc::connect_admin(self.address(), key).await
    }

    /// Drains the server and waits for its end.
    pub async fn stop(self) {
        self.app.stop().cancel();
        self.app.wait_termination().await.unwrap();
    }
}
