//! Which row an answer takes, and how old it may be.

use super::{
    HandClock, NOW,
    ask::{Ask, cell, not_found, null, present, stale},
    now_plus, register, server, write,
};
use crate::support::TestApp;
use serde_json::json;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

async fn with_ttl() -> TestApp {
    let app = server().await;
    let features = json!([
        {"name": "minute", "entity_type": "user", "dtype": "int64", "group": "g", "ttl": "1m"},
        {"name": "hour", "entity_type": "user", "dtype": "int64", "group": "g", "ttl": "1h"},
        {"name": "ever", "entity_type": "user", "dtype": "int64", "group": "g"},
        {"name": "never", "entity_type": "user", "dtype": "int64", "group": "g", "ttl": "0s"},
    ]);
    register(&app, features).await;
    app
}

const ALL: [&str; 4] = ["minute", "hour", "ever", "never"];

#[tokio::test]
async fn a_value_is_served_until_its_age_is_the_ttl() {
    let app = with_ttl().await;
    let values = json!({"minute": 1, "hour": 2, "ever": 3, "never": 4});
    let (edge, inside) = (now_plus(-MINUTE), now_plus(1 - MINUTE));
    write(&app, "edge", &edge, values.clone()).await;
    write(&app, "inside", &inside, values).await;
    let cells = Ask::new(&ALL, &["edge", "inside"]).cells(&app).await;
    assert_eq!(cells[0], [stale(&edge), present(2, &edge), present(3, &edge), stale(&edge)]);
    assert_eq!(cells[1], [present(1, &inside), present(2, &inside), present(3, &inside), stale(&inside)]);
}

#[tokio::test]
async fn max_age_tightens_and_never_loosens() {
    let app = with_ttl().await;
    let at = now_plus(-MINUTE);
    write(&app, "u", &at, json!({"minute": 1, "hour": 2, "ever": null, "never": 4})).await;
    let ask = Ask::new(&ALL, &["u"]);
    let cells = ask.clone().max_age("60000001us").cells(&app).await;
    assert_eq!(cells[0], [stale(&at), present(2, &at), null(&at), stale(&at)]);
    // A null is a value too: too old to be served, it is stale.
    for max_age in ["1m", "59s", "0s"] {
        assert_eq!(ask.clone().max_age(max_age).cells(&app).await[0], vec![stale(&at); 4]);
    }
    assert_eq!(ask.max_age("9000d").cells(&app).await[0][0], stale(&at));
}

#[tokio::test]
async fn rows_from_the_future_wait_for_their_moment() {
    let clock = HandClock::at(NOW);
    let app = TestApp::start_at(clock.clock(), |_| ()).await;
    register(&app, json!([{"name": "n", "entity_type": "user", "dtype": "int64"}])).await;
    let ahead = now_plus(4 * MINUTE);
    write(&app, "both", NOW, json!({"n": 1})).await;
    write(&app, "both", &ahead, json!({"n": 2})).await;
    write(&app, "later", &ahead, json!({"n": 3})).await;
    let ask = Ask::new(&["n"], &["both", "later", "nobody"]);
    let now = [[present(1, NOW)], [not_found()], [not_found()]];
    assert_eq!(ask.clone().cells(&app).await, now);
    assert_eq!(ask.clone().as_of(now_plus(4 * MINUTE - 1)).cells(&app).await, now);
    let then = [[present(2, &ahead)], [present(3, &ahead)], [not_found()]];
    assert_eq!(ask.clone().as_of(&ahead).cells(&app).await, then);
    clock.set(&ahead);
    assert_eq!(ask.clone().cells(&app).await, then);
    assert_eq!(ask.as_of(NOW).cells(&app).await, now);
}

#[tokio::test]
async fn as_of_may_lie_five_minutes_ahead_and_no_more() {
    let app = with_ttl().await;
    let ask = Ask::new(&["ever"], &["u"]);
    assert_eq!(ask.clone().as_of(now_plus(5 * MINUTE)).cells(&app).await, [[not_found()]]);
    let refused = ask.clone().as_of(now_plus(5 * MINUTE + 1)).refused(&app).await;
    assert_eq!((refused.status, refused.field.as_deref()), (400, Some("as_of")));
    let mut body = ask.json();
    for wrong in ["2024-01-15T14:25:30", "1705328730000", "2024-01-15T14:25:60Z", "10000-01-01T00:00:00Z"] {
        body["as_of"] = wrong.into();
        let answer = app.rest().post("/api/v1/features/online", &body).await;
        assert_eq!(answer.problem(400).0.as_deref(), Some("as_of"), "{wrong}");
    }
    let mut message = ask.message();
    message.as_of = Some(prost_types::Timestamp { seconds: 1_705_328_730_000, nanos: 0 });
    let status = app.grpc().await.get_online_features(message).await.unwrap_err();
    assert!(status.message().contains("milliseconds"), "{status}");
}

