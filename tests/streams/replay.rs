//! The same log gives the same rows, to the bit, wherever it was cut and whoever read it.

use super::{MINUTE, SECOND, World, event, feature, payload};
use crate::support::until;
use larder::store::{
    log::{EventSource, Record},
    readers::Progress,
};
use serde_json::{Value as Json, json};

const ENTITIES: u32 = 12;

fn entities() -> Vec<String> {
    (0..ENTITIES).map(|number| format!("user_{number}")).collect()
}

fn features() -> Json {
    json!([
        feature("sum_5m", "sum", "5m", "1m"),
        feature("mean_5m", "mean", "5m", "1m"),
        feature("last_5m", "last", "5m", "1m"),
        feature("count_10s", "count", "10s", "10s"),
    ])
}

/// Batches of random events, out of order by up to twelve minutes, with the clock going on between them.
async fn live(world: &World, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..60 {
        world.time.set(world.time.get() + random.i64(0..40) * SECOND);
        let now = world.time.get();
        let batch: Vec<Json> = (0..random.usize(1..30))
            .map(|_| {
                let late = if random.u8(..) < 200 { random.i64(0..30) } else { random.i64(0..720) };
                let entity = format!("user_{}", random.u32(..ENTITIES));
                let mut event = event(&entity, now - late * SECOND, (random.f64() * 1e4).round() / 100.0);
                if random.u8(..) < 60 {
                    event["event_id"] = format!("id {}", random.u8(..40)).into();
                }
                event
            })
            .collect();
        world.append(&batch).await;
        if random.bool() {
            world.caught_up().await;
        }
    }
    // A silent partition goes on by ticks.
    for _ in 0..20 {
        world.time.set(world.time.get() + MINUTE / 2);
        world.caught_up().await;
    }
    until(async || {
        let records = world.records(0).await;
        let is_tick = |record: &Record| payload(record).is_none();
        if records.iter().any(is_tick) { Ok(()) } else { Err("no tick came".into()) }
    })
    .await;
    world.caught_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_read_again_gives_the_identical_history() {
    for seed in 0..3 {
        let first = World::new().await;
        first.register(features()).await;
        let aggregation = first.aggregate().await;
        live(&first, seed).await;
        // It appends no tick after the copy.
        aggregation.stop().await.unwrap();
        let again = copy_of(&first).await;
        let reading = again.aggregate().await;
        again.caught_up().await;
        same_rows(&first, &again, "read again").await;
        reading.stop().await.unwrap();
        let (was, is) = (first.store.readers().await.unwrap(), again.store.readers().await.unwrap());
        assert_eq!(was[0].summary.ledger, is[0].summary.ledger);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_and_starting_changes_nothing() {
    let source = World::new().await;
    source.register(features()).await;
    let reading = source.aggregate().await;
    live(&source, 7).await;
    reading.stop().await.unwrap();
    let broken = World::new().await;
    broken.register(features()).await;
    let mut random = fastrand::Rng::with_seed(3);
    let mut aggregation = broken.aggregate().await;
    for record in &source.records(0).await {
        broken.put(record).await;
        if random.u8(..) < 10 {
            aggregation.stop().await.unwrap();
            aggregation = broken.aggregate().await;
        }
    }
    broken.caught_up().await;
    aggregation.stop().await.unwrap();
    // Readers append ticks of their own, so the log to compare with is the one that came of it.
    let again = copy_of(&broken).await;
    let reading = again.aggregate().await;
    again.caught_up().await;
    same_rows(&broken, &again, "stopped").await;
    reading.stop().await.unwrap();
}

/// A world with the same features and the same log, which nobody has read.
async fn copy_of(world: &World) -> World {
    let copy = World::new().await;
    copy.register(features()).await;
    for record in &world.records(0).await {
        copy.put(record).await;
    }
    copy.time.set(world.time.get());
    copy
}

/// Compares rows with their created timestamps, sequences and packed values: all of one, and those of the other that
/// records of its log caused. A reader that is at the end of a copied log appends ticks of its own.
async fn same_rows(one: &World, other: &World, what: &str) {
    let end = one.store.extent(0).await.unwrap().end;
    for group in ["sum_5m", "count_10s"] {
        let was = one.history(group, &entities()).await;
        let mut is = other.history(group, &entities()).await;
        is.values_mut().for_each(|rows| rows.retain(|(_, _, sequence, _)| *sequence < end));
        assert!(was.values().map(Vec::len).sum::<usize>() > 100, "{what}, {group}: too few rows to tell");
        for entity in entities() {
            let difference = was[&entity].iter().zip(&is[&entity]).find(|(was, is)| was != is);
            assert_eq!(difference, None, "{what}, {group}, {entity}");
            assert_eq!(was[&entity].len(), is[&entity].len(), "{what}, {group}, {entity}");
        }
    }
}
