//! What readers do besides counting: ticks, side tables, bounds, tenants apart.

use super::{MINUTE, SECOND, START, World, app_at, event, feature};
use crate::{
    conformance::TestTime,
    support::{log::append, until},
};
use larder::{
    error::Kind,
    feature::Timestamp,
    serving::{Events, Service},
    store::{
        log::{NewRecord, Payload},
        readers::{Progress, SideQuery},
    },
    window::Options,
};
use serde_json::json;

fn side(world: &World) -> SideQuery {
    SideQuery {
        tenant: world.caller.tenant(),
        after: None,
        limit: 100,
        event_type: String::new(),
        entity_id: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_partition_emits_what_is_due() {
    let time = TestTime::default();
    time.set(START + 10 * SECOND);
    let app = app_at(&time).await;
    let rest = app.rest();
    let features = json!({"features": [feature("sum_5m", "sum", "5m", "1m")]});
    rest.post("/api/v1/features/register", &features).await.json(200);
    let answer = rest.post("/api/v1/events", &event("ann", START + 5 * SECOND, 99.5)).await.json(200);
    assert_eq!(answer, json!({"accepted": 1, "unused": 0, "late": 0, "duplicate": 0, "rejected": []}));
    let ask = json!({"entity_ids": ["ann"], "features": ["sum_5m"]});
    let online = rest.post("/api/v1/features/online", &ask).await.json(200);
    assert_eq!(online["results"][0]["statuses"]["sum_5m"], "NOT_FOUND");
    // Emission time goes on with the log's, from the event's own: 55 seconds later it reaches the end of the minute.
    time.set(START + 65 * SECOND);
    let result = until(async || {
        let online = rest.post("/api/v1/features/online", &ask).await.json(200);
        let result = online["results"][0].clone();
        if result["statuses"]["sum_5m"] == "PRESENT" { Ok(result) } else { Err(result.to_string()) }
    })
    .await;
    assert_eq!(result["values"]["sum_5m"], 99.5);
    assert_eq!(result["event_timestamps"]["sum_5m"], Timestamp::from_stored(START + MINUTE).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_record_is_a_dead_letter_once() {
    let world = World::new().await;
    world.register(json!([feature("count", "count", "1m", "1m")])).await;
    let mut aggregation = world.aggregate().await;
    let poison = |text: &'static str| NewRecord {
        tenant: world.caller.tenant(),
        key: "ann".into(),
        event_timestamp: Timestamp::from_stored(START),
        payload: Payload::Json(text.into()),
    };
    world.append(&[event("ann", START, 1.0)]).await;
    append(&*world.store, vec![poison("{\"entity_id\": \"ann\""), poison("\u{0}")]).await;
    world.append(&[event("ann", START + SECOND, 1.0), event("ann", START + 6 * MINUTE, 1.0)]).await;
    for _ in 0..2 {
        world.caught_up().await;
        let ledger = world.service.events.streams.statuses()[0].ledger;
        assert_eq!(
            (ledger.dead, ledger.counted, ledger.produced()),
            (3, 2, 5),
            "the last lies in the future"
        );
        // The end of a reader commits all that it judged.
        aggregation.stop().await.unwrap();
        let dead = world.store.dead_letters(side(&world)).await.unwrap();
        let offsets: Vec<u64> = dead.iter().map(|dead| dead.place.offset).collect();
        assert_eq!(offsets, [1, 2, 4]);
        assert_eq!(dead[0].record, b"{\"entity_id\": \"ann\"");
        assert!(dead[2].reason.contains("ahead"), "{}", dead[2].reason);
        aggregation = world.aggregate().await;
    }
    aggregation.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_events_are_kept_with_the_windows_they_missed() {
    let world = World::new().await;
    world.register(json!([feature("count", "count", "15m", "5m")])).await;
    let aggregation = world.aggregate().await;
    world.time.set(START + 60 * MINUTE);
    // Closes windows that end at 20 minutes and before.
    world.append(&[event("ben", START + 30 * MINUTE, 1.0)]).await;
    world.append(&[event("ann", START + 11 * MINUTE, 1.0), event("ann", START + 2 * MINUTE, 1.0)]).await;
    world.caught_up().await;
    let ledger = world.service.events.streams.statuses()[0].ledger;
    assert_eq!((ledger.late, ledger.counted), (1, 2));
    aggregation.stop().await.unwrap();
    let late = world.store.late_events(side(&world)).await.unwrap();
    let ends = |at: usize| -> Vec<i64> {
        late[at]
            .missed
            .iter()
            .flat_map(|missed| missed.ends().map(|end| (end.micros() - START) / MINUTE))
            .collect()
    };
    assert_eq!(late.len(), 2);
    assert_eq!((late[0].late, ends(0)), (false, vec![15, 20]));
    assert_eq!((late[1].late, ends(1)), (true, vec![5, 10, 15]));
    let other = SideQuery { entity_id: "ben".into(), ..side(&world) };
    assert!(world.store.late_events(other).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_over_its_bound_holds_producers_back() {
    let world = World::new().await;
    world.register(json!([feature("count", "count", "1h", "1m")])).await;
    let small = Options { bytes_max: 200_000, ..Options::default() };
    let aggregation = world.aggregate_with(small).await;
    let events: Vec<_> = (0..6_000).map(|n| event(&format!("user {n}"), START, 1.0)).collect();
    world.append(&events).await;
    let streams = &world.service.events.streams;
    let refused = until(async || match streams.subscribe([0]) {
        Ok(_) => Err("producers are not told".into()),
        Err(refused) => Ok(refused),
    })
    .await;
    assert_eq!(refused.kind, Kind::Unavailable);
    assert!(refused.message.contains("events.state_bytes_max"), "{refused}");
    aggregation.stop().await.unwrap();
    let aggregation = world.aggregate().await;
    world.caught_up().await;
    let status = &streams.statuses()[0];
    assert_eq!(
        (status.ledger.counted, status.ledger.produced(), status.stalled.clone()),
        (6_000, 6_000, None)
    );
    assert!(streams.subscribe([0]).is_ok());
    aggregation.stop().await.unwrap();
}

/// Also what was judged a moment ago: whoever was answered finds their events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_reads_nothing_shows_the_same_status() {
    let world = World::new().await;
    world.register(json!([feature("count", "count", "1m", "1m")])).await;
    let aggregation = world.aggregate().await;
    let mine = &world.service;
    let (log, progress) = (mine.events.log.clone(), mine.events.progress.clone());
    let other = Service::new(
        mine.registry.clone(),
        mine.store.clone(),
        Events::new(log, progress),
        mine.limits.clone(),
        mine.clock.clone(),
    );
    for round in 1..20 {
        let subscription = mine.events.streams.subscribe([0]).unwrap();
        let places = world.append(&[event("ann", START, 1.0), event("ben", START, 1.0)]).await;
        subscription.judged(&places).await.unwrap();
        let shown = mine.streams(&world.caller).await.unwrap();
        assert_eq!((shown[0].ledger.counted, shown[0].memory.entities), (2 * round, 2));
        assert_eq!(other.streams(&world.caller).await.unwrap(), shown);
    }
    aggregation.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_before_what_is_kept_are_dropped() {
    use larder::store::embedded::{EmbeddedStore, Options};
    let time = TestTime::default();
    time.set(START);
    let retention = Some("1h".parse().unwrap());
    let options = Options { clock: time.clock(), retention, ..Options::default() };
    let world = World::over(EmbeddedStore::in_memory(options).unwrap(), time).await;
    world.register(json!([feature("count", "count", "1m", "1m")])).await;
    let aggregation = world.aggregate().await;
    world.append(&[event("ann", START - 3 * 60 * MINUTE, 1.0), event("ann", START - MINUTE, 1.0)]).await;
    world.time.set(START + MINUTE);
    // Due at the present time: a tick brings it.
    let history = until(async || {
        let history = world.history("count", &["ann".to_owned()]).await;
        if history["ann"].is_empty() { Err("nothing was emitted".into()) } else { Ok(history) }
    })
    .await;
    assert!(history["ann"].iter().all(|(event, ..)| *event > START - 60 * MINUTE), "{history:?}");
    assert!(world.service.events.streams.statuses()[0].rows_dropped > 0);
    aggregation.stop().await.unwrap();
}
