//! The most frequent values of a window, from registration to every way to read a feature.

use super::ways::{Way, ask, ask_all};
use crate::{
    promises::{
        looks::explain,
        online::ask::Ask,
        records::Event,
        via::{Moment, each},
    },
    support::until,
};
use larder::feature::{List, Timestamp, Value};
use serde_json::{Value as Json, json};

/// Seconds since the epoch: the window from 300 to 600.
const END: &str = "1970-01-01T00:10:00Z";

fn features() -> Json {
    let topk = |name: &str, dtype: &str, field: &str, rest: Json| {
        let mut window =
            json!({"event_type": "buy", "function": "topk", "size": "5m", "slide": "5m", "field": field});
        window.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        json!({"name": name, "entity_type": "user", "dtype": dtype, "window": window})
    };
    json!({"features": [
        topk("codes", "list<string>", "metadata.code", json!({"k": 2})),
        topk("units", "list<int64>", "value", json!({"k": 100, "counts": false})),
        topk("gifts", "list<bool>", "metadata.gift", json!({"k": 1})),
        topk("due", "list<timestamp>", "metadata.due", json!({"k": 3})),
        topk("counts", "json", "metadata.code", json!({"k": 2, "counts": true})),
    ]})
}

fn event(second: f64, units: i64, code: &str, gift: bool, due: i64) -> Event {
    let due = Value::Timestamp(Timestamp::from_stored(due * 1_000_000));
    Event {
        value: Some(Value::Int64(units)),
        metadata: vec![
            ("code".into(), Some(Value::String(code.into()))),
            ("gift".into(), Some(Value::Bool(gift))),
            ("due".into(), Some(due)),
        ],
        ..Event::new("u", "buy", second)
    }
}

/// Over gRPC a timestamp is one, over REST the text of one: the same value.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_read_gives_the_same_lists() {
    each(async |app, via| {
        via.register(features()).await.unwrap();
        let events = [
            event(310.0, 7, "b", true, 86_400),
            event(320.0, i64::MAX, "é", false, 0),
            event(330.0, 7, "é", false, 86_400),
            event(340.0, -1, "a", false, 86_400),
            event(350.0, 3, "b", true, 60),
            event(360.0, 3, "é", false, 0),
            // Moves emission time beyond the window's end.
            Event::new("v", "buy", 1_000.0),
        ];
        assert_eq!(via.publish(&events).await.unwrap().accepted, 7);
        let expected = [
            ("codes", json!(["é", "b"])),
            ("units", json!([3, 7, -1, i64::MAX])),
            ("gifts", json!([false])),
            ("due", json!(["1970-01-02T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z"])),
            ("counts", json!([["é", 3], ["b", 2]])),
        ];
        // Rows are visible a moment after their events are answered.
        let question = json!({"entity_id": "u", "feature": "counts", "as_of": END});
        let found = until(async || {
            let found = explain(via, question.clone()).await.unwrap();
            if found["status"] == "PRESENT" { Ok(found) } else { Err(found.to_string()) }
        })
        .await;
        assert_eq!((&found["value"], &found["window"]["function"]), (&expected[4].1, &json!("topk")));
        assert_eq!(found["window"]["events_counted"], 6);

        let names = expected.each_ref().map(|(name, _)| *name);
        let cells = Ask::new(&names, &["u"]).as_of(END).cells(app).await;
        for ((name, value), cell) in expected.iter().zip(&cells[0]) {
            assert_eq!((&cell.value, &*cell.status), (value, "PRESENT"), "{name} online");
        }
        // Columns hold json as its text.
        let spine = [json!({"entity_id": "u", "timestamp": END})];
        let row = &ask_all(app, &json!({"features": names[..4], "details": true}), &spine).await[0];
        let lines = ask(app, app.key(), Way::Lines, &json!({"features": names}), &spine).await.unwrap();
        for (name, value) in &expected {
            assert_eq!(&lines.rows[0][*name], value, "{name} in a training set");
            assert!(*name == "counts" || row[*name] == *value, "{name} in {row:?}");
        }
        let units = [3, 7, -1, i64::MAX].map(Some).to_vec();
        let expected: Vec<Moment> =
            vec![(600.0, Ok(Some(Value::List(List::Int64(units))))), (900.0, Ok(None))];
        assert_eq!(via.history("units", &[("entity_id", "u")]).await.unwrap().0, expected);
    })
    .await;
}
