//! Stream rows and time: what was stated as settled stays so, against brute force, with partitions that lag, direct
//! commits beside, backfills, zombies and restarts.

use super::{
    Backend, TestTime,
    model::{Known, Model, ModelRow},
    rows::{Row, batch, group, windowed_group, write},
    streams::{LoggedRow, backfill, live, progress, scan, stream_rows},
};
use crate::support::log::{append, end, partitions, read, tick};
use larder::{
    feature::{Cell, Dtype, RowSchema, TenantId, Timestamp, Value},
    store::{
        AsOf, GroupRead, KnownAt, LatestRead, LatestReads, NO_ROW, Snapshot, StoreError, Views,
        log::{EventSource, NewRecord, Payload, Record, partition_of},
        readers::{Created, Progress, StreamCommit},
    },
};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use std::{sync::Arc, time::Duration};

/// Two for each partition: the events of an entity lie in one.
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Two groups that the live readers write, one that a backfill writes, one that callers write.
const GROUPS: usize = 4;
const BACKFILLED: usize = 2;
const DIRECT: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Events, by a number that decides the key and so the partition.
    Append(Vec<u8>),
    Tick(u32),
    /// The reader of a partition commits the rows of some more records.
    Commit {
        partition: u32,
        records: usize,
        events: Vec<i64>,
    },
    Settle(u32),
    Backfill(Vec<i64>),
    Direct(i64),
    Zombie(u32),
    /// Another process takes the reader over.
    Claim(u32),
    Time(i64),
    Disturb(u8),
    /// A snapshot of some of the groups is taken and read.
    Read(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => vec(0..20u8, 1..8).prop_map(Step::Append),
        1 => (0..3u32).prop_map(Step::Tick),
        5 => (0..3u32, 1..12usize, vec(0..30i64, 12)).prop_map(|(partition, records, events)| {
            Step::Commit { partition, records, events }
        }),
        4 => (0..3u32).prop_map(Step::Settle),
        1 => vec(0..30i64, 1..40).prop_map(Step::Backfill),
        2 => (0..30i64).prop_map(Step::Direct),
        1 => (0..3u32).prop_map(Step::Zombie),
        1 => (0..3u32).prop_map(Step::Claim),
        3 => (-3i64..20).prop_map(Step::Time),
        2 => any::<u8>().prop_map(Step::Disturb),
        5 => any::<u8>().prop_map(Step::Read),
    ];
    vec(step, 1..50)
}

