//! The event log against a list of records for each partition.

use super::{Backend, TestTime};
use crate::support::log::{append, batch, partitions, read, tick};
use bytes::Bytes;
use larder::{
    feature::{TenantId, Timestamp},
    store::log::{
        Appended, BatchEnd, Body, EventIndex, EventSink, EventSource, FindRecords, NewRecord, Payload,
        Record, TenantRef, partition_of,
    },
};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: i64 = 24 * 3_600 * 1_000_000;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<RandomRecord>),
    Tick(u32),
    /// The clock goes on, or back.
    Time(i64),
    Disturb(u8),
    Read {
        partition: u32,
        from: u64,
        bytes_max: usize,
    },
    Find {
        partition: u32,
        from: u64,
        events: (i64, i64),
        bytes_max: usize,
    },
}

#[derive(Clone, Debug)]
struct RandomRecord {
    tenant: u64,
    key: u8,
    event: i64,
    bytes: usize,
    proto: bool,
}

/// A record as the model has it: everything but its log time, which is the store's to choose.
#[derive(Clone, Debug, PartialEq)]
struct ModelRecord {
    event: Option<i64>,
    body: Body,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Some records are larger than a blob of several.
    let bytes = prop_oneof![20 => 0..200usize, 2 => 10_000..30_000usize, 1 => Just(200_000)];
    let record = (0..3u64, 0..9u8, 0..100i64, bytes, any::<bool>())
        .prop_map(|(tenant, key, event, bytes, proto)| RandomRecord { tenant, key, event, bytes, proto });
    let bytes_max = prop_oneof![Just(0usize), 1..400usize, Just(1 << 20)];
    let step = prop_oneof![
        6 => vec(record, 0..40).prop_map(Step::Append),
        1 => (0..3u32).prop_map(Step::Tick),
        2 => (-5i64..15).prop_map(Step::Time),
        2 => any::<u8>().prop_map(Step::Disturb),
        3 => (0..3u32, 0..200u64, bytes_max.clone())
            .prop_map(|(partition, from, bytes_max)| Step::Read { partition, from, bytes_max }),
        2 => (0..3u32, 0..200u64, 0..100i64, 0..30i64, bytes_max).prop_map(
            |(partition, from, start, len, bytes_max)| {
                Step::Find { partition, from, events: (start, start + len), bytes_max }
            }
        ),
    ];
    vec(step, 1..30)
}

