//! Connections: accepted, bounded, and drained.

use super::{Shared, gate::Gate, router};
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

/// A listening server. Nothing is accepted until [`Server::run`].
pub struct Server {
    shared: Arc<Shared>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds `address`; port 0 picks a free one.
    pub async fn bind(shared: Arc<Shared>, address: SocketAddr) -> Result<Self> {
        let failed = |error| {
            Error::unavailable(format!("cannot listen on {address}: {error}; choose another with --listen"))
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { shared, listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets what is under way end within the drain timeout.
    pub async fn run(self, stop: CancellationToken) {
        let settings = &self.shared.settings;
        let slots = Arc::new(Semaphore::new(settings.connections_max));
        let gate = Gate::new(self.shared.clone(), router(&self.shared));
        let builder = Arc::new(builder(&self.shared));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Ok(slot) = slots.clone().try_acquire_owned() else {
                        tracing::warn!(
                            connections_max = settings.connections_max,
                            "a connection over the bound was closed"
                        );
                        continue;
                    };
                    let serve = serve(stream, builder.clone(), gate.clone(), stop.clone());
                    connections.spawn(async move {
                        serve.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.shared.draining.store(true, Ordering::Relaxed);
        connections.close();
        if tokio::time::timeout(settings.drain_timeout, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "the drain timeout is over; the rest is cut off");
        }
    }
}

/// One connection, until it ends by itself or is drained.
async fn serve(stream: TcpStream, builder: Arc<Builder<TokioExecutor>>, gate: Gate, stop: CancellationToken) {
    // Answers are small and whole: waiting to fill a packet only adds latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let service = service_fn(move |request| gate.clone().answer(request));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

fn builder(shared: &Shared) -> Builder<TokioExecutor> {
    let settings = &shared.settings;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        // The gate refuses smaller heads with a problem; what is over this bound hyper refuses without one.
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
