//! The program put together: storage, registry, service, server.
//!
//! [`App::build`] returns with addresses bound; [`App::wait_termination`] does the rest. Tests run apps in their own
//! process the same way, with a store in memory and port 0.

use crate::{
    access::{ApiKeySecret, Scope},
    api::{ListenerKind, Server, Shared},
    clock::Clock,
    config::Config,
    error::{Error, Result},
    registry::Registry,
    serving::{Events, Service},
    store::{
        DurableStore, RegistryStore,
        embedded::{EmbeddedStore, Options},
        log::EventLog,
        readers::Progress,
    },
    stream::Aggregation,
};
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The tenant that the first start makes.
pub const DEFAULT_TENANT: &str = "default";
/// Where the first key lies in the data directory.
const KEY_FILE: &str = "admin.key";

/// What stands behind the service.
pub struct Storage {
    pub durable: Arc<dyn DurableStore>,
    pub registry: Arc<dyn RegistryStore>,
    pub log: EventLog,
    pub streams: Arc<dyn Progress>,
}

/// A running server.
pub struct App {
    service: Service,
    aggregation: Aggregation,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    first_key: Option<ApiKeySecret>,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
}

impl Storage {
    /// The embedded store that the settings describe, in its directory or in memory.
    pub fn embedded(config: &Config, clock: &Clock) -> Result<Self> {
        let options = Options {
            retention: config.store.retention.map(|span| span.0),
            latest_bytes_max: config.store.latest_bytes_max,
            memtable_bytes_max: config.store.memtable_bytes_max,
            partitions: config.events.partitions,
            event_retention: config.events.retention.0,
            clock: clock.clone(),
            ..Options::default()
        };
        let store = Arc::new(match config.in_memory {
            true => EmbeddedStore::in_memory(options)?,
            false => EmbeddedStore::open(&config.data_dir, options)?,
        });
        Ok(Self::of(store))
    }

    /// One embedded store behind everything.
    pub fn of(store: Arc<EmbeddedStore>) -> Self {
        let log = EventLog::of(&store);
        Self { durable: store.clone(), registry: store.clone(), log, streams: store }
    }
}

impl App {
    /// Opens storage, makes the first key where none is, binds, and serves.
    ///
    /// `bootstrap_key` is the first key's text if the operator chose one.
    pub async fn build(config: &Config, bootstrap_key: Option<&str>) -> Result<Self> {
        let clock = Clock::system();
        Self::build_on(config, Storage::embedded(config, &clock)?, clock, bootstrap_key).await
    }

    /// The same on storage that is open already, with a clock of the caller's.
    pub async fn build_on(
        config: &Config,
        storage: Storage,
        clock: Clock,
        bootstrap_key: Option<&str>,
    ) -> Result<Self> {
        let registry = Arc::new(Registry::open(storage.registry).await?);
        let key_file = (!config.in_memory).then(|| admin_key_file(&config.data_dir));
        let first_key = first_key(&registry, &clock, bootstrap_key, key_file.as_deref()).await?;
        let limits = Arc::new(config.limits.clone());
        let events = Events { windows: config.windows(), ..Events::new(storage.log, storage.streams) };
        let service = Service::new(registry, storage.durable, events, limits, clock);
        let aggregation = Aggregation::start(&service, config.windows()).await?;
        let shared = Shared::new(service.clone(), config.http.clone(), config.log.online_sample);
        let stop = CancellationToken::new();
        let mut app = Self {
            service,
            aggregation,
            address: config.listen,
            metrics_address: None,
            first_key,
            stop,
            servers: vec![],
        };
        let server = Server::bind(shared.clone(), ListenerKind::Api, config.listen).await?;
        app.address = server.address();
        let metrics = match config.metrics_listen {
            Some(address) => Some(Server::bind(shared, ListenerKind::Metrics, address).await?),
            None => None,
        };
        app.metrics_address = metrics.as_ref().map(Server::address);
        for server in [Some(server), metrics].into_iter().flatten() {
            app.servers.push(tokio::spawn(server.run(app.stop.clone())));
        }
        Ok(app)
    }

    /// Where gRPC and REST answer.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics answer everybody.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The key that this start made, if it was the first.
    pub fn first_key(&self) -> Option<&ApiKeySecret> {
        self.first_key.as_ref()
    }

    /// The use cases, past the transports.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Cancel it to drain and stop.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Makes a tenant, if there is none of this name, and a key of it.
    pub async fn create_key(&self, tenant: &str, scopes: &[Scope]) -> Result<ApiKeySecret> {
        let registry = &self.service.registry;
        let tenant = registry.create_tenant(tenant).await?;
        let secret = ApiKeySecret::generate();
        registry.create_key(tenant, &secret, scopes, self.service.clock.now(), None).await?;
        Ok(secret)
    }

    /// Serves until [`App::stop`] is cancelled and what was under way has ended.
    pub async fn wait_termination(self) -> Result<()> {
        for server in self.servers {
            server.await.map_err(Error::internal)?;
        }
        self.aggregation.stop().await
    }
}

/// Where the first key of a data directory lies; the commands on the same machine find it there.
pub fn admin_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join(KEY_FILE)
}

/// Makes the default tenant and a key with all scopes, unless there is a key already.
async fn first_key(
    registry: &Registry,
    clock: &Clock,
    chosen: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<ApiKeySecret>> {
    let chosen =
        match chosen {
            Some(text) => Some(ApiKeySecret::chosen(text).map_err(|error| {
                Error::invalid("LARDER_BOOTSTRAP_KEY", format!("{error}; choose another"))
            })?),
            None => None,
        };
    if registry.snapshot().has_keys() {
        if chosen.is_some_and(|key| registry.authenticate(key.reveal(), clock.now()).is_err()) {
            tracing::warn!(
                "LARDER_BOOTSTRAP_KEY is not a key of this store, which has its keys already; it is ignored"
            );
        }
        return Ok(None);
    }
    let secret = chosen.unwrap_or_else(ApiKeySecret::generate);
    // The file comes first: a crash in between leaves a file that the next start writes anew, never a key nobody knows.
    if let Some(file) = file {
        write_private(file, secret.reveal()).map_err(|error| {
            Error::unavailable(format!("the first key cannot be written to {}: {error}", file.display()))
        })?;
    }
    let tenant = registry.create_tenant(DEFAULT_TENANT).await?;
    registry.create_key(tenant, &secret, &Scope::ALL, clock.now(), None).await?;
    Ok(Some(secret))
}

/// Writes a file that only its owner may read, as such from its first moment.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}
