//! A training set end to end: one million rows of spine go to a server over gRPC as Arrow, and come back with features.
//!
//! ```text
//! cargo bench --bench historical_grpc       # 10 M rows of history; LARDER_BENCH_ROWS makes it smaller
//! ```
//!
//! The server runs in a process of its own on a directory that this one has filled. Time is wall time from the first
//! byte sent to the last row decoded; memory is the server's anonymous memory above what it had when idle. DuckDB's
//! figures, for the same rows on as many threads, come from `--bench historical`.

#[path = "history/world.rs"]
#[expect(dead_code, reason = "other benchmarks use the rest")]
mod world;

use arrow::{
    array::{Array, ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray},
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use larder::{
    access::Scope,
    app::{App, DEFAULT_TENANT},
    config::Config,
    feature::{
        Dtype,
        definition::{Describing, FeatureDefinition},
    },
    serving::register::Registration,
    store::Commit,
    wire::proto::{
        GetHistoricalFeaturesRequest, HistoricalOptions, feature_service_client::FeatureServiceClient,
        get_historical_features_request::Part as Asked, get_historical_features_response::Part as Reply,
    },
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tonic::{Request, transport::Endpoint};

const COMMIT_ROWS: u64 = 500_000;
const SPINES: [u64; 2] = [10_000, 1_000_000];
const TURNS: usize = 7;
/// Rows in a message of the spine: well under what a server takes in one.
const MESSAGE_ROWS: usize = 65_536;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match args.iter().position(|arg| arg == "--child") {
        Some(child) => runtime.block_on(serve(Path::new(&args[child + 1]))),
        None => runtime.block_on(measure()),
    }
}

fn config(directory: &Path) -> Config {
    Config { listen: ([127, 0, 0, 1], 0).into(), data_dir: directory.to_owned(), ..Config::default() }
}

/// The body of the child: serves until its parent is gone.
async fn serve(directory: &Path) -> Result<()> {
    let app = App::build(&config(directory), None).await?;
    println!("{}", app.address());
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// Registers the features and writes the history; returns a key.
async fn fill(directory: &Path) -> Result<String> {
    let app = App::build(&config(directory), None).await?;
    let key = app.create_key(DEFAULT_TENANT, &Scope::ALL).await?;
    let service = app.service();
    let caller = service.registry.authenticate(key.reveal(), service.clock.now())?;
    let feature = |column: usize| FeatureDefinition {
        name: format!("f{column}"),
        entity_type: "user".into(),
        dtype: Dtype::Float64,
        group: Some("g".into()),
        version: None,
        describing: Describing::default(),
        allow_non_finite: false,
        window: None,
    };
    let features = (0..world::COLUMNS).map(feature).collect();
    service
        .register_features(&caller, Registration { entity_types: vec![], features, dry_run: false })
        .await?;
    let schema =
        service.registry.catalogue(&caller).group("g").ok_or("the group was registered")?.schema.clone();
    let total = world::rows_total();
    for from in (0..total).step_by(COMMIT_ROWS as usize) {
        let rows = world::batch(&schema, from..(from + COMMIT_ROWS).min(total), 0);
        service
            .store
            .commit(Commit { tenant: caller.tenant(), batches: vec![rows], idempotency: None })
            .await?;
    }
    app.stop().cancel();
    app.wait_termination().await?;
    Ok(key.reveal().to_owned())
}

async fn measure() -> Result<()> {
    let directory = tempfile::tempdir_in(world::directory())?;
    let key = fill(directory.path()).await?;
    let mut child = Server::start(directory.path())?;
    println!("history: {} rows\n", world::rows_total());
    println!("| spine | first ms | ms | answer MiB | server CPU ms | MiB added |\n|---|---|---|---|---|---|");
    for rows in SPINES {
        let spine = spine(rows)?;
        let idle = child.anonymous_mib()?;
        let watch = Watch::start(child.process.id());
        let first = ask(&child.address, &key, &spine, rows).await?;
        let mut times = Vec::new();
        let cpu = child.cpu()?;
        for _ in 0..TURNS {
            times.push(ask(&child.address, &key, &spine, rows).await?.0);
        }
        let cpu = (child.cpu()? - cpu).as_secs_f64() / TURNS as f64;
        let added = watch.stop() - idle;
        println!(
            "| {rows} | {:.1} | {:.1} | {:.1} | {:.0} | {added:.0} |",
            first.0 * 1e3,
            world::median(&mut times) * 1e3,
            first.1 as f64 / 1_048_576.0,
            cpu * 1e3
        );
    }
    child.process.kill()?;
    child.process.wait()?;
    Ok(())
}

/// The spine as messages, made beforehand: a client has its own ways to make them.
fn spine(rows: u64) -> Result<Vec<GetHistoricalFeaturesRequest>> {
    let query = world::spine(&world::group(), rows);
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::new(query.times, None).with_timezone("UTC"));
    let labels: ArrayRef = Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64)));
    let ids: ArrayRef = Arc::new(query.keys);
    let batch = RecordBatch::try_from_iter([("entity_id", ids), ("timestamp", times), ("label", labels)])?;
    let features = (0..world::COLUMNS).map(|column| format!("f{column}")).collect();
    let options = Asked::Options(HistoricalOptions { features, ..Default::default() });
    let mut messages = vec![GetHistoricalFeaturesRequest { part: Some(options) }];
    for at in (0..batch.num_rows()).step_by(MESSAGE_ROWS) {
        let slice = batch.slice(at, MESSAGE_ROWS.min(batch.num_rows() - at));
        let mut writer = StreamWriter::try_new(Vec::new(), slice.schema_ref())?;
        writer.write(&slice)?;
        let part = Asked::ArrowIpc(writer.into_inner()?.into());
        messages.push(GetHistoricalFeaturesRequest { part: Some(part) });
    }
    Ok(messages)
}

