//! The process dies (`kill -9`) amid writes, and the embedded store starts again: nothing acknowledged is missing, no
//! commit is there in part, and order is kept; so with events. `LARDER_TEST_CRASHES` sets how many deaths (default 5).
//!
//! The victim is this same binary, told by its environment to write until it is killed. It says on its output what was
//! acknowledged.

use crate::{
    conformance::rows::{Row, USER, batch, commit, group},
    support::log::{append, end, read},
};
use larder::{
    feature::{Cell, Dtype, RowSchema, TenantId, Timestamp, Value},
    store::{
        Commits, LatestRead, LatestReads, Scan, Views,
        embedded::{EmbeddedStore, Options},
        log::{Body, NewRecord, Payload},
    },
};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

const VICTIM: &str = "LARDER_TEST_CRASH_VICTIM";
const WRITERS: usize = 3;
/// Counts with the writers, but appends events.
const PRODUCER: usize = WRITERS;
const RECORDS_PER_APPEND: i64 = 3;
/// A commit beyond this size becomes a segment at once.
const LARGE_ROWS: i64 = 400;

fn options() -> Options {
    Options {
        memtable_bytes_max: 60_000,
        segment_bytes_min: 20_000,
        event_volume_bytes_max: 4_000,
        ..Options::default()
    }
}

fn groups() -> [Arc<RowSchema>; 2] {
    [group(1, &[Dtype::Int64, Dtype::String]), group(2, &[Dtype::Int64])]
}

/// The rows of commit `number` of a writer: in both groups, mostly few.
fn rows(writer: usize, number: i64) -> Vec<Row> {
    let count = if number % 40 == 39 { LARGE_ROWS } else { 1 + number % 5 };
    let row = |at: i64| Row {
        key: format!("writer {writer}"),
        event: number * 1_000 + at,
        cells: vec![Cell::Value(Value::Int64(number)), Cell::Value(Value::String(format!("{number}/{at}")))],
    };
    (0..count).map(row).collect()
}

/// The events of append `number`, about as many bytes as a third of a volume.
fn events(number: i64) -> Vec<NewRecord> {
    let event = |at: i64| NewRecord {
        tenant: TenantId::from_stored(1),
        key: "key".into(),
        event_timestamp: Timestamp::from_stored(number),
        payload: Payload::Json(format!("{:0400}", number * RECORDS_PER_APPEND + at).into()),
    };
    (0..RECORDS_PER_APPEND).map(event).collect()
}

/// Writes until killed; does nothing unless told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Ok(instruction) = std::env::var(VICTIM) else { return };
    let (directory, from) = instruction.split_once('|').unwrap();
    let from: Vec<i64> = from.split(',').map(|number| number.parse().unwrap()).collect();
    let store = EmbeddedStore::open(directory, options()).unwrap();
    let [first, second] = groups();
    let acknowledge = |writer: usize, number: i64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacknowledged {writer} {number}").unwrap();
        out.flush().unwrap();
    };
    let append = async || {
        for number in from[PRODUCER].. {
            append(&store, events(number)).await;
            acknowledge(PRODUCER, number);
        }
    };
    let write = async |writer: usize| {
        for number in from[writer].. {
            let rows = rows(writer, number);
            let short: Vec<Row> =
                rows.iter().map(|row| Row { cells: row.cells[..1].to_vec(), ..row.clone() }).collect();
            store.commit(commit(vec![batch(&first, &rows), batch(&second, &short)])).await.unwrap();
            acknowledge(writer, number);
            if number % 60 == 59 {
                store.compact().await.unwrap();
            }
        }
    };
    tokio::join!(write(0), write(1), write(2), append());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let crashes = std::env::var("LARDER_TEST_CRASHES").ok().and_then(|count| count.parse().ok()).unwrap_or(5);
    let directory = tempfile::tempdir().unwrap();
    let mut next = [0; WRITERS + 1];
    for seed in 0..crashes {
        let acknowledged = kill_amid_writes(directory.path(), next, seed);
        let store = EmbeddedStore::open(directory.path(), options()).unwrap();
        for writer in 0..WRITERS {
            let certain = acknowledged[writer].map_or(next[writer], |number| number + 1);
            next[writer] = check(&store, writer, certain).await;
        }
        let certain = acknowledged[PRODUCER].map_or(next[PRODUCER], |number| number + 1);
        next[PRODUCER] = check_events(&store, certain).await;
    }
}

