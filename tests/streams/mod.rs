//! Events become rows: readers over a real log and store, with a clock that tests set.

mod backfill;
mod crash;
mod handover;
mod lifecycle;
mod replay;

use crate::{
    conformance::TestTime,
    support::{
        TestApp,
        log::{append, end, read, tick},
        until,
    },
};
use larder::{
    access::{ApiKeySecret, Caller, Scope},
    clock::Clock,
    feature::{Cell, PackedRow, RowSchema, Timestamp, Value},
    registry::Registry,
    serving::{Events, Limits, Service},
    store::{
        Scan, StoredRow, Views,
        embedded::{EmbeddedStore, Options},
        log::{Body, EventLog, NewRecord, Payload, Record, RecordId},
        readers::{Progress, Purpose, ReaderState},
    },
    stream::Aggregation,
    window,
    wire::{control, register},
};
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The first moment of these tests: a multiple of all slides.
pub const START: i64 = 1_700_006_400_000_000;
pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;

/// A store with its service, without a server.
pub struct World {
    pub time: TestTime,
    pub store: Arc<EmbeddedStore>,
    pub service: Service,
    pub caller: Caller,
}

/// All rows of a group by entity, each as (event timestamp, created, sequence, packed values).
pub type History = BTreeMap<String, Vec<(i64, i64, u64, Vec<u8>)>>;

impl World {
    /// In memory, at the first moment.
    pub async fn new() -> Self {
        let time = TestTime::default();
        time.set(START);
        let options = Options { clock: time.clock(), ..Options::default() };
        Self::over(EmbeddedStore::in_memory(options).unwrap(), time).await
    }

    pub async fn over(store: EmbeddedStore, time: TestTime) -> Self {
        let store = Arc::new(store);
        let registry = Arc::new(Registry::open(store.clone()).await.unwrap());
        let tenant = registry.create_tenant("default").await.unwrap();
        let secret = ApiKeySecret::generate();
        let clock = time.clock();
        registry.create_key(tenant, &secret, &Scope::ALL, clock.now(), None).await.unwrap();
        let caller = registry.authenticate(secret.reveal(), clock.now()).unwrap();
        let events = Events::new(EventLog::of(&store), store.clone());
        let limits = Arc::new(Limits::default());
        let service = Service::new(registry, store.clone(), events, limits, clock);
        Self { time, store, service, caller }
    }

    pub async fn aggregate(&self) -> Aggregation {
        self.aggregate_with(window::Options::default()).await
    }

    pub async fn aggregate_with(&self, options: window::Options) -> Aggregation {
        Aggregation::start(&self.service, options).await.unwrap()
    }

    /// Registers features in the shape of REST.
    pub async fn register(&self, features: Json) {
        let body = json!({"features": features}).to_string();
        let request = control::read::<control::Registration>(body.as_bytes()).unwrap().into_proto().unwrap();
        let registration = register::registration_from(request).unwrap();
        self.service.register_features(&self.caller, registration).await.unwrap();
    }

    /// Appends events as they are, at the clock's time.
    pub async fn append(&self, events: &[Json]) -> Vec<RecordId> {
        let records = events.iter().map(|event| NewRecord {
            tenant: self.caller.tenant(),
            key: event["entity_id"].as_str().unwrap_or_default().to_owned().into(),
            event_timestamp: Timestamp::parse(
                event["timestamp"].as_str().unwrap_or("2023-11-15T00:00:00Z"),
                larder::feature::Round::Up,
            )
            .unwrap(),
            payload: Payload::Json(event.to_string().into()),
        });
        append(&*self.store, records.collect()).await
    }

    /// Appends a record of another log, at its log time.
    pub async fn put(&self, record: &Record) {
        self.time.set(record.log_time.micros());
        let Some(payload) = payload(record) else { return tick(&*self.store, 0).await };
        let record = NewRecord {
            tenant: self.caller.tenant(),
            key: "any".into(),
            event_timestamp: Timestamp::from_stored(START),
            payload: payload.clone(),
        };
        append(&*self.store, vec![record]).await;
    }

