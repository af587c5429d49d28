//! Why a cell is what it is.

use super::{
    looks::explain,
    records::{Row, int},
    via::{Via, each, expect, with_key},
};
use crate::support;
use larder::{
    access::Scope,
    feature::{Cell, ColumnBuilder, Value},
    store::{Commit, RowBatch},
};
use serde_json::{Value as Json, json};
use std::sync::Arc;

fn moment(second: u32) -> String {
    format!("1970-01-01T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[tokio::test]
async fn every_status_has_its_reason() {
    each(async |_, via| {
        let features = json!([
            {"name": "n", "entity_type": "user", "dtype": "int64", "group": "g", "ttl": "1h"},
            {"name": "m", "entity_type": "user", "dtype": "int64", "group": "g"},
        ]);
        via.register(json!({"features": features})).await.unwrap();
        let row = |second: f64, n| Row::new("u", second, &[("n", n), ("m", int(0))]);
        for (second, n) in [(100.0, int(1)), (100.0, int(2)), (100.0, int(1)), (9_000.0, None)] {
            via.write(&[row(second, n)]).await.unwrap();
        }
        let ask = |second: u32, feature: &str| json!({"entity_id": "u", "feature": feature, "as_of": moment(second)});
        let found = explain(via, ask(3_699, "n")).await.unwrap();
        assert_eq!(found["reason"], "the newest row is 59m 59s old and the ttl is 1h: it is served");
        assert_eq!(found["feature"], "g.n@1");
        assert_eq!((&found["status"], &found["value"]), (&json!("PRESENT"), &json!(1)));
        assert_eq!((&found["age"], &found["ttl"]), (&json!("3599s"), &json!("1h")));
        assert_eq!((&found["as_of"], &found["window"]), (&json!(moment(3_699)), &Json::Null));
        let chosen = &found["row"];
        assert_eq!((&chosen["corrections"], &chosen["value"]), (&json!(2), &json!(1)));
        assert_eq!((&chosen["event_timestamp"], &chosen["status"]), (&json!(moment(100)), &json!("PRESENT")));
        assert!(chosen["created_timestamp"].as_str().unwrap() > "2024");
        for (second, feature, status, value, reason) in [
            (3_700, "n", "OUTSIDE_MAX_AGE", Json::Null, "the newest row is 1h old and the ttl is 1h: it is not served"),
            (3_700, "m", "PRESENT", json!(0), "the newest row is 1h old and there is no ttl: it is served"),
            (
                9_000,
                "n",
                "NULL_VALUE",
                Json::Null,
                "the newest row is 0s old and holds null, which is served as such; the ttl is 1h",
            ),
            (
                99,
                "n",
                "NOT_FOUND",
                Json::Null,
                "no row of this entity was written for a moment at or before 1970-01-01T00:01:39Z",
            ),
        ] {
            let found = explain(via, ask(second, feature)).await.unwrap();
            assert_eq!((&found["status"], &found["value"]), (&json!(status), &value), "{found}");
            assert_eq!(found["reason"], reason);
        }
        let stale = explain(via, ask(3_700, "n")).await.unwrap();
        assert_eq!(stale["row"]["value"], 1);
        // Now, and without a row at all.
        let now = explain(via, json!({"entity_id": "u", "feature": "m"})).await.unwrap();
        assert_eq!((&now["status"], &now["row"]["event_timestamp"]), (&json!("PRESENT"), &json!(moment(9_000))));
        let absent = explain(via, json!({"entity_id": "nobody", "feature": "n"})).await.unwrap();
        assert_eq!((&absent["status"], &absent["row"], &absent["age"]), (&json!("NOT_FOUND"), &Json::Null, &Json::Null));
        // Rows older than a feature leave it out.
        let later = json!([{"name": "later", "entity_type": "user", "dtype": "int64", "group": "g"}]);
        via.register(json!({"features": later})).await.unwrap();
        let found = explain(via, ask(9_060, "later")).await.unwrap();
        assert_eq!((&found["status"], &found["row"]["status"]), (&json!("NOT_FOUND"), &json!("NOT_FOUND")));
        assert_eq!(
            found["reason"],
            "the newest row is 1m old and leaves the feature out: it was added to its group later"
        );
    })
    .await;
}

#[tokio::test]
async fn composite_keys_and_other_tenants() {
    each(async |app, via| {
        let request = json!({
            "entity_types": [{"name": "pair", "keys": ["user", "merchant"]}],
            "features": [{"name": "v", "entity_type": "pair", "dtype": "int64"}]});
        via.register(request.clone()).await.unwrap();
        let row = Row::new("", 1.0, &[("v", int(5))]).by_key(&[("user", "u"), ("merchant", "m")]);
        via.write(&[row]).await.unwrap();
        let question = json!({"entities": {"merchant": "m", "user": "u"}, "feature": "v"});
        assert_eq!(explain(via, question.clone()).await.unwrap()["value"], 5);
        let mut stranger = with_key(via, app, &app.key_of("other", &Scope::ALL).await).await;
        expect(explain(&mut stranger, question.clone()).await, "not-found", "feature");
        stranger.register(request).await.unwrap();
        assert_eq!(explain(&mut stranger, question).await.unwrap()["status"], "NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn bad_questions_name_their_field() {
    each(async |app, via| {
        let request = json!({
            "entity_types": [{"name": "pair", "keys": ["user", "merchant"]}],
            "features": [{"name": "n", "entity_type": "user", "dtype": "int64"},
                         {"name": "v", "entity_type": "pair", "dtype": "int64"}]});
        via.register(request).await.unwrap();
        let ahead = app.app().service().clock.now().saturating_add(301_000_000).to_string();
        for (question, field) in [
            (json!({"feature": "n"}), "entity_id"),
            (json!({"entity_id": "u"}), "feature"),
            (json!({"feature": "n", "entity_id": "x".repeat(257)}), "entity_id"),
            (json!({"feature": "n", "entity_id": "a\nb"}), "entity_id"),
            (json!({"feature": "n", "entity_id": "u", "entities": {"user": "u"}}), "entities"),
            (json!({"feature": "n", "entities": {"shop": "u"}}), "entities.shop"),
            (json!({"feature": "v", "entity_id": "u"}), "entity_id"),
            (json!({"feature": "v", "entities": {"user": "u"}}), "entities"),
            (json!({"feature": "n", "entity_id": "u", "as_of": ahead}), "as_of"),
        ] {
            expect(explain(via, question).await, "invalid-argument", field);
        }
        for unknown in ["nope", "n@2", "g.n", "N"] {
            expect(explain(via, json!({"feature": unknown, "entity_id": "u"})).await, "not-found", "feature");
        }
        let mut writer = with_key(via, app, &app.key_of("default", &[Scope::Write]).await).await;
        expect(
            explain(&mut writer, json!({"feature": "n", "entity_id": "u"})).await,
            "permission-denied",
            "",
        );
    })
    .await;
}

#[tokio::test]
async fn a_feature_may_be_called_explain() {
    each(async |_, via| {
        via.register(json!({"features": [{"name": "explain", "entity_type": "user", "dtype": "int64"}]}))
            .await
            .unwrap();
        assert_eq!(via.feature("explain").await.unwrap()["ref"], "explain@1");
        let found = explain(via, json!({"feature": "explain", "entity_id": "u"})).await.unwrap();
        assert_eq!(found["status"], "NOT_FOUND");
    })
    .await;
}

fn windowed() -> Json {
    json!({"features": [
        {"name": "spent", "entity_type": "user", "dtype": "float64",
         "window": {"event_type": "buy", "function": "sum", "size": "5m", "slide": "1m"}},
        {"name": "mean", "entity_type": "user", "dtype": "float64",
         "window": {"event_type": "buy", "function": "mean", "size": "5m", "slide": "1m", "field": "metadata.price"}},
    ]})
}

/// Only the row is there, as after the log has dropped everything: the window is named all the same.
#[tokio::test]
async fn a_window_is_named_with_or_without_its_events() {
    each(async |app, via| {
        via.register(windowed()).await.unwrap();
        let nothing = explain(via, json!({"entity_id": "u", "feature": "spent"})).await.unwrap();
        assert_eq!((&nothing["status"], &nothing["window"]), (&json!("NOT_FOUND"), &Json::Null));
        assert!(
            nothing["reason"]
                .as_str()
                .unwrap()
                .starts_with("no window of this entity with a buy event in it")
        );
        let service = app.app().service();
        let caller = service.registry.authenticate(app.key(), service.clock.now()).unwrap();
        let catalogue = service.registry.catalogue(&caller);
        let feature = catalogue.feature("spent").unwrap();
        let group = catalogue.group_of(feature).schema.clone();
        let column = |cell: &Cell| {
            let mut column = ColumnBuilder::new(feature.dtype, 1);
            column.push(cell);
            column.finish()
        };
        let batch = RowBatch {
            group: Arc::clone(&group),
            keys: vec!["u"].into(),
            event_timestamps: vec![600_000_000].into(),
            sequences: vec![0].into(),
            columns: vec![column(&Cell::Value(Value::Float64(7.5))), column(&Cell::Null)],
        };
        let commit = Commit { tenant: caller.tenant(), batches: vec![batch], idempotency: None };
        service.store.commit(commit).await.unwrap();
        let found =
            explain(via, json!({"entity_id": "u", "feature": "spent", "as_of": moment(660)})).await.unwrap();
        assert_eq!((&found["status"], &found["value"]), (&json!("PRESENT"), &json!(7.5)));
        let window = &found["window"];
        assert_eq!((&window["start"], &window["end"]), (&json!(moment(300)), &json!(moment(600))));
        assert_eq!(
            (&window["event_type"], &window["function"], &window["field"]),
            (&json!("buy"), &json!("sum"), &json!("value"))
        );
        assert_eq!(window["events_counted"], 0);
        let found =
            explain(via, json!({"entity_id": "u", "feature": "mean", "as_of": moment(660)})).await.unwrap();
        assert_eq!(
            (&found["status"], &found["window"]["field"]),
            (&json!("NULL_VALUE"), &json!("metadata.price"))
        );
    })
    .await;
}

/// Needs the event log and its reader.
#[tokio::test]
async fn the_events_of_a_window_are_counted() {
    each(async |app, via| {
        via.register(windowed()).await.unwrap();
        let rest = app.rest();
        let event = |second: u32, value: Json, event_id: Option<&str>| {
            let mut event = json!({"entity_id": "u", "event_type": "buy", "value": value, "timestamp": moment(second)});
            if let Some(id) = event_id {
                event["event_id"] = id.into();
            }
            event
        };
        let events = json!([
            event(310, json!(1.5), Some("a")),
            event(310, json!(1.5), Some("a")),
            event(599, json!(2.0), None),
            event(400, json!("no number"), None),
            event(600, json!(50.0), None),
            {"entity_id": "v", "event_type": "buy", "value": 9, "timestamp": moment(400)},
            // Moves the watermark beyond the window's end.
            {"entity_id": "v", "event_type": "buy", "value": 9, "timestamp": moment(1_260)},
        ]);
        rest.post("/api/v1/events", &events).await.json(200);
        rest.post("/api/v1/events", &event(500, json!(4.0), None)).await.json(200);
        let question = json!({"entity_id": "u", "feature": "spent", "as_of": moment(659)});
        let found = until(via, question, |found| found["window"]["events_late"] == 1).await;
        assert_eq!((&found["status"], &found["value"]), (&json!("PRESENT"), &json!(3.5)));
        let expected = json!({
            "event_type": "buy", "function": "sum", "field": "value", "start": moment(300), "end": moment(600),
            "complete": true, "events_counted": 2, "events_late": 1, "events_duplicate": 1, "events_unused": 1,
            "events_pending": 0, "first_event": moment(310), "last_event": moment(599),
        });
        assert_eq!(found["window"], expected);
        // No event has a price: the mean takes none.
        let question = json!({"entity_id": "u", "feature": "mean", "as_of": moment(659)});
        let found = explain(via, question).await.unwrap();
        assert_eq!((&found["status"], &found["window"]["events_unused"]), (&json!("NULL_VALUE"), &json!(3)));
        assert!(found["reason"].as_str().unwrap().ends_with("and mean of no event is null"), "{found}");
        // Another tenant's events of the same names are none of these.
        let mut stranger = with_key(via, app, &app.key_of("other", &Scope::ALL).await).await;
        stranger.register(windowed()).await.unwrap();
        let found = explain(&mut stranger, json!({"entity_id": "u", "feature": "spent"})).await.unwrap();
        assert_eq!((&found["status"], &found["window"]), (&json!("NOT_FOUND"), &Json::Null));
    })
    .await;
}

/// Asks until the answer is as wanted: rows become visible with their commit, after the events are judged.
async fn until(via: &mut Via, question: Json, wanted: impl Fn(&Json) -> bool) -> Json {
    support::until(async || {
        let found = explain(via, question.clone()).await.unwrap();
        if wanted(&found) { Ok(found) } else { Err(found.to_string()) }
    })
    .await
}