pub fn run<B: Backend>() {
    let cases = std::env::var("LARDER_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40);
    let config = Config { cases, max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    proptest!(config, |(steps in steps())| {
        runtime.block_on(Run::<B>::all(&steps))
    });
}

struct Run<B: Backend> {
    backend: B,
    time: TestTime,
    partitions: Vec<Vec<ModelRecord>>,
    /// As they were first read, by partition and offset.
    log_times: Vec<Vec<Option<i64>>>,
    payloads: u64,
}

impl<B: Backend> Run<B> {
    async fn all(steps: &[Step]) {
        let time = TestTime::default();
        let backend = B::start(time.clone(), None).await;
        let partitions = partitions(backend.store()).await as usize;
        let mut run = Run {
            backend,
            time,
            partitions: vec![Vec::new(); partitions],
            log_times: vec![Vec::new(); partitions],
            payloads: 0,
        };
        for step in steps {
            run.step(step).await;
        }
        run.backend.disturb(3).await;
        for partition in 0..partitions as u32 {
            run.read(partition, 0, usize::MAX).await;
            let everything = FindRecords {
                partition,
                from: 0,
                event_from: Timestamp::MIN,
                event_to: Timestamp::MAX,
                bytes_max: 500,
            };
            run.find(everything).await;
        }
    }

    async fn step(&mut self, step: &Step) {
        let partitions = self.partitions.len() as u32;
        match step {
            Step::Append(records) => self.append(records).await,
            Step::Tick(partition) => {
                let partition = partition % partitions;
                tick(self.backend.store(), partition).await;
                self.note(partition, ModelRecord { event: None, body: Body::Tick }).await;
            }
            Step::Time(by) => self.time.set(self.time.get() + by),
            Step::Disturb(how) => self.backend.disturb(*how).await,
            Step::Read { partition, from, bytes_max } => {
                self.read(partition % partitions, *from, *bytes_max).await
            }
            Step::Find { partition, from, events, bytes_max } => {
                self.find(FindRecords {
                    partition: partition % partitions,
                    from: *from,
                    event_from: Timestamp::from_stored(events.0),
                    event_to: Timestamp::from_stored(events.1),
                    bytes_max: *bytes_max,
                })
                .await
            }
        }
    }

    async fn append(&mut self, random: &[RandomRecord]) {
        let records: Vec<NewRecord> = random
            .iter()
            .map(|record| {
                self.payloads += 1;
                let mut payload = self.payloads.to_le_bytes().to_vec();
                payload.resize(record.bytes, record.key);
                let payload = Bytes::from(payload);
                NewRecord {
                    tenant: TenantId::from_stored(record.tenant),
                    key: vec![record.key].into(),
                    event_timestamp: Timestamp::from_stored(record.event),
                    payload: if record.proto { Payload::Proto(payload) } else { Payload::Json(payload) },
                }
            })
            .collect();
        let places = append(self.backend.store(), records.clone()).await;
        assert_eq!(places.len(), records.len());
        for (record, place) in records.into_iter().zip(places) {
            assert_eq!(place.partition, partition_of(&record.key, self.partitions.len() as u32));
            let of_partition = &self.partitions[place.partition as usize];
            assert_eq!(place.offset, of_partition.len() as u64);
            let event = Some(record.event_timestamp.micros());
            let body = Body::Event { tenant: TenantRef::Id(record.tenant), payload: record.payload };
            self.note(place.partition, ModelRecord { event, body }).await;
        }
    }

    async fn note(&mut self, partition: u32, record: ModelRecord) {
        self.partitions[partition as usize].push(record);
        self.log_times[partition as usize].push(None);
        let bounds = self.backend.store().extent(partition).await.unwrap();
        assert!(bounds.log_time.unwrap().micros() >= self.time.get());
        assert!(bounds.end >= self.partitions[partition as usize].len() as u64);
    }

    /// A record is the model's, and has the log time that it always had.
    fn check(&mut self, partition: u32, record: &Record) {
        let expected = &self.partitions[partition as usize][record.offset as usize];
        assert_eq!(record.body, expected.body, "record {} of partition {partition}", record.offset);
        let log_time = &mut self.log_times[partition as usize][record.offset as usize];
        assert_eq!(*log_time.get_or_insert(record.log_time.micros()), record.log_time.micros());
    }

    async fn read(&mut self, partition: u32, from: u64, bytes_max: usize) {
        let store = self.backend.store();
        let bounds = store.extent(partition).await.unwrap();
        let end = self.partitions[partition as usize].len() as u64;
        assert_eq!((bounds.start, bounds.end), (0, end));
        let batch = batch(store, partition, from, bytes_max, Duration::ZERO).await;
        assert_eq!(batch.end_offset, end.max(from));
        assert_eq!(batch.end == BatchEnd::Reached, batch.next_offset >= end);
        let records = batch.records;
        assert_eq!(records.is_empty(), from >= end);
        assert_eq!(batch.next_offset, records.last().map_or(from, |last| last.offset + 1));
        let mut log_time = i64::MIN;
        for (at, record) in records.iter().enumerate() {
            assert_eq!(record.offset, from + at as u64);
            assert!(record.log_time.micros() >= log_time);
            log_time = record.log_time.micros();
            self.check(partition, record);
        }
        if bytes_max == usize::MAX {
            assert_eq!(records.len() as u64, end.saturating_sub(from));
            assert_eq!(records.last().map(|record| record.log_time), bounds.log_time);
        }
        if bytes_max == 0 {
            assert!(records.len() <= 1);
        }
    }

    /// Every record asked for comes once, in order, whatever the size of the answers.
    async fn find(&mut self, mut query: FindRecords) {
        let (partition, from) = (query.partition, query.from);
        let mut found = Vec::new();
        loop {
            let answer = self.backend.store().find(query).await.unwrap();
            found.extend(answer.records);
            match answer.next {
                Some(next) => {
                    assert!(next > query.from || query.from == from);
                    query.from = next;
                }
                None => break,
            }
        }
        assert!(found.is_sorted_by(|a, b| a.offset < b.offset));
        found.iter().for_each(|record| self.check(partition, record));
        let span = query.event_from.micros()..query.event_to.micros();
        for (offset, record) in self.partitions[partition as usize].iter().enumerate() {
            if offset as u64 >= from && record.event.is_some_and(|event| span.contains(&event)) {
                assert!(
                    found.iter().any(|found| found.offset == offset as u64),
                    "record {offset} was not found"
                );
            }
        }
    }
}

fn record(key: &str, event: i64, payload: String) -> NewRecord {
    NewRecord {
        tenant: TenantId::from_stored(1),
        key: key.to_owned().into(),
        event_timestamp: Timestamp::from_stored(event),
        payload: Payload::Json(payload.into()),
    }
}

fn payload(record: &Record) -> String {
    match &record.body {
        Body::Event { payload: Payload::Json(payload), .. } => String::from_utf8(payload.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Appends are made in the order of the calls, large and small, whoever waits for them, and a reader at the end sees them as
/// they come.
pub async fn appends_keep_their_order<B: Backend>() {
    let backend = B::start(TestTime::default(), None).await;
    let store = backend.store();
    let partition = partition_of(b"key", partitions(store).await);
    let rounds = 20u64;
    let appends = async {
        for round in 0..rounds {
            let mut tickets = Vec::new();
            for append in 0..40u64 {
                let records = 1 + (append * 37) % 90;
                let each = (0..records).map(|_| record("key", 0, format!("{round} {append}")));
                let room = store.room(100 * records as usize).await.unwrap();
                let ticket = store.append(room, each.collect());
                // Who does not wait loses nothing but the answer.
                if append % 4 != 3 {
                    tickets.push(ticket);
                }
            }
            let mut last = None;
            for ticket in tickets {
                let Appended::All(ids) = ticket.await.unwrap() else { panic!("appends are atomic") };
                assert!(ids.windows(2).all(|pair| pair[1].offset == pair[0].offset + 1));
                assert!(last.is_none_or(|last| last < ids[0].offset));
                last = ids.last().map(|id| id.offset);
            }
        }
    };
    let reader = async {
        let (mut next, mut last) = (0, (0u64, 0u64));
        while last != (rounds - 1, 39) {
            for record in read(store, partition, next, 20_000, 10 * SECOND).await {
                assert_eq!(record.offset, next);
                next += 1;
                let text = payload(&record);
                let (round, append) = text.split_once(' ').unwrap();
                let place = (round.parse().unwrap(), append.parse().unwrap());
                assert!(place >= last, "{place:?} after {last:?}");
                last = place;
            }
        }
    };
    tokio::join!(appends, reader);
}

/// However the clock jumps, whatever was stated, and across restarts.
pub async fn log_time_never_runs_back<B: Backend>() {
    use larder::store::Views;
    let time = TestTime::default();
    let mut backend = B::start(time.clone(), None).await;
    let partition = partition_of(b"key", partitions(backend.store()).await);
    let groups = [super::rows::group(1, &[])];
    let (mut last, mut settled) = (i64::MIN, i64::MIN);
    for (step, now) in [10_000_000, 5, 20_000_000, 20_000_000, 7, 9, 50_000_000, 1].into_iter().enumerate() {
        time.set(now);
        if step % 2 == 1 {
            settled = backend.store().snapshot(&groups).await.unwrap().settled_at().micros();
        }
        if step % 4 == 3 {
            time.set(0);
            backend.restart().await;
        }
        let place = append(backend.store(), vec![record("key", 0, "{}".into())]).await[0];
        assert_eq!(place.offset, step as u64);
        let log_time = backend.store().extent(partition).await.unwrap().log_time.unwrap().micros();
        assert!(log_time >= last && log_time > settled && log_time >= time.get());
        last = log_time;
        let read = read(backend.store(), partition, 0, 1 << 20, SECOND).await;
        assert!(read.is_sorted_by_key(|record| record.log_time));
        assert_eq!(read.last().unwrap().log_time.micros(), log_time);
    }
}

/// What nobody may read any more leaves, what the live reader has not read stays, and offsets go on. Records are so large
/// that none leaves later because it lies together with others.
pub async fn old_events_leave<B: Backend>() {
    let time = TestTime::default();
    let mut backend = B::start(time.clone(), None).await;
    let partition = partition_of(b"key", partitions(backend.store()).await);
    let of_day = |day: i64| format!("{day:020000}");
    for day in 0..12i64 {
        time.set(day * DAY);
        append(backend.store(), vec![record("key", 0, of_day(day))]).await;
    }
    let start = async |backend: &B| backend.store().extent(partition).await.unwrap().start;
    backend.disturb(1).await;
    assert_eq!(start(&backend).await, 0);
    super::streams::commit_progress(backend.store(), partition, 3).await;
    backend.disturb(1).await;
    assert_eq!(start(&backend).await, 3);
    super::streams::commit_progress(backend.store(), partition, 12).await;
    backend.disturb(1).await;
    // Day 4 is seven days ago.
    assert_eq!(start(&backend).await, 4);
    let read = read(backend.store(), partition, 1, 1 << 20, SECOND).await;
    assert_eq!((read.len(), payload(&read[0])), (8, of_day(4)));
    time.set(100 * DAY);
    backend.disturb(1).await;
    backend.restart().await;
    let places = append(backend.store(), vec![record("key", 0, "new".into())]).await;
    assert_eq!(places[0].offset, 12);
    backend.disturb(1).await;
    assert_eq!(start(&backend).await, 12);
}
