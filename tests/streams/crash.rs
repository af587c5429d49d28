//! The process dies (`kill -9`) amid events and starts again: every event is counted once, none is missing.
//! `LARDER_TEST_CRASHES` sets how many deaths (default 5).
//!
//! The victim is this same binary, told by its environment to publish until it is killed. It says on its output what was
//! acknowledged; what was not is published again under the same `event_id`, as a producer would.

use super::{SECOND, START, World, event, feature};
use crate::conformance::TestTime;
use larder::{
    clock::Clock,
    store::embedded::{EmbeddedStore, Options},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const VICTIM: &str = "LARDER_TEST_EVENTS_VICTIM";
const WRITERS: usize = 3;
/// Events of one writer lie so far apart: ten a second.
const STEP: i64 = SECOND / 10;

async fn open(directory: &Path) -> World {
    // The log's time is the machine's, so that it goes on from one life to the next.
    let time = TestTime::default();
    time.set(Clock::system().now().micros());
    let options = Options { memtable_bytes_max: 60_000, segment_bytes_min: 20_000, ..Options::default() };
    let world = World::over(EmbeddedStore::open(directory, options).unwrap(), time).await;
    world.register(json!([feature("count", "count", "10s", "2s"), feature("sum", "sum", "10s", "2s")])).await;
    world
}

/// Publishes until killed; does nothing unless told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Ok(instruction) = std::env::var(VICTIM) else { return };
    let (directory, from) = instruction.split_once('|').unwrap();
    let from: Vec<i64> = from.split(',').map(|number| number.parse().unwrap()).collect();
    let world = open(Path::new(directory)).await;
    let _aggregation = world.aggregate().await;
    let publish = async |writer: usize| {
        let mut random = fastrand::Rng::with_seed(writer as u64);
        let mut next = from[writer];
        loop {
            let end = next + random.i64(1..40);
            let events: Vec<_> = (next..end)
                .map(|number| {
                    let mut event = event(&format!("writer {writer}"), START + number * STEP, number as f64);
                    event["event_id"] = number.to_string().into();
                    event
                })
                .collect();
            let subscription = world.service.events.streams.subscribe([0]).unwrap();
            let places = world.append(&events).await;
            subscription.judged(&places).await.unwrap();
            next = end;
            let mut out = std::io::stdout().lock();
            writeln!(out, "\nacknowledged {writer} {next}").unwrap();
            out.flush().unwrap();
        }
    };
    tokio::join!(publish(0), publish(1), publish(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_counts_once_whatever_is_killed() {
    let crashes = std::env::var("LARDER_TEST_CRASHES").ok().and_then(|count| count.parse().ok()).unwrap_or(5);
    let directory = tempfile::tempdir().unwrap();
    let mut next = [0; WRITERS];
    for seed in 0..crashes {
        kill_amid_events(directory.path(), &mut next, seed);
    }
    let world = open(directory.path()).await;
    let aggregation = world.aggregate().await;
    // What was not acknowledged is published again, then a clock that closes every window.
    let mut last = Vec::new();
    for (writer, next) in next.iter().enumerate() {
        let more = (*next..next + 100).map(|number| {
            let mut event = event(&format!("writer {writer}"), START + number * STEP, number as f64);
            event["event_id"] = number.to_string().into();
            event
        });
        last.extend(more);
    }
    world.append(&last).await;
    let greatest = next.iter().max().unwrap() + 100;
    world.append(&[event("clock", START + greatest * STEP + 3_600 * SECOND, 0.0)]).await;
    world.caught_up().await;
    let entities: Vec<String> = (0..WRITERS).map(|writer| format!("writer {writer}")).collect();
    let history = world.history("count", &entities).await;
    for (writer, next) in next.iter().enumerate() {
        let rows = &history[&entities[writer]];
        let newest: BTreeMap<i64, &Vec<u8>> =
            rows.iter().map(|(event, _, _, packed)| (*event, packed)).collect();
        let mut expected: BTreeMap<i64, (i64, f64)> = BTreeMap::new();
        for number in 0..next + 100 {
            let at = number * STEP;
            let first = at.div_euclid(2 * SECOND) + 1;
            for end in first..first + 5 {
                let window = expected.entry(START + end * 2 * SECOND).or_default();
                *window = (window.0 + 1, window.1 + number as f64);
            }
        }
        let last = *expected.last_key_value().unwrap().0;
        expected.insert(last + 2 * SECOND, (0, 0.0));
        let found: BTreeMap<i64, (i64, f64)> =
            newest.iter().map(|(event, packed)| (*event, world.count_and_sum("count", packed))).collect();
        assert_eq!(found, expected, "writer {writer}");
    }
    aggregation.stop().await.unwrap();
}

/// Runs the victim until some events are acknowledged, and a little longer.
fn kill_amid_events(directory: &Path, next: &mut [i64; WRITERS], seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let from = next.map(|number| number.to_string()).join(",");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["streams::crash::victim", "--exact", "--nocapture", "--test-threads=1"])
        .env(VICTIM, format!("{}|{from}", directory.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut note = |line: &str| {
        let mut words = line.split(' ');
        if words.next() != Some("acknowledged") {
            return false;
        }
        let (writer, number) = (words.next().unwrap(), words.next().unwrap_or_default());
        if let (Ok(writer), Ok(number)) = (writer.parse::<usize>(), number.parse::<i64>()) {
            next[writer] = next[writer].max(number);
        }
        true
    };
    let mut left = random.usize(1..150);
    while left > 0 {
        let line = lines.next().expect("the victim publishes until it is killed");
        left -= usize::from(note(&line));
    }
    std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
    victim.kill().unwrap();
    victim.wait().unwrap();
    // What it said until then: on a busy machine that may be many events, and what is left is one append of each writer.
    for line in lines {
        note(&line);
    }
}