pub fn run<B: Backend>() {
    let cases = std::env::var("LARDER_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40);
    let config = Config { cases, max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    proptest!(config, |(steps in steps())| {
        runtime.block_on(Run::<B>::all(&steps))
    });
}

#[derive(Clone, Copy, Debug, Default)]
struct Reader {
    epoch: u64,
    next: u64,
}

/// What was stated: the groups, the moment, and all rows then.
type Stated = (Vec<Arc<RowSchema>>, i64, Model);

struct Run<B: Backend> {
    backend: B,
    time: TestTime,
    groups: Vec<Arc<RowSchema>>,
    readers: Vec<Reader>,
    backfill_epoch: u64,
    model: Model,
    values: i64,
    stated: Vec<Stated>,
    held: Vec<(Arc<dyn Snapshot>, Stated)>,
    /// The greatest settled time ever stated, and that of groups which the live readers write.
    settled: i64,
    windows_settled: i64,
}

impl<B: Backend> Run<B> {
    async fn all(steps: &[Step]) {
        let time = TestTime::default();
        time.set(1_000);
        let backend = B::start(time.clone(), None).await;
        let mut readers = Vec::new();
        for partition in 0..partitions(backend.store()).await {
            let epoch = backend.store().claim(live(partition)).await.unwrap().epoch;
            readers.push(Reader { epoch, next: 0 });
        }
        let backfill_epoch = backend.store().claim(backfill(0, 9)).await.unwrap().epoch;
        let mut groups: Vec<_> = (0..GROUPS as u64).map(|at| windowed_group(at + 1)).collect();
        groups[DIRECT] = group(DIRECT as u64 + 1, &[Dtype::Int64]);
        let mut run = Run {
            backend,
            time,
            groups,
            readers,
            backfill_epoch,
            model: Model::default(),
            values: 0,
            stated: Vec::new(),
            held: Vec::new(),
            settled: i64::MIN,
            windows_settled: i64::MIN,
        };
        for step in steps {
            run.step(step).await;
        }
        run.backend.disturb(3).await;
        let everything = run.backend.store().snapshot(&run.groups.clone()).await.unwrap();
        for (groups, settled, model) in std::mem::take(&mut run.stated) {
            check(&*everything, &groups, &model, Some(settled)).await;
        }
        for (snapshot, (groups, settled, model)) in std::mem::take(&mut run.held) {
            check(&*snapshot, &groups, &model, None).await;
            check(&*snapshot, &groups, &model, Some(settled)).await;
        }
    }

    async fn step(&mut self, step: &Step) {
        let partitions = self.readers.len() as u32;
        match step {
            Step::Append(events) => {
                let record = |event: &u8| NewRecord {
                    tenant: TenantId::from_stored(1),
                    key: vec![*event].into(),
                    event_timestamp: Timestamp::from_stored(0),
                    payload: Payload::Json("{}".into()),
                };
                let places = append(self.backend.store(), events.iter().map(record).collect()).await;
                for (event, place) in events.iter().zip(places) {
                    assert_eq!(place.partition, partition_of(&[*event], partitions));
                }
            }
            Step::Tick(partition) => tick(self.backend.store(), partition % partitions).await,
            Step::Commit { partition, records, events } => {
                self.commit(partition % partitions, *records, events).await
            }
            Step::Settle(partition) => {
                let partition = partition % partitions;
                self.backend
                    .store()
                    .promises()
                    .unwrap()
                    .settled(partition, self.readers[partition as usize].next);
            }
            Step::Backfill(events) => self.backfill(events).await,
            Step::Direct(event) => {
                self.values += 1;
                let cells = vec![Cell::Value(Value::Int64(self.values))];
                let row = Row { key: "a".into(), event: *event, cells: cells.clone() };
                let receipt = write(self.backend.store(), vec![batch(&self.groups[DIRECT], &[row])]).await;
                let created = receipt.created.micros();
                assert!(created > self.settled);
                let (group, key) = (self.groups[DIRECT].id, "a".to_owned());
                self.model.put(ModelRow { group, key, event: *event, created, sequence: 0, cells });
            }
            Step::Zombie(partition) => {
                let partition = partition % partitions;
                let reader = self.readers[partition as usize];
                let zombie = StreamCommit {
                    rows: vec![stream_rows(&self.groups[0], &[("a".into(), 99, 99_999, 9, 9)])],
                    ..progress(live(partition), reader.epoch - 1, 1_000)
                };
                let refused = self.backend.store().commit_stream(zombie).await.unwrap_err();
                assert!(matches!(refused, StoreError::Fenced(_)), "{refused}");
            }
            Step::Claim(partition) => {
                let partition = partition % partitions;
                let claim = self.backend.store().claim(live(partition)).await.unwrap();
                let reader = &mut self.readers[partition as usize];
                assert_eq!(claim.state.map_or(0, |state| state.next_offset), reader.next);
                reader.epoch = claim.epoch;
            }
            Step::Time(by) => self.time.set(self.time.get() + by),
            Step::Disturb(how) => self.backend.disturb(*how).await,
            Step::Read(which) => self.read(*which).await,
        }
    }

    /// Rows for records that the partition holds: one each, sometimes none.
    async fn commit(&mut self, partition: u32, records: usize, events: &[i64]) {
        let reader = self.readers[partition as usize];
        let read = read(self.backend.store(), partition, reader.next, 1 << 20, Duration::ZERO).await;
        let Some(last) = read.iter().take(records).last() else { return };
        let mut rows: Vec<Vec<LoggedRow>> = vec![Vec::new(); 2];
        for (Record { offset, log_time, .. }, event) in read.iter().take(records).zip(events) {
            if offset % 3 == 2 {
                continue;
            }
            self.values += 1;
            let key = KEYS[(2 * partition as usize + *offset as usize % 2) % KEYS.len()];
            let row = (key.to_owned(), *event, log_time.micros(), *offset, self.values);
            rows[*event as usize % 2].push(row);
        }
        for (rows, group) in rows.iter().zip(&self.groups) {
            rows.iter().for_each(|row| self.model.rows.push(model_row(group, row)));
            assert!(rows.iter().all(|row| row.2 > self.windows_settled));
        }
        let next = last.offset + 1;
        let batches = rows.iter().zip(&self.groups).filter(|(rows, _)| !rows.is_empty());
        let batches = batches.map(|(rows, group)| stream_rows(group, rows));
        let commit =
            StreamCommit { rows: batches.collect(), ..progress(live(partition), reader.epoch, next) };
        self.backend.store().commit_stream(commit).await.unwrap();
        self.readers[partition as usize].next = next;
    }

    async fn backfill(&mut self, events: &[i64]) {
        let group = self.groups[BACKFILLED].clone();
        self.values += 1;
        let key = format!("b{}", self.values);
        let rows: Vec<LoggedRow> = events
            .iter()
            .enumerate()
            .map(|(at, event)| (key.clone(), *event, 5, at as u64, self.values))
            .collect();
        let commit = StreamCommit {
            rows: vec![stream_rows(&group, &rows)],
            created: Created::AtCommit,
            ..progress(backfill(0, 9), self.backfill_epoch, 0)
        };
        self.backend.store().commit_stream(commit).await.unwrap();
        let stored = scan(self.backend.store(), &group, &key).await;
        assert_eq!(stored.len(), rows.len());
        assert!(stored.iter().all(|row| row.2 > self.settled && row.2 == stored[0].2));
        self.model.rows.extend(stored.iter().map(|row| model_row(&group, row)));
    }

    async fn read(&mut self, which: u8) {
        let asked = self.groups.iter().enumerate().filter(|(at, _)| which & (1 << at) != 0);
        let groups: Vec<_> = asked.map(|(_, group)| group.clone()).collect();
        let snapshot = self.backend.store().snapshot(&groups).await.unwrap();
        let settled = snapshot.settled_at().micros();
        self.settled = self.settled.max(settled);
        if groups.iter().any(|group| group.windowed) {
            self.windows_settled = self.windows_settled.max(settled);
        }
        check(&*snapshot, &groups, &self.model, None).await;
        check(&*snapshot, &groups, &self.model, Some(settled)).await;
        let visible = self.model.rows.iter().filter(|row| groups.iter().any(|group| group.id == row.group));
        let is_settled = visible.clone().all(|row| row.created <= settled);
        assert!(!snapshot.is_settled() || is_settled, "settled at {settled}, yet newer rows are visible");
        if groups.iter().all(|group| !group.windowed) {
            assert!(snapshot.is_settled() && settled >= self.time.get());
        } else {
            assert_eq!(snapshot.is_settled(), is_settled);
        }
        // Nothing unread: then everything up to now is settled.
        let mut is_read = true;
        for (partition, reader) in self.readers.iter().enumerate() {
            is_read &= reader.next == end(self.backend.store(), partition as u32).await;
        }
        if is_read && which & 128 != 0 {
            for (partition, reader) in self.readers.iter().enumerate() {
                self.backend.store().promises().unwrap().settled(partition as u32, reader.next);
            }
            let later = self.backend.store().snapshot(&groups).await.unwrap();
            assert!(later.settled_at().micros() >= self.time.get());
            self.settled = self.settled.max(later.settled_at().micros());
        }
        let read = LatestRead { entity_type: super::rows::USER, groups: &groups, keys: &KEYS };
        for (key, rows) in KEYS.iter().zip(self.backend.store().latest(read).await.unwrap()) {
            for (number, group) in groups.iter().enumerate() {
                let found = rows
                    .row(group.id, number)
                    .map(|row| (row.event_timestamp.micros(), row.created.micros(), row.sequence));
                assert_eq!(found, self.model.latest(group.id, key).map(ModelRow::order), "latest of {key}");
            }
        }
        let stated = (groups, settled, self.model.clone());
        if which.is_multiple_of(3) {
            self.held.push((snapshot, stated.clone()));
        }
        self.stated.push(stated);
    }
}

fn model_row(group: &RowSchema, row: &LoggedRow) -> ModelRow {
    ModelRow {
        group: group.id,
        key: row.0.clone(),
        event: row.1,
        created: row.2,
        sequence: row.3,
        cells: vec![Cell::Value(Value::Int64(row.4))],
    }
}

/// A snapshot shows what the model holds, or what it held when everything up to a moment was known.
async fn check(snapshot: &dyn Snapshot, groups: &[Arc<RowSchema>], model: &Model, known_at: Option<i64>) {
    let spine: Vec<(&str, i64)> = KEYS.iter().flat_map(|key| [3, 11, 30].map(|time| (*key, time))).collect();
    let keys: Vec<&str> = spine.iter().map(|(key, _)| *key).collect();
    let query = AsOf {
        reads: groups.iter().map(|group| GroupRead { group: group.clone(), columns: vec![0] }).collect(),
        keys: keys.into(),
        times: spine.iter().map(|(_, time)| *time).collect(),
        known_at: known_at.map_or(KnownAt::Snapshot, |at| KnownAt::At(Timestamp::from_stored(at))),
    };
    let picks = snapshot.as_of(query).await.unwrap();
    for (group, picks) in groups.iter().zip(&picks) {
        for (at, (key, time)) in spine.iter().enumerate() {
            let known = known_at.map_or(Known::All, Known::At);
            let expected = model.as_of(group.id, key, *time, known);
            let what = || format!("{key} at {time} in {:?}, known at {known_at:?}", group.id);
            assert_eq!(picks.event_timestamps[at], expected.map_or(NO_ROW, |row| row.event), "{}", what());
            let cell = expected.map_or(Cell::LeftOut, |row| row.cells[0].clone());
            assert_eq!(picks.columns[0].cell(at, Dtype::Int64), cell, "{}", what());
        }
    }
}
