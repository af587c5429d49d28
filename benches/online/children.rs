//! The two servers, each in a process of its own.

use super::{
    Result,
    load::{REST_PATH, RawCodec},
    shape,
};
use arrow::array::{ArrayRef, Float64Array, StringArray};
use axum::{Router, body::Body, extract::State, response::Response, routing::post};
use bytes::Bytes;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use larder::{
    access::Scope,
    app::{App, DEFAULT_TENANT, Storage},
    clock::Clock,
    config::Config,
    feature::{
        Column, Dtype,
        definition::{Describing, FeatureDefinition},
    },
    serving::register::Registration,
    store::{
        Commit, RowBatch,
        embedded::{EmbeddedStore, Options},
    },
};
use std::{
    convert::Infallible,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{self, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tonic::{body::Body as TonicBody, codegen::http::Request, server::UnaryService};

/// A running server, ended with this value.
pub struct Child {
    process: process::Child,
    pub address: SocketAddr,
    pub key: String,
}

pub enum Server {
    Larder,
    /// Sends these bytes, whatever is asked.
    Static {
        reply: Bytes,
    },
}

/// Runs this program again on the second core.
pub fn rerun_pinned(args: &[String]) -> Result<()> {
    let mut command = Command::new("taskset");
    command.args(["-c", "1"]).args(args).env("LARDER_BENCH_PINNED", "1");
    process::exit(command.status()?.code().unwrap_or(1));
}

impl Child {
    pub fn start(server: Server) -> Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(std::env::current_exe()?).arg("--child");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let reply = match server {
            Server::Larder => {
                command.arg("larder");
                None
            }
            Server::Static { reply } => {
                let file = tempfile::NamedTempFile::new()?;
                fs::write(file.path(), reply)?;
                command.arg("static").arg(file.path());
                Some(file)
            }
        };
        let mut process = command.spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        drop(reply);
        let (address, key) = line.trim().split_once(' ').ok_or("a child did not start")?;
        Ok(Self { address: address.parse()?, key: key.to_owned(), process })
    }

    /// CPU time so far, user and system.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let after_name = stat.rsplit_once(')').ok_or("no name")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // USER_HZ is 100 on every Linux that people run.
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The body of a child process.
pub fn run(args: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args {
        [kind] if kind == "larder" => runtime.block_on(run_larder()),
        [kind, reply] if kind == "static" => runtime.block_on(run_static(Bytes::from(fs::read(reply)?))),
        _ => Err("what child?".into()),
    }
}

/// Says where it listens, and stays until the parent is gone.
async fn ready(address: SocketAddr, key: &str) -> Result<()> {
    println!("{address} {key}");
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

async fn run_larder() -> Result<()> {
    let options = Options { latest_bytes_max: 1 << 30, ..Options::default() };
    let store = Arc::new(EmbeddedStore::in_memory(options)?);
    let storage = Storage::of(store);
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), in_memory: true, ..Config::default() };
    let app = App::build_on(&config, storage, Clock::system(), None).await?;
    let key = app.create_key(DEFAULT_TENANT, &Scope::ALL).await?;
    let service = app.service();
    let caller = service.registry.authenticate(key.reveal(), service.clock.now())?;
    let feature = |group: usize, column: usize| FeatureDefinition {
        name: shape::feature(group, column),
        entity_type: "user".into(),
        dtype: Dtype::Float64,
        group: Some(shape::group(group)),
        version: None,
        describing: Describing { ttl: Some("30d".parse().expect("a span")), ..Describing::default() },
        allow_non_finite: false,
        window: None,
    };
    let features =
        (0..shape::GROUPS).flat_map(|group| (0..shape::COLUMNS).map(move |column| feature(group, column)));
    let registration = Registration { entity_types: vec![], features: features.collect(), dry_run: false };
    service.register_features(&caller, registration).await?;
    let names = shape::features();
    service.put_feature_set(&caller, shape::SET, &names).await?;
    let catalogue = service.registry.catalogue(&caller);
    let mut random = fastrand::Rng::with_seed(1);
    let now = service.clock.now().micros();
    let batches = (0..shape::GROUPS).map(|group| {
        let mut column = |_| {
            let values = (0..shape::ENTITIES).map(|_| random.f64() * 1_000.0);
            Column::given(Arc::new(Float64Array::from_iter_values(values)) as ArrayRef)
        };
        RowBatch {
            group: catalogue.group(&shape::group(group)).expect("it was registered").schema.clone(),
            keys: StringArray::from_iter_values((0..shape::ENTITIES).map(shape::entity)),
            event_timestamps: vec![now; shape::ENTITIES].into(),
            sequences: (0..shape::ENTITIES as u32).collect::<Vec<_>>().into(),
            columns: (0..shape::COLUMNS).map(&mut column).collect(),
        }
    });
    let batches = batches.collect();
    service.store.commit(Commit { tenant: caller.tenant(), batches, idempotency: None }).await?;
    ready(app.address(), key.reveal()).await
}

/// The same stack with the same settings, and nothing behind it.
async fn run_static(reply: Bytes) -> Result<()> {
    let grpc = tonic::service::Routes::new(StaticService(reply.clone())).into_axum_router();
    let rest = Router::new().route(REST_PATH, post(static_answer)).with_state(reply);
    let router = grpc.merge(rest);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(10))
            .max_headers(256);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .max_concurrent_streams(256)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_send_buf_size(1 << 20);
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (builder, service) = (builder.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move { builder.serve_connection(TokioIo::new(stream), service).await });
        }
    });
    ready(address, "none").await
}

async fn static_answer(State(reply): State<Bytes>, _request: Bytes) -> Response {
    let mut response = Response::new(Body::from(reply));
    response.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
    response
}

/// Answers any method with the same bytes.
#[derive(Clone)]
struct StaticService(Bytes);

impl tonic::server::NamedService for StaticService {
    const NAME: &'static str = "larder.v1.FeatureService";
}

impl tower::Service<Request<TonicBody>> for StaticService {
    type Response = tonic::codegen::http::Response<TonicBody>;
    type Error = Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Infallible>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::result::Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<TonicBody>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move { Ok(tonic::server::Grpc::new(RawCodec).unary(method, request).await) })
    }
}

impl UnaryService<Bytes> for StaticService {
    type Response = Bytes;
    type Future = std::future::Ready<std::result::Result<tonic::Response<Bytes>, tonic::Status>>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(self.0.clone())))
    }
}
