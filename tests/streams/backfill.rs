//! Features registered later: the retained log is read for them, and joins what is live without gap or overlap.

use super::{MINUTE, SECOND, World, event, feature};
use crate::support::until;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

const ENTITIES: [&str; 3] = ["ann", "ben", "dan"];

fn entities() -> Vec<String> {
    ENTITIES.iter().map(|name| (*name).to_owned()).collect()
}

/// The newest value at each event timestamp, packed.
async fn values(world: &World, group: &str) -> BTreeMap<(String, i64), Vec<u8>> {
    let history = world.history(group, &entities()).await;
    history
        .into_iter()
        .flat_map(|(entity, rows)| {
            rows.into_iter().map(move |(event, _, _, packed)| ((entity.clone(), event), packed))
        })
        .collect()
}

async fn publish(world: &World, random: &mut fastrand::Rng, minutes: i64) {
    for _ in 0..minutes * 4 {
        world.time.set(world.time.get() + MINUTE / 4);
        let now = world.time.get();
        let batch: Vec<Json> = (0..random.usize(0..5))
            .map(|_| event(random.choice(ENTITIES).unwrap(), now - random.i64(0..300) * SECOND, random.f64()))
            .collect();
        if !batch.is_empty() {
            world.append(&batch).await;
        }
        if random.bool() {
            world.caught_up().await;
        }
    }
    world.caught_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_joins_the_live_values() {
    for seed in 0..4 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::new().await;
        world
            .register(json!([
                feature("early", "sum", "5m", "1m"),
                feature("early_count", "count", "5m", "1m")
            ]))
            .await;
        let mut aggregation = world.aggregate().await;
        publish(&world, &mut random, 40).await;
        world
            .register(json!([feature("late", "sum", "5m", "1m"), feature("late_count", "count", "5m", "1m")]))
            .await;
        publish(&world, &mut random, 8).await;
        if seed % 2 == 1 {
            // A backfill goes on where it was.
            aggregation.stop().await.unwrap();
            aggregation = world.aggregate().await;
        }
        publish(&world, &mut random, 40).await;
        world.filled().await;
        let (early, late) = (values(&world, "early").await, values(&world, "late").await);
        assert!(early.len() > 50);
        assert_eq!(early, late, "seed {seed}");
        aggregation.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_now_on_nothing_earlier_counts() {
    let mut random = fastrand::Rng::with_seed(1);
    let world = World::new().await;
    let aggregation = world.aggregate().await;
    world.register(json!([feature("early", "count", "5m", "1m")])).await;
    publish(&world, &mut random, 20).await;
    let mut now = feature("late", "count", "5m", "1m");
    now["window"]["start"] = "now".into();
    world.register(json!([now])).await;
    let registered = world.time.get();
    publish(&world, &mut random, 30).await;
    let (early, late) = (values(&world, "early").await, values(&world, "late").await);
    assert!(world.backfills().await.is_empty());
    assert!(late.keys().all(|(_, end)| *end > registered), "{late:?}");
    let joined: BTreeMap<_, _> =
        early.into_iter().filter(|((_, end), _)| *end > registered + 6 * MINUTE).collect();
    for (place, value) in joined {
        assert_eq!(late.get(&place), Some(&value), "{place:?}");
    }
    aggregation.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_happened_yet_every_window_counts() {
    let world = World::new().await;
    let aggregation = world.aggregate().await;
    world.register(json!([feature("count", "count", "5m", "1m")])).await;
    world.append(&[event("ann", world.time.get() - 3 * MINUTE, 1.0)]).await;
    world.time.set(world.time.get() + 20 * MINUTE);
    let ends = async || world.history("count", &entities()).await["ann"].len();
    until(async || match ends().await {
        0..6 => Err("five windows with the event, and the empty one after them are due".into()),
        _ => Ok(()),
    })
    .await;
    assert!(world.backfills().await.is_empty());
    aggregation.stop().await.unwrap();
    assert_eq!(ends().await, 6);
}
