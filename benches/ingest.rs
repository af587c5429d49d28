//! What bulk writes cost, durable, as a ratio to one sequential write and sync of as many bytes as end up stored.
//!
//! ```text
//! cargo bench --bench ingest -- [columns|stream|lines] [rows]
//! ```
//!
//! A row is five doubles of one of 100 000 entities. `columns` hands batches to the store, `stream` hands it the
//! messages of `StreamWriteFeatures` and `lines` a body of NDJSON, as the transports do: read, judged, gathered, committed.
//! Each run has a fresh store in a temporary directory; the plain file is written right after it, so that both meet the
//! same disk. Figures are medians of the rounds.

use arrow::array::{Float64Array, StringArray};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use larder::{
    access::{ApiKeySecret, Caller, Scope},
    clock::Clock,
    feature::{Column, RowSchema, TenantId},
    registry::Registry,
    serving::{Events, Limits, Service},
    store::{
        Commit, Committed, RowBatch,
        embedded::{EmbeddedStore, Options},
        log::EventLog,
    },
    wire::{
        codec::InPlace,
        control,
        proto::{self, FeatureRow},
        register,
        value::value_to,
        write::{self, JsonRequest},
    },
};
use prost::Message;
use std::{
    error::Error,
    fs,
    future::ready,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const ENTITIES: usize = 100_000;
const FEATURES: usize = 5;
const BATCH_ROWS: usize = 65_536;
const MESSAGE_ROWS: usize = 2_000;
const ROUNDS: usize = 3;
/// Commits under way at once when batches go straight to the store.
const IN_FLIGHT: usize = 4;
const FIRST_MICROS: i64 = 1_700_000_000_000_000;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let rows: Option<usize> = args.iter().find_map(|arg| arg.parse().ok());
    let wanted = |form: &str| {
        !args.iter().any(|arg| arg.parse::<usize>().is_err()) || args.iter().any(|arg| arg == form)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("| form | rows | s | million rows/s | MB stored | plain write + sync s | share of its speed |");
    println!("|---|---|---|---|---|---|---|");
    for (form, usual_rows) in [("columns", 10_000_000), ("stream", 1_000_000), ("lines", 1_000_000)] {
        if wanted(form) {
            runtime.block_on(measure(form, rows.unwrap_or(usual_rows)))?;
        }
    }
    Ok(())
}

async fn measure(form: &str, rows: usize) -> Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir()?;
        let bench = Bench::start(directory.path()).await?;
        let took = match form {
            "columns" => bench.columns(rows).await?,
            "stream" => bench.stream(rows).await?,
            _ => bench.lines(rows).await?,
        };
        drop(bench);
        let bytes = stored_bytes(directory.path())?;
        rounds.push((took, bytes, plain_write(&directory.path().join("plain"), bytes)?));
    }
    rounds.sort_by_key(|(took, ..)| *took);
    let (took, bytes, _) = rounds[ROUNDS / 2];
    rounds.sort_by_key(|(.., plain)| *plain);
    let plain = rounds[ROUNDS / 2].2;
    println!(
        "| {form} | {rows} | {:.2} | {:.2} | {} | {:.2} | {:.0} % |",
        took.as_secs_f64(),
        rows as f64 / took.as_secs_f64() / 1e6,
        bytes / 1_000_000,
        plain.as_secs_f64(),
        100.0 * plain.as_secs_f64() / took.as_secs_f64(),
    );
    Ok(())
}

struct Bench {
    service: Service,
    caller: Caller,
}

impl Bench {
    async fn start(directory: &Path) -> Result<Self> {
        let store = Arc::new(EmbeddedStore::open(directory, Options::default())?);
        let registry = Arc::new(Registry::open(store.clone()).await?);
        let tenant: TenantId = registry.create_tenant("bench").await?;
        let (clock, secret) = (Clock::system(), ApiKeySecret::generate());
        registry.create_key(tenant, &secret, &Scope::ALL, clock.now(), None).await?;
        let caller = registry.authenticate(secret.reveal(), clock.now())?;
        let service = Service::new(
            registry,
            store.clone(),
            Events::new(EventLog::of(&store), store),
            Arc::new(Limits::default()),
            clock,
        );
        let features = (0..FEATURES).map(|i| {
            format!("{{\"name\":\"f{i}\",\"entity_type\":\"user\",\"dtype\":\"float64\",\"group\":\"g\"}}")
        });
        let body = format!("{{\"features\":[{}]}}", features.collect::<Vec<_>>().join(","));
        let request = control::read::<control::Registration>(body.as_bytes())?.into_proto()?;
        service.register_features(&caller, register::registration_from(request)?).await?;
        Ok(Self { service, caller })
    }

