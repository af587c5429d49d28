//! Connections: accepted, bounded, and drained.

use super::{
    HttpSettings, Shared,
    connection::{ConnectionState, ObservedStream},
    grpc,
    request_layer::RequestLayer,
    rest, routes,
};
use crate::error::{Error, Result};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long accepting rests after an error that is not one connection's own, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// So many connections are still taken after the signal to stop, so that a flood of them cannot put off the end.
const LATE_CONNECTIONS_MAX: usize = 1_024;
/// How often a draining connection is looked at for a request on its way.
const DRAIN_STEP: Duration = Duration::from_millis(5);
/// How often a connection is looked after.
const ROUND: Duration = Duration::from_secs(1);

/// What a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// gRPC and REST.
    Api,
    /// Metrics and health, to everybody.
    Metrics,
}

/// A listening server. Nothing is accepted until [`Server::run`].
pub struct Server {
    shared: Arc<Shared>,
    kind: ListenerKind,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds `address`; port 0 picks a free one.
    pub async fn bind(shared: Arc<Shared>, kind: ListenerKind, address: SocketAddr) -> Result<Self> {
        let failed = |error| {
            Error::unavailable(format!("cannot listen on {address}: {error}; choose another with --listen"))
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { shared, kind, listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets what is under way end within the drain timeout.
    pub async fn run(self, stop: CancellationToken) {
        let Self { shared, kind, listener, .. } = self;
        let (health, router) = match kind {
            ListenerKind::Api => {
                let (health, grpc) = grpc::routes(&shared).await;
                let router = grpc.into_axum_router().reset_fallback().merge(routes::router(&shared, false));
                (Some(health), router)
            }
            ListenerKind::Metrics => (None, routes::router(&shared, true)),
        };
        let router = rest::with_fallbacks(router);
        let layer = RequestLayer {
            shared: shared.clone(),
            router,
            kind,
            state: ConnectionState::new(),
            loopback: false,
        };
        let connections = accept(&listener, &layer, &stop).await;
        drop(listener);
        shared.draining.store(true, Ordering::Relaxed);
        if let Some(health) = health {
            grpc::set_not_serving(&health).await;
        }
        if tokio::time::timeout(shared.settings.drain_timeout, connections.all.wait()).await.is_err() {
            tracing::warn!(
                connections = connections.all.len(),
                "the drain timeout is over; the rest is cut off"
            );
            connections.cut.cancel();
            connections.all.wait().await;
        }
    }
}

/// The connections of one server.
struct Connections {
    all: TaskTracker,
    /// Ends them at once.
    cut: CancellationToken,
}

/// Takes connections until `stop`.
async fn accept(listener: &TcpListener, layer: &RequestLayer, stop: &CancellationToken) -> Connections {
    let settings = &layer.shared.settings;
    let slots = Arc::new(Semaphore::new(settings.connections_max));
    let builder = Arc::new(builder(settings));
    let connections = Connections { all: TaskTracker::new(), cut: CancellationToken::new() };
    let mut late = 0;
    while late < LATE_CONNECTIONS_MAX {
        late += usize::from(stop.is_cancelled());
        // What the kernel has taken already is taken here too, before a stop is obeyed: its clients have sent requests.
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(slot) = slots.clone().try_acquire_owned() else {
                    layer.shared.metrics.connection_refused();
                    continue;
                };
                let loopback = peer.ip().to_canonical().is_loopback();
                let layer = RequestLayer { state: ConnectionState::new(), loopback, ..layer.clone() };
                let (builder, stop, cut) = (builder.clone(), stop.clone(), connections.cut.clone());
                connections.all.spawn(async move {
                    let _counted = (slot, layer.shared.metrics.connection());
                    tokio::select! {
                        () = cut.cancelled() => {}
                        () = serve(stream, builder, layer, stop) => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.all.close();
    connections
}

/// One connection, until it ends by itself or is drained.
async fn serve(
    stream: TcpStream,
    builder: Arc<Builder<TokioExecutor>>,
    layer: RequestLayer,
    stop: CancellationToken,
) {
    // Answers are small and whole: waiting to fill a packet only adds latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let (state, settings) = (layer.state.clone(), layer.shared.settings.clone());
    let service = service_fn(move |request| layer.clone().answer(request));
    let stream = TokioIo::new(ObservedStream::new(stream, state.clone()));
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let mut round = tokio::time::interval(settings.header_timeout.min(ROUND * 4) / 4);
    let mut draining = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            () = drained(&stop, &state), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = round.tick() => if let Some(why) = state.overdue(&settings) {
                tracing::debug!(why, "a connection was closed");
                return;
            },
        }
    }
}

/// Until a connection may be told to end: a request that its client has sent by now is still taken.
async fn drained(stop: &CancellationToken, state: &ConnectionState) {
    stop.cancelled().await;
    while state.expects_request() {
        tokio::time::sleep(DRAIN_STEP).await;
    }
}

fn builder(settings: &HttpSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The state of the connection knows better: it tells a slow head from an idle connection.
        .header_read_timeout(None)
        // The request layer refuses smaller heads with a problem; what is over this bound hyper refuses without one.
        .max_buf_size((settings.header_bytes_max + settings.uri_bytes_max) * 4)
        .max_headers(256);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(settings.streams_max)
        .max_pending_accept_reset_streams(64)
        .max_local_error_reset_streams(256)
        .max_header_list_size(u32::try_from(settings.header_bytes_max * 4).unwrap_or(u32::MAX))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_send_buf_size(1 << 20);
    builder
}
