//! Random histories: writes in and out of order, ties, corrections, nulls, left-out cells, groups that grow, odd ids;
//! with flushes, compactions and restarts between; every answer compared with the model's.

use super::{
    Backend, TestTime,
    model::{Known, Model, ModelRow},
    rows::{Row, USER, batch, cells, commit, group},
    statistics,
};
use larder::{
    feature::{
        Cell, Decimal, Dtype, Duration, Element, List, RowSchema, Timestamp, Value, entity::encode_key,
    },
    store::{
        AsOf, Commits, Committed, GroupRead, KnownAt, LatestRead, LatestReads, NO_ROW, RowRef, Scan,
        Snapshot, Views,
    },
};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use std::sync::Arc;

const GROUPS: usize = 3;
const KEYS: usize = 9;
/// How long history is kept where it is not kept for ever, in microseconds.
const RETENTION: i64 = 25;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Plain,
    Retention,
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(usize, Vec<RandomRow>)>),
    /// The clock goes on, or back.
    Time(i64),
    Disturb(u8),
    /// A group gains a column.
    Grow(usize, usize),
    /// A snapshot is taken, to be read at the end.
    Hold,
    Read(Vec<(usize, i64)>, i64),
}

#[derive(Clone, Debug)]
struct RandomRow {
    key: usize,
    event: i64,
    /// For each column a small number that stands for a cell.
    cells: Vec<u8>,
}

/// Ids that look like parts of each other's keys, and types with two keys.
fn keys() -> Vec<String> {
    let mut keys: Vec<String> =
        ["a", "a:", "1:a,", "é", "🙂{*}%", &"x".repeat(256)].map(str::to_owned).into();
    for ids in [["a", "bc"], ["ab", "c"], ["a,1:b", "c"]] {
        let mut key = String::new();
        encode_key(ids.into_iter(), &mut key);
        keys.push(key);
    }
    assert_eq!(keys.len(), KEYS);
    keys
}

fn dtypes() -> Vec<Dtype> {
    Dtype::all().collect()
}

/// One of a few cells of each dtype, so that equal ones are common.
fn cell(dtype: Dtype, number: u8) -> Cell {
    let n = i64::from(number);
    let value = match dtype {
        _ if number == 0 => return Cell::Null,
        Dtype::Bool => Value::Bool(number.is_multiple_of(2)),
        Dtype::Int64 => Value::Int64(i64::MAX - n),
        Dtype::Float64 => Value::Float64(n as f64 / 3.0),
        Dtype::Float32 => Value::Float32(n as f32 / 3.0),
        Dtype::String => Value::String("é".repeat(number.into())),
        Dtype::Json => Value::Json(format!("{{\"n\":{n}}}")),
        Dtype::Bytes => Value::Bytes(vec![number; number.into()]),
        Dtype::Timestamp => Value::Timestamp(Timestamp::from_stored(n)),
        Dtype::List(element) => Value::List(match element {
            Element::Bool => List::Bool(vec![Some(true), None]),
            Element::Int64 => List::Int64(vec![Some(n); number.into()]),
            Element::Float64 => List::Float64(vec![None, Some(n as f64)]),
            Element::Float32 => List::Float32(vec![Some(n as f32)]),
            Element::String => List::String(vec![Some("x".repeat(number.into())), None]),
            Element::Bytes => List::Bytes(vec![Some(vec![number])]),
            Element::Timestamp => List::Timestamp(vec![None; number.into()]),
        }),
        Dtype::Decimal(of) => Value::Decimal(Decimal::new(n.into(), of).unwrap()),
    };
    Cell::Value(value)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (0..KEYS, -3i64..60, vec(0..4u8, dtypes().len())).prop_map(|(key, event, cells)| RandomRow {
        key,
        event,
        cells,
    });
    let batches = vec((0..GROUPS, vec(row, 1..12)), 1..3);
    let step = prop_oneof![
        6 => batches.prop_map(Step::Commit),
        1 => (-5i64..15).prop_map(Step::Time),
        2 => any::<u8>().prop_map(Step::Disturb),
        1 => (0..GROUPS, 0..dtypes().len()).prop_map(|(group, dtype)| Step::Grow(group, dtype)),
        1 => Just(Step::Hold),
        2 => (vec((0..KEYS, -5i64..70), 1..20), -5i64..70).prop_map(|(spine, moment)| Step::Read(spine, moment)),
    ];
    vec(step, 1..30)
}