#[tokio::test]
async fn the_past_is_as_it_was_and_as_of_rounds_down() {
    let app = with_ttl().await;
    let (first, second) = (now_plus(-10 * SECOND), now_plus(-5 * SECOND));
    write(&app, "u", &first, json!({"minute": 1, "hour": 1, "ever": 1, "never": 1})).await;
    write(&app, "u", &second, json!({"minute": 2, "hour": 2, "ever": 2, "never": 2})).await;
    // A correction comes later and stands for the same moment.
    write(&app, "u", &first, json!({"minute": 7, "hour": 7, "ever": null, "never": 7})).await;
    let ask = Ask::new(&["minute", "ever"], &["u"]);
    assert_eq!(ask.clone().cells(&app).await, [[present(2, &second), present(2, &second)]]);
    for as_of in [second.clone(), now_plus(-5 * SECOND + 1)] {
        assert_eq!(ask.clone().as_of(as_of).cells(&app).await, [[present(2, &second), present(2, &second)]]);
    }
    let before = [[present(7, &first), null(&first)]];
    assert_eq!(ask.clone().as_of(now_plus(-5 * SECOND - 1)).cells(&app).await, before);
    assert_eq!(ask.clone().as_of(first.clone()).cells(&app).await, before);
    assert_eq!(ask.clone().as_of(now_plus(-10 * SECOND - 1)).cells(&app).await, [[not_found(), not_found()]]);

    let body = json!({"features": ["minute"], "entity_ids": ["u"], "as_of": "2024-01-15T14:25:24.9999999Z"});
    let answer = app.rest().post("/api/v1/features/online", &body).await.json(200);
    assert_eq!(answer["results"][0]["values"]["minute"], 7);
}

#[tokio::test]
async fn ttl_is_judged_as_of_the_moment_asked() {
    let app = with_ttl().await;
    let at = now_plus(-30 * MINUTE);
    write(&app, "u", &at, json!({"minute": 1, "hour": 2, "ever": 3, "never": 4})).await;
    let ask = Ask::new(&["minute", "hour"], &["u"]);
    assert_eq!(ask.clone().cells(&app).await, [[stale(&at), present(2, &at)]]);
    assert_eq!(ask.clone().as_of(now_plus(-29 * MINUTE)).cells(&app).await, [[stale(&at), present(2, &at)]]);
    let just = now_plus(-29 * MINUTE - 1);
    assert_eq!(ask.as_of(just).cells(&app).await, [[present(1, &at), present(2, &at)]]);
}

#[tokio::test]
async fn defaults_fill_empty_cells_and_statuses_stay() {
    let app = server().await;
    let features = json!([
        {"name": "country", "entity_type": "user", "dtype": "string", "group": "g", "default": "unknown", "ttl": "1m"},
        {"name": "city", "entity_type": "user", "dtype": "string", "group": "g", "ttl": "1m"},
    ]);
    register(&app, features).await;
    let old = now_plus(-MINUTE);
    write(&app, "fresh", NOW, json!({"country": "GB", "city": "Leeds"})).await;
    write(&app, "nulls", NOW, json!({"country": null, "city": null})).await;
    write(&app, "old", &old, json!({"country": "GB", "city": "Leeds"})).await;
    let ask = Ask::new(&["country", "city"], &["fresh", "nulls", "old", "nobody"]);
    let filled = ask.clone().use_defaults().cells(&app).await;
    assert_eq!(filled[0], [present("GB", NOW), present("Leeds", NOW)]);
    assert_eq!(filled[1], [cell("unknown", "NULL_VALUE", Some(NOW.into())), null(NOW)]);
    assert_eq!(filled[2], [cell("unknown", "OUTSIDE_MAX_AGE", Some(old.clone())), stale(&old)]);
    assert_eq!(filled[3], [cell("unknown", "NOT_FOUND", None), not_found()]);
    let plain = ask.cells(&app).await;
    assert_eq!(plain[1..], [[null(NOW), null(NOW)], [stale(&old), stale(&old)], [not_found(), not_found()]]);
}
