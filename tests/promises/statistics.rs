//! How values are spread: hours, corrections, bounds, refusals.

use super::{
    looks::statistics,
    records::{Row, at, int, string},
    via::{each, expect, with_key},
};
use larder::{access::Scope, feature::Value};
use serde_json::{Value as Json, json};

#[tokio::test]
async fn hours_hold_the_newest_row_of_each_moment() {
    each(async |_, via| {
        let features = json!([
            {"name": "n", "entity_type": "user", "dtype": "int64", "group": "g"},
            {"name": "word", "entity_type": "user", "dtype": "string", "group": "g"},
        ]);
        via.register(json!({"features": features})).await.unwrap();
        let hour = 3_600.0;
        for (user, moment, n) in [
            ("a", 0.0, int(1)),
            ("a", 10.0, int(100)), // corrected below
            ("b", hour - 1.0, int(7)),
            ("a", hour, None),
            ("b", hour + 2.5, int(-2)),
            ("a", 10.0, int(4)),
            ("c", 3.0 * hour, int(9)), // at the end, which is exclusive
        ] {
            via.write(&[Row::new(user, moment, &[("n", n), ("word", string("x"))])]).await.unwrap();
        }
        let span = [("from", "1970-01-01T00:00:00Z"), ("to", "1970-01-01T03:00:00Z")];
        let part = |rows: u64, nulls: u64, entities: u64, numbers: [f64; 3], newest: &str| {
            let [min, max, mean] = numbers;
            json!({"rows": rows, "nulls": nulls, "distinct_entities": entities, "min": min, "max": max, "mean": mean,
                   "newest_event_timestamp": newest})
        };
        let of_hour = |hour: &str, mut part: Json| {
            part["hour"] = hour.into();
            part
        };
        let second = "1970-01-01T01:00:02.500Z";
        let expected = json!({
            "feature": "g.n@1", "dtype": "int64",
            "from": "1970-01-01T00:00:00Z", "to": "1970-01-01T03:00:00Z",
            "total": part(5, 1, 2, [-2.0, 7.0, 2.5], second),
            "hours": [
                of_hour("1970-01-01T00:00:00Z", part(3, 0, 2, [1.0, 7.0, 4.0], "1970-01-01T00:59:59Z")),
                of_hour("1970-01-01T01:00:00Z", part(2, 1, 2, [-2.0, -2.0, -2.0], second)),
            ],
        });
        assert_eq!(statistics(via, "n", &span).await.unwrap(), expected);
        let words = statistics(via, "word", &span).await.unwrap();
        assert_eq!((&words["total"]["rows"], &words["total"]["min"]), (&json!(5), &Json::Null));
        // A row older than the feature is no row of it.
        let later = json!([{"name": "late", "entity_type": "user", "dtype": "float64", "group": "g"}]);
        via.register(json!({"features": later})).await.unwrap();
        let none = statistics(via, "late", &span).await.unwrap();
        assert_eq!((&none["total"]["rows"], &none["hours"]), (&json!(0), &json!([])));
        assert_eq!(none["total"]["newest_event_timestamp"], Json::Null);
    })
    .await;
}

#[tokio::test]
async fn the_last_day_is_asked_for_unless_the_request_says_more() {
    each(async |app, via| {
        via.register(json!({"features": [{"name": "f", "entity_type": "user", "dtype": "float64"}]}))
            .await
            .unwrap();
        let now = app.app().service().clock.now().micros() as f64 / 1e6;
        let row = |back: f64, value: f64| {
            let mut row = Row::new("u", 0.0, &[("f", Some(Value::Float64(value)))]);
            row.event_timestamp = Some(at(now - back));
            row
        };
        via.write(&[row(1.0, 1.5), row(23.0 * 3_600.0, 2.5), row(25.0 * 3_600.0, 99.0)]).await.unwrap();
        let found = statistics(via, "f", &[]).await.unwrap();
        assert_eq!((&found["total"]["rows"], &found["total"]["mean"]), (&json!(2), &json!(2.0)));
    })
    .await;
}

#[tokio::test]
async fn bad_questions_name_their_field() {
    each(async |app, via| {
        via.register(json!({"features": [{"name": "n", "entity_type": "user", "dtype": "int64"}]}))
            .await
            .unwrap();
        let (one, two) = ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z");
        expect(statistics(via, "n", &[("from", two), ("to", one)]).await, "invalid-argument", "from");
        expect(statistics(via, "n", &[("from", one), ("to", one)]).await, "invalid-argument", "from");
        // 10 000 hours are 416 days and 16 hours.
        let whole = [("from", "1970-01-01T00:00:00Z"), ("to", "1971-02-21T16:00:00Z")];
        assert!(statistics(via, "n", &whole).await.is_ok());
        let more = [whole[0], ("to", "1971-02-21T16:00:00.000001Z")];
        expect(statistics(via, "n", &more).await, "invalid-argument", "from");
        expect(statistics(via, "nope", &[]).await, "not-found", "feature");
        let mut writer = with_key(via, app, &app.key_of("default", &[Scope::Write]).await).await;
        expect(statistics(&mut writer, "n", &[]).await, "permission-denied", "");
        let mut stranger = with_key(via, app, &app.key_of("other", &Scope::ALL).await).await;
        expect(statistics(&mut stranger, "n", &[]).await, "not-found", "feature");
    })
    .await;
}