/// Runs the victim until some commits are acknowledged and a little longer; the last one of each writer.
fn kill_amid_writes(directory: &Path, from: [i64; WRITERS + 1], seed: u64) -> [Option<i64>; WRITERS + 1] {
    let mut random = fastrand::Rng::with_seed(seed);
    let from = from.map(|number| number.to_string()).join(",");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["crash::victim", "--exact", "--nocapture", "--test-threads=1"])
        .env(VICTIM, format!("{}|{from}", directory.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut acknowledged = [None; WRITERS + 1];
    let mut note = |line: &str| {
        let Some(rest) = line.strip_prefix("acknowledged ") else { return false };
        let (writer, number) = rest.split_once(' ').unwrap();
        acknowledged[writer.parse::<usize>().unwrap()] = Some(number.parse().unwrap());
        true
    };
    let mut left = random.usize(1..400);
    while left > 0 {
        let line = lines.next().expect("the victim writes until it is killed").unwrap();
        left -= usize::from(note(&line));
    }
    std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
    victim.kill().unwrap();
    victim.wait().unwrap();
    // What was said before it died was acknowledged, too. A line cut off was not said.
    let mut rest = Vec::new();
    lines.map_while(Result::ok).for_each(|line| rest.push(line));
    if rest.last().is_some_and(|last| {
        last.strip_prefix("acknowledged ").is_some_and(|rest| rest.split(' ').count() == 2)
    }) {
        rest.pop();
    }
    for line in &rest {
        note(line);
    }
    acknowledged
}

/// All of the writer's first commits are there, at least `certain` of them, whole and in both groups; how many.
async fn check(store: &EmbeddedStore, writer: usize, certain: i64) -> i64 {
    let key = format!("writer {writer}");
    let snapshot = store.snapshot(&groups()).await.unwrap();
    let mut counts = Vec::new();
    for group in groups() {
        let scan = Scan {
            group: group.clone(),
            key: key.clone(),
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            after: None,
            limit: usize::MAX,
        };
        let found: Vec<i64> =
            snapshot.scan(scan).await.unwrap().iter().map(|row| row.event_timestamp.micros()).collect();
        let mut expected = Vec::new();
        let mut commits = 0;
        while commits < certain || expected.len() < found.len() {
            expected.extend(rows(writer, commits).iter().map(|row| row.event));
            commits += 1;
        }
        assert_eq!(found, expected, "{key}, {certain} acknowledged");
        let read = LatestRead { entity_type: USER, groups: std::slice::from_ref(&group), keys: &[&key] };
        let latest = store.latest(read).await.unwrap().remove(0);
        assert_eq!(latest.row(group.id, 0).map(|row| row.event_timestamp.micros()), expected.last().copied());
        counts.push(commits);
    }
    assert_eq!(counts[0], counts[1], "a commit is in both groups or in none");
    counts[0]
}

/// Whole appends are there, at least `certain` of them, in their order; how many.
async fn check_events(store: &EmbeddedStore, certain: i64) -> i64 {
    let end = end(store, 0).await as i64;
    let appends = end / RECORDS_PER_APPEND;
    assert!(
        end % RECORDS_PER_APPEND == 0 && appends >= certain,
        "{end} records, {certain} appends acknowledged"
    );
    let read = read(store, 0, 0, usize::MAX, Duration::ZERO).await;
    let expected: Vec<Payload> = (0..appends).flat_map(events).map(|record| record.payload).collect();
    let payload = |body| match body {
        Body::Event { payload, .. } => payload,
        Body::Tick | Body::Invalid { .. } => panic!("nobody ticks"),
    };
    let found: Vec<Payload> = read.into_iter().map(|record| payload(record.body)).collect();
    assert_eq!(found, expected, "{certain} appends acknowledged");
    appends
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), options()).unwrap();
    let refused = EmbeddedStore::open(directory.path(), options()).unwrap_err();
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    drop(store);
    EmbeddedStore::open(directory.path(), options()).unwrap();
}
