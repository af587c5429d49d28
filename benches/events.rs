//! Acknowledged events over gRPC streams into the embedded log, against writing the same bytes with a sync for each batch.
//!
//! ```text
//! cargo bench --bench events -- [events]
//! ```
//!
//! A batch is 1 000 events, encoded before the clock starts; some streams send theirs with several under way each. The
//! server counts every event in windows of 5 minutes sliding by 1 minute before it answers. `plain` appends the same
//! messages to a file of the same disk, each followed by `fdatasync`. Both take turns; figures are medians of the rounds.
//! With fifteen million events the log begins a second volume: the longest wait of a stream for its next answer, over all
//! rounds, has that in it.

use bytes::{Buf, BufMut, Bytes};
use futures_util::{StreamExt, stream};
use larder::{
    app::App,
    config::Config,
    wire::{
        control,
        proto::{Event, StreamPublishEventsRequest, StreamPublishEventsResponse, Value, value::Kind},
        register,
    },
};
use prost::Message;
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

const BATCH_EVENTS: usize = 1_000;
const ENTITIES: u32 = 100_000;
const STREAMS: usize = 4;
const ROUNDS: usize = 5;
/// Event time of all events together.
const SPAN_SECONDS: i64 = 600;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let events: usize = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(2_000_000);
    let batches = batches(events);
    let bytes: usize = batches.iter().map(Bytes::len).sum();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut streams, mut plain, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir()?;
        let (took, wait) = runtime.block_on(publish(directory.path(), &batches))?;
        streams.push(took);
        longest = longest.max(wait);
        plain.push(write(&directory.path().join("plain"), &batches)?);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    let (streams, plain) = (median(&mut streams), median(&mut plain));
    println!("{events} events, {bytes} bytes, batches of {BATCH_EVENTS}");
    println!("| form | s | million events/s | share of plain | longest wait, ms |");
    println!("|---|---|---|---|---|");
    println!("| plain | {plain:.2} | {:.2} | | |", events as f64 / plain / 1e6);
    println!(
        "| gRPC streams | {streams:.2} | {:.2} | {:.0} % | {} |",
        events as f64 / streams / 1e6,
        100.0 * plain / streams,
        longest.as_millis()
    );
    Ok(())
}

/// Encoded requests.
fn batches(events: usize) -> Vec<Bytes> {
    let mut random = fastrand::Rng::with_seed(1);
    let start = 1_700_000_000;
    let mut at = 0;
    let batch = |_| {
        let batch = (0..BATCH_EVENTS).map(|_| {
            at += 1;
            Event {
                entity_id: format!("user_{}", random.u32(..ENTITIES)),
                event_type: "purchase".into(),
                value: Some(Value { kind: Some(Kind::Float64Value(random.f64() * 500.0)) }),
                timestamp: Some(prost_types::Timestamp {
                    seconds: start + SPAN_SECONDS * at / events as i64,
                    nanos: 0,
                }),
                ..Event::default()
            }
        });
        StreamPublishEventsRequest { events: batch.collect() }.encode_to_vec().into()
    };
    (0..events.div_ceil(BATCH_EVENTS)).map(batch).collect()
}

/// Publishes all batches over some streams: how long until the last one is acknowledged, and the longest wait between two
/// answers of a stream.
async fn publish(directory: &Path, batches: &[Bytes]) -> Result<(Duration, Duration)> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { listen, data_dir: directory.join("data"), ..Config::default() };
    fs::create_dir_all(&config.data_dir)?;
    let app = App::build(&config, None).await?;
    let key = app.first_key().expect("the store is empty").reveal().to_owned();
    register(&app, &key).await?;
    let channel = Endpoint::from_shared(format!("http://{}", app.address()))?
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .connect()
        .await?;
    let began = Instant::now();
    let shares: Vec<Vec<Bytes>> =
        (0..STREAMS).map(|at| batches.iter().skip(at).step_by(STREAMS).cloned().collect()).collect();
    let sending = shares.into_iter().map(|share| tokio::spawn(send(channel.clone(), key.clone(), share)));
    let (mut accepted, mut longest) = (0, Duration::ZERO);
    for sent in sending.collect::<Vec<_>>() {
        let (of_stream, wait) = sent.await??;
        accepted += of_stream;
        longest = longest.max(wait);
    }
    let took = began.elapsed();
    assert_eq!(accepted, (batches.len() * BATCH_EVENTS) as u64);
    app.stop().cancel();
    app.wait_termination().await?;
    Ok((took, longest))
}

async fn register(app: &App, key: &str) -> Result<()> {
    let caller = app.service().registry.authenticate(key, app.service().clock.now())?;
    let body = br#"{"features": [{"name": "sum_5m", "entity_type": "user", "dtype": "float64",
        "window": {"event_type": "purchase", "function": "sum", "size": "5m", "slide": "1m"}}]}"#;
    let request = control::read::<control::Registration>(body)?.into_proto()?;
    let registration = register::registration_from(request)?;
    app.service().register_features(&caller, registration).await?;
    Ok(())
}

/// Sends one stream's batches: how many events were accepted, and the longest wait between two answers.
async fn send(channel: Channel, key: String, batches: Vec<Bytes>) -> Result<(u64, Duration)> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let mut request = Request::new(stream::iter(batches));
    request.metadata_mut().insert("x-api-key", MetadataValue::try_from(key)?);
    let path = http::uri::PathAndQuery::from_static("/larder.v1.FeatureService/StreamPublishEvents");
    let mut answers = grpc.streaming(request, path, Raw).await?.into_inner();
    let (mut accepted, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
    while let Some(answer) = answers.next().await {
        accepted += StreamPublishEventsResponse::decode(answer?)?.accepted;
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    Ok((accepted, longest))
}

fn write(path: &Path, batches: &[Bytes]) -> Result<Duration> {
    let mut file = fs::File::create(path)?;
    let began = Instant::now();
    for batch in batches {
        file.write_all(batch)?;
        file.sync_data()?;
    }
    Ok(began.elapsed())
}

/// Messages that are encoded already.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buf: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        buf.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> std::result::Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}