    async fn columns(&self, rows: usize) -> Result<Duration> {
        let catalogue = self.service.registry.catalogue(&self.caller);
        let group = catalogue.group("g").ok_or("the group is registered")?.schema.clone();
        let batches: Vec<RowBatch> = (0..rows)
            .step_by(BATCH_ROWS)
            .map(|first| batch(&group, first, BATCH_ROWS.min(rows - first)))
            .collect();
        let started = Instant::now();
        let tenant = self.caller.tenant();
        let commits = stream::iter(batches).map(|batch| {
            self.service.store.commit(Commit { tenant, batches: vec![batch], idempotency: None })
        });
        let done: Vec<Committed> = commits.buffered(IN_FLIGHT).try_collect().await?;
        assert_eq!(done.len(), rows.div_ceil(BATCH_ROWS));
        Ok(started.elapsed())
    }

    async fn stream(&self, rows: usize) -> Result<Duration> {
        let messages: Vec<Bytes> = (0..rows)
            .step_by(MESSAGE_ROWS)
            .map(|first| {
                let rows = (first..rows.min(first + MESSAGE_ROWS)).map(message).collect();
                let request = proto::StreamWriteFeaturesRequest { rows, ..Default::default() };
                request.encode_to_vec().into()
            })
            .collect();
        let started = Instant::now();
        let requests =
            stream::iter(messages.into_iter().map(|bytes| Ok::<_, larder::error::Error>(InPlace(bytes))));
        let outcomes = write::write_stream(self.service.clone(), self.caller.clone(), requests);
        let accepted: u64 = outcomes.try_fold(0, |sum, outcome| ready(Ok(sum + outcome.accepted))).await?;
        assert_eq!(accepted, rows as u64);
        Ok(started.elapsed())
    }

    async fn lines(&self, rows: usize) -> Result<Duration> {
        let mut body = Vec::new();
        for row in 0..rows {
            let (seconds, micros) = (time(row) / 1_000_000, time(row) % 1_000_000);
            let time = larder::feature::Timestamp::from_seconds_nanos(
                seconds,
                micros as i32 * 1_000,
                larder::feature::Round::Down,
            )?;
            let values: Vec<String> = (0..FEATURES).map(|i| format!("\"f{i}\":{}", value(row, i))).collect();
            writeln!(
                body,
                "{{\"entity_id\":\"{}\",\"event_timestamp\":\"{time}\",\"values\":{{{}}}}}",
                id(row),
                values.join(",")
            )?;
        }
        let body = Bytes::from(body);
        let pieces: Vec<_> = (0..body.len())
            .step_by(64 << 10)
            .map(|at| body.slice(at..body.len().min(at + (64 << 10))))
            .collect();
        let started = Instant::now();
        let request = JsonRequest::new(None, None)?;
        let pieces = stream::iter(pieces.into_iter().map(Ok));
        let (outcome, _) = write::write_lines(request, &self.service, &self.caller, pieces).await?;
        assert_eq!(outcome.accepted, rows as u64);
        Ok(started.elapsed())
    }
}

fn id(row: usize) -> String {
    // A multiplicative walk: neighbours in time are strangers.
    format!("user_{:06}", row.wrapping_mul(48_271) % ENTITIES)
}

fn time(row: usize) -> i64 {
    FIRST_MICROS + row as i64 * 1_000
}

fn value(row: usize, feature: usize) -> f64 {
    let bits = (row as u64 * 31 + feature as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn message(row: usize) -> FeatureRow {
    let values = (0..FEATURES).map(|i| {
        let value = larder::feature::Value::Float64(value(row, i));
        (format!("f{i}"), value_to(Some(&value)))
    });
    FeatureRow {
        entity_id: id(row),
        event_timestamp: Some(prost_types::Timestamp {
            seconds: time(row) / 1_000_000,
            nanos: (time(row) % 1_000_000 * 1_000) as i32,
        }),
        values: values.collect(),
        ..Default::default()
    }
}

fn batch(group: &Arc<RowSchema>, first: usize, rows: usize) -> RowBatch {
    let range = first..first + rows;
    let column =
        |i| Column::given(Arc::new(Float64Array::from_iter_values(range.clone().map(|row| value(row, i)))));
    RowBatch {
        group: group.clone(),
        keys: StringArray::from_iter_values(range.clone().map(id)),
        event_timestamps: range.clone().map(time).collect(),
        sequences: (0..rows as u32).collect(),
        columns: (0..FEATURES).map(column).collect(),
    }
}

fn stored_bytes(path: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        bytes +=
            if entry.file_type()?.is_dir() { stored_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

fn plain_write(path: &Path, bytes: u64) -> Result<Duration> {
    // Not zeros: a file system may keep those as nothing.
    let block: Vec<u8> = (0..1usize << 20).map(|i| (value(i, 7) * 256.0) as u8).collect();
    let started = Instant::now();
    let mut file = fs::File::create(path)?;
    let mut left = bytes as usize;
    while left > 0 {
        let part = left.min(block.len());
        file.write_all(&block[..part])?;
        left -= part;
    }
    file.sync_all()?;
    Ok(started.elapsed())
}