/// Seconds from the first byte sent to the last row decoded, and the bytes of the answer.
async fn ask(
    address: &str,
    key: &str,
    spine: &[GetHistoricalFeaturesRequest],
    rows: u64,
) -> Result<(f64, usize)> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(8 << 20)
        .connect()
        .await?;
    let mut client = FeatureServiceClient::new(channel).max_decoding_message_size(16 << 20);
    let mut request = Request::new(tokio_stream::iter(spine.to_vec()));
    request.metadata_mut().insert("x-api-key", key.parse()?);
    let start = Instant::now();
    let mut answers = client.get_historical_features(request).await?.into_inner();
    let (mut seen, mut bytes, mut label) = (0, 0, 0.0);
    while let Some(answer) = answers.message().await? {
        match answer.part {
            Some(Reply::ArrowIpc(ipc)) => {
                bytes += ipc.len();
                for batch in StreamReader::try_new(&ipc[..], None)? {
                    let batch = batch?;
                    let labels = batch.column_by_name("label").ok_or("labels come back")?;
                    let labels = labels.as_any().downcast_ref::<Float64Array>().ok_or("as they were")?;
                    assert_eq!(labels.value(0), label, "rows come back in order");
                    label += batch.num_rows() as f64;
                    seen += batch.num_rows() as u64;
                }
            }
            Some(Reply::Summary(summary)) => assert_eq!(summary.rows, rows),
            _ => {}
        }
    }
    assert_eq!(seen, rows);
    Ok((start.elapsed().as_secs_f64(), bytes))
}

/// A server in a process of its own.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(directory: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--child").arg(directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self { process, address: line.trim().to_owned() })
    }

    /// CPU time so far, user and system.
    fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace().collect();
        // USER_HZ is 100 on every Linux that people run.
        Ok(Duration::from_millis((fields[11].parse::<u64>()? + fields[12].parse::<u64>()?) * 10))
    }

    fn anonymous_mib(&self) -> Result<f64> {
        anonymous_mib(self.process.id()).ok_or_else(|| "no status".into())
    }
}

fn anonymous_mib(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1_024.0)
}

/// Watches the greatest anonymous memory of a process.
struct Watch {
    done: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<f64>,
}

impl Watch {
    fn start(process: u32) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let seen = done.clone();
        let thread = std::thread::spawn(move || {
            let mut most = 0.0f64;
            while !seen.load(Ordering::Relaxed) {
                most = most.max(anonymous_mib(process).unwrap_or_default());
                std::thread::sleep(Duration::from_millis(2));
            }
            most
        });
        Self { done, thread }
    }

    fn stop(self) -> f64 {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic")
    }
}