    /// Waits until everything in the log is counted and durable.
    pub async fn caught_up(&self) {
        until(async || {
            let mut behind = false;
            let statuses = self.service.events.streams.statuses();
            for status in &statuses {
                let end = end(&*self.store, status.partition).await;
                behind |= status.next_offset < end || status.end_offset < end;
            }
            // Rows that wait for a commit keep the settled time back.
            let snapshot = self.store.snapshot(&self.groups()).await.unwrap();
            match !behind && snapshot.settled_at().micros() >= self.time.get() {
                true => Ok(()),
                false => Err(format!("readers do not catch up: {statuses:?}")),
            }
        })
        .await;
    }

    /// Waits until every backfill is done.
    pub async fn filled(&self) {
        until(async || {
            let backfills = self.backfills().await;
            match !backfills.is_empty() && backfills.iter().all(|backfill| backfill.done) {
                true => Ok(()),
                false => Err(format!("backfills do not end: {backfills:?}")),
            }
        })
        .await;
    }

    /// How far every backfill has come, of any tenant.
    pub async fn backfills(&self) -> Vec<ReaderState> {
        let states = self.store.readers().await.unwrap();
        states.into_iter().filter(|state| state.reader.purpose != Purpose::Live).collect()
    }

    pub fn groups(&self) -> Vec<Arc<RowSchema>> {
        let catalogue = self.service.registry.catalogue(&self.caller);
        catalogue.groups().map(|entry| entry.schema.clone()).collect()
    }

    pub async fn history(&self, group: &str, entities: &[String]) -> History {
        let catalogue = self.service.registry.catalogue(&self.caller);
        let schema = catalogue.group(group).unwrap().schema.clone();
        let snapshot = self.store.snapshot(std::slice::from_ref(&schema)).await.unwrap();
        let mut history = History::new();
        for key in entities {
            let scan = Scan {
                group: schema.clone(),
                key: key.clone(),
                from: Timestamp::MIN,
                to: Timestamp::MAX,
                after: None,
                limit: usize::MAX,
            };
            let row = |row: &StoredRow| {
                let (event, created, sequence) = row.order();
                (event.micros(), created.micros(), sequence, row.values.to_vec())
            };
            history.insert(key.clone(), snapshot.scan(scan).await.unwrap().iter().map(row).collect());
        }
        history
    }

    /// What a row of a count and a sum holds.
    pub fn count_and_sum(&self, group: &str, packed: &[u8]) -> (i64, f64) {
        let catalogue = self.service.registry.catalogue(&self.caller);
        let schema = &catalogue.group(group).unwrap().schema;
        let row = PackedRow::new(packed).unwrap();
        let cell = |column: usize| row.cell(column, schema.columns[column].dtype);
        match (cell(0), cell(1)) {
            (Cell::Value(Value::Int64(count)), Cell::Value(Value::Float64(sum))) => (count, sum),
            other => panic!("{other:?}"),
        }
    }

    /// Every record of a partition.
    pub async fn records(&self, partition: u32) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let next = records.last().map_or(0, |last| last.offset + 1);
            let more = read(&*self.store, partition, next, 1 << 20, Duration::ZERO).await;
            if more.is_empty() {
                return records;
            }
            records.extend(more);
        }
    }
}

/// An event of the user's schema.
pub fn event(entity: &str, micros: i64, value: f64) -> Json {
    let timestamp = Timestamp::from_stored(micros).to_string();
    json!({"entity_id": entity, "event_type": "purchase", "value": value, "timestamp": timestamp, "metadata": {}})
}

/// A windowed feature of users over purchases.
pub fn feature(name: &str, function: &str, size: &str, slide: &str) -> Json {
    let dtype = if function == "count" { "int64" } else { "float64" };
    let window = json!({"event_type": "purchase", "function": function, "size": size, "slide": slide});
    json!({"name": name, "entity_type": "user", "dtype": dtype, "window": window})
}

/// A body without its place.
pub fn payload(record: &Record) -> Option<&Payload> {
    match &record.body {
        Body::Event { payload, .. } => Some(payload),
        Body::Tick | Body::Invalid { .. } => None,
    }
}

/// A server whose clock the test sets.
pub async fn app_at(time: &TestTime) -> TestApp {
    let time = time.clone();
    TestApp::start_at(Clock::from_fn(move || Timestamp::from_stored(time.get())), |_| ()).await
}
