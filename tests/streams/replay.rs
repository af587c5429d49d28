//! The same log gives the same rows, to the bit, wherever it was cut and whoever read it.

use super::{MINUTE, SECOND, START, World, event, feature, payload};
use larder::feature::Timestamp;
use larder::store::events::{EventLog, NewRecord};
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
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    world.caught_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_read_again_gives_the_identical_history() {
    for seed in 0..3 {
        let first = World::new().await;
        first.register(features()).await;
        let aggregation = first.aggregate().await;
        live(&first, seed).await;
        let records = first.records(0).await;
        assert!(records.iter().any(|record| payload(record).is_none()), "a tick was due");

        let again = World::new().await;
        again.register(features()).await;
        for record in &records {
            again.time.set(record.log_time.micros());
            match payload(record) {
                None => again.store.tick(0).await.unwrap(),
                Some(payload) => {
                    let record = NewRecord {
                        tenant: again.caller.tenant(),
                        key: "any".into(),
                        event_timestamp: Timestamp::from_stored(START),
                        payload: payload.clone(),
                    };
                    drop(again.store.append(vec![record]).await.unwrap());
                }
            }
        }
        again.time.set(first.time.get());
        let reading = again.aggregate().await;
        again.caught_up().await;
        for group in ["sum_5m", "count_10s"] {
            let (was, is) =
                (first.history(group, &entities()).await, again.history(group, &entities()).await);
            assert!(was.values().map(Vec::len).sum::<usize>() > 100, "{was:?}");
            assert_eq!(was, is, "seed {seed}, {group}");
        }
        assert_eq!(
            first.service.events.streams.statuses()[0].ledger,
            again.service.events.streams.statuses()[0].ledger
        );
        aggregation.stop().await.unwrap();
        reading.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_and_starting_changes_nothing() {
    let steady = World::new().await;
    let broken = World::new().await;
    for world in [&steady, &broken] {
        world.register(features()).await;
    }
    let reading = steady.aggregate().await;
    live(&steady, 7).await;
    let records = steady.records(0).await;
    let mut random = fastrand::Rng::with_seed(3);
    let mut aggregation = Some(broken.aggregate().await);
    for record in &records {
        broken.time.set(record.log_time.micros());
        match payload(record) {
            None => broken.store.tick(0).await.unwrap(),
            Some(_) => {
                let record = NewRecord {
                    tenant: broken.caller.tenant(),
                    key: "any".into(),
                    event_timestamp: Timestamp::from_stored(START),
                    payload: payload(record).unwrap().clone(),
                };
                drop(broken.store.append(vec![record]).await.unwrap());
            }
        }
        if random.u8(..) < 10 {
            aggregation.take().unwrap().stop().await.unwrap();
            aggregation = Some(broken.aggregate().await);
        }
    }
    broken.time.set(steady.time.get());
    broken.caught_up().await;
    for group in ["sum_5m", "count_10s"] {
        let (was, is) = (steady.history(group, &entities()).await, broken.history(group, &entities()).await);
        assert_eq!(was, is, "{group}");
    }
    aggregation.take().unwrap().stop().await.unwrap();
    reading.stop().await.unwrap();
}