pub fn run<B: Backend>(kind: Kind) {
    let cases = std::env::var("LARDER_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40);
    let config = Config { cases, max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    proptest!(config, |(steps in steps())| {
        runtime.block_on(Run::<B>::all(kind, &steps))
    });
}

/// A view that stays open, what it must show, and of which groups.
type Held = (Arc<dyn Snapshot>, Model, Vec<Arc<RowSchema>>);

struct Run<B: Backend> {
    backend: B,
    kind: Kind,
    time: TestTime,
    keys: Vec<String>,
    groups: Vec<Arc<RowSchema>>,
    model: Model,
    held: Vec<Held>,
    settled: i64,
    last_created: i64,
}

impl<B: Backend> Run<B> {
    async fn all(kind: Kind, steps: &[Step]) {
        let time = TestTime::default();
        let retention = (kind == Kind::Retention).then(|| Duration::from_micros(RETENTION).unwrap());
        let mut run = Run {
            backend: B::start(time.clone(), retention).await,
            kind,
            time,
            keys: keys(),
            groups: (0..GROUPS).map(|at| group(at as u64 + 1, &dtypes()[4 * at..4 * at + 3])).collect(),
            model: Model::default(),
            held: Vec::new(),
            settled: i64::MIN,
            last_created: i64::MIN,
        };
        for step in steps {
            run.step(step).await;
        }
        run.backend.disturb(3).await;
        let spine: Vec<(usize, i64)> =
            (0..KEYS).flat_map(|key| [0, 7, 30, 65].map(|time| (key, time))).collect();
        run.read(&spine, 20).await;
        for (snapshot, model, groups) in std::mem::take(&mut run.held) {
            run.check(&*snapshot, &model, &groups, &spine, 20).await;
        }
    }

    /// History before this is refused by whoever calls the store.
    fn bound(&mut self) -> Option<i64> {
        if self.kind == Kind::Retention {
            self.model.bound = self.model.bound.max(Some(self.time.get() - RETENTION));
        }
        self.model.bound
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Commit(batches) => self.commit(batches).await,
            // With retention, time that went back would leave open what was dropped before.
            Step::Time(by) if self.kind == Kind::Retention => self.time.set(self.time.get() + by.abs()),
            Step::Time(by) => self.time.set(self.time.get() + by),
            Step::Disturb(how) => self.backend.disturb(*how).await,
            Step::Grow(group, dtype) => {
                let mut schema = RowSchema::clone(&self.groups[*group]);
                if schema.columns.len() < dtypes().len() {
                    let name = format!("c{}@1", schema.columns.len());
                    let dtype = dtypes()[*dtype];
                    schema.columns.push(larder::feature::definition::ColumnSchema { name, dtype });
                    self.groups[*group] = Arc::new(schema);
                }
            }
            Step::Hold => {
                self.bound();
                let snapshot = self.backend.store().snapshot(&self.groups).await.unwrap();
                self.settled = self.settled.max(snapshot.settled_at().micros());
                self.held.push((snapshot, self.model.clone(), self.groups.clone()));
            }
            Step::Read(spine, moment) => self.read(spine, *moment).await,
        }
    }

    async fn commit(&mut self, batches: &[(usize, Vec<RandomRow>)]) {
        let bound = self.bound().unwrap_or(i64::MIN);
        let mut rows: Vec<(usize, Vec<Row>)> = Vec::new();
        for (at, random) in batches {
            let schema = &self.groups[*at];
            let new = random.iter().map(|row| Row {
                key: self.keys[row.key].clone(),
                event: row.event.max(bound),
                // Columns beyond the first three came later: they may be left out.
                cells: schema
                    .columns
                    .iter()
                    .zip(&row.cells)
                    .enumerate()
                    .map(
                        |(at, (column, n))| {
                            if at >= 3 && *n == 3 { Cell::LeftOut } else { cell(column.dtype, *n) }
                        },
                    )
                    .collect(),
            });
            match rows.iter_mut().find(|(group, _)| group == at) {
                Some((_, rows)) => rows.extend(new),
                None => rows.push((*at, new.collect())),
            }
        }
        let batches = rows.iter().map(|(at, rows)| batch(&self.groups[*at], rows)).collect();
        let Committed::Fresh(receipt) = self.backend.store().commit(commit(batches)).await.unwrap() else {
            panic!("replayed")
        };
        let created = receipt.created.micros();
        assert!(created >= self.time.get() && created > self.settled && created > self.last_created);
        self.last_created = created;
        for ((at, rows), unchanged) in rows.into_iter().zip(&receipt.unchanged) {
            for (sequence, row) in rows.into_iter().enumerate() {
                let expected = self.model.put(ModelRow {
                    group: self.groups[at].id,
                    key: row.key,
                    event: row.event,
                    created,
                    sequence: sequence as u64,
                    cells: trimmed(row.cells),
                });
                let found = unchanged.as_ref().is_some_and(|bits| bits.value(sequence));
                assert_eq!(found, expected, "row {sequence} of group {at} unchanged");
            }
        }
    }

    async fn read(&mut self, spine: &[(usize, i64)], moment: i64) {
        self.bound();
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).chain(["nobody"]).collect();
        let read = LatestRead { entity_type: USER, groups: &self.groups, keys: &keys };
        let latest = self.backend.store().latest(read).await.unwrap();
        for (at, key) in keys.iter().enumerate() {
            for (number, group) in self.groups.iter().enumerate() {
                let found = latest[at].row(group.id, number).map(|row| stored(group, key, row));
                assert_eq!(
                    found.as_ref(),
                    self.model.latest(group.id, key),
                    "latest of {key} in {:?}",
                    group.id
                );
            }
        }
        let snapshot = self.backend.store().snapshot(&self.groups).await.unwrap();
        self.settled = self.settled.max(snapshot.settled_at().micros());
        let (model, groups) = (self.model.clone(), self.groups.clone());
        self.check(&*snapshot, &model, &groups, spine, moment).await;
    }

    async fn check(
        &self,
        snapshot: &dyn Snapshot,
        model: &Model,
        groups: &[Arc<RowSchema>],
        spine: &[(usize, i64)],
        moment: i64,
    ) {
        let bound = model.bound.unwrap_or(i64::MIN);
        let keys: Vec<&str> = spine.iter().map(|(key, _)| self.keys[*key].as_str()).collect();
        let times: Vec<i64> = spine.iter().map(|(_, time)| *time.max(&bound)).collect();
        let questions = [
            (KnownAt::Snapshot, Known::All),
            (KnownAt::At(Timestamp::from_stored(moment)), Known::At(moment)),
            (KnownAt::Row, Known::Row),
        ];
        for (known_at, known) in questions {
            let reads = groups.iter().map(|group| GroupRead {
                group: group.clone(),
                columns: (0..group.columns.len() as u32).rev().collect(),
            });
            let query = AsOf {
                reads: reads.collect(),
                keys: keys.clone().into(),
                times: times.clone().into(),
                known_at,
            };
            let picks = snapshot.as_of(query).await.unwrap();
            for (group, picks) in groups.iter().zip(&picks) {
                for (at, (key, time)) in keys.iter().zip(&times).enumerate() {
                    let expected = model.as_of(group.id, key, *time, known);
                    let event = expected.map_or(NO_ROW, |row| row.event);
                    let what = || format!("{key} at {time} in {:?}, {known:?}", group.id);
                    assert_eq!(picks.event_timestamps[at], event, "{}", what());
                    for (column, schema) in group.columns.iter().enumerate() {
                        let found = picks.columns[group.columns.len() - 1 - column].cell(at, schema.dtype);
                        let cell = expected.and_then(|row| row.cells.get(column)).unwrap_or(&Cell::LeftOut);
                        assert_eq!(&found, cell, "column {column} of {}", what());
                    }
                }
            }
        }
        for group in groups {
            for span in [(-1_000, 1_000), (-2, 30), (7, 8), (20, 24)] {
                statistics::check(snapshot, model, &self.keys, group, span).await;
            }
            for (key, (from, limit)) in
                self.keys.iter().zip([(0, 100), (10, 100), (-9, 3), (20, 1), (5, 2)].iter().cycle())
            {
                let mut scan = Scan {
                    group: group.clone(),
                    key: key.clone(),
                    from: Timestamp::from_stored(*from),
                    to: Timestamp::from_stored(40),
                    after: None,
                    limit: *limit,
                };
                let mut found = Vec::new();
                loop {
                    let page = snapshot.scan(scan.clone()).await.unwrap();
                    assert!(page.len() <= *limit);
                    scan.after = page.last().map(|row| row.order()).or(scan.after);
                    found.extend(page.iter().map(|row| stored(group, key, row)));
                    if page.len() < *limit {
                        break;
                    }
                }
                let expected: Vec<ModelRow> =
                    model.scan(group.id, key, *from, 40).into_iter().cloned().collect();
                assert_eq!(found, expected, "scan of {key} in {:?}", group.id);
            }
        }
    }
}

fn stored<'a>(group: &RowSchema, key: &str, row: impl Into<RowRef<'a>>) -> ModelRow {
    let row = row.into();
    ModelRow {
        group: group.id,
        key: key.to_owned(),
        event: row.event_timestamp.micros(),
        created: row.created.micros(),
        sequence: row.sequence,
        cells: trimmed(cells(row, group)),
    }
}

/// Without the cells left out at the end: a row does not change when its group gains a column.
fn trimmed(mut cells: Vec<Cell>) -> Vec<Cell> {
    while cells.last() == Some(&Cell::LeftOut) {
        cells.pop();
    }
    cells
}
