//! Which value a cell gets, and what becomes of the rows.

use super::ways::{ask, ask_all};
use crate::promises::historical::ways::Way;
use crate::support::TestApp;
use larder::{access::Scope, feature::Timestamp};
use serde_json::{Value, json};

/// Seconds after a morning in January 2024, as RFC 3339.
pub fn at(seconds: f64) -> String {
    const MORNING: i64 = 1_705_305_600_000_000;
    Timestamp::from_stored(MORNING + (seconds * 1e6).round() as i64).to_string()
}

/// A user's country and city in one group, a score of its own with a ttl and a default, a merchant's rating, and what a
/// user spent at a merchant.
pub async fn world(app: &TestApp) {
    let features = json!({
        "entity_types": [{"name": "user_merchant", "keys": ["user", "merchant"]}],
        "features": [
            {"name": "country", "entity_type": "user", "dtype": "string", "group": "profile"},
            {"name": "city", "entity_type": "user", "dtype": "string", "group": "profile"},
            {"name": "score", "entity_type": "user", "dtype": "float64", "ttl": "1m", "default": -1.0},
            {"name": "rating", "entity_type": "merchant", "dtype": "int64"},
            {"name": "spent", "entity_type": "user_merchant", "dtype": "float64"},
        ],
    });
    app.rest().post("/api/v1/features/register", &features).await.json(200);
    for (seconds, country, city) in [(0.0, json!("GB"), json!("London")), (100.0, json!("FR"), json!(null))] {
        write(app, json!({"entity_type": "user", "entity_id": "u1", "event_timestamp": at(seconds), "values": {"country": country, "city": city}})).await;
    }
    for (seconds, score) in [(0.0, 0.5), (30.0, 0.75)] {
        write(app, json!({"entity_type": "user", "entity_id": "u1", "event_timestamp": at(seconds), "values": {"score": score}})).await;
    }
    write(app, json!({"entity_type": "merchant", "entity_id": "m:7", "event_timestamp": at(50.0), "values": {"rating": 4}})).await;
    write(app, json!({"entity_type": "user_merchant", "entities": {"user": "u1", "merchant": "m:7"}, "event_timestamp": at(60.0), "values": {"spent": 9.75}})).await;
}

pub async fn write(app: &TestApp, row: Value) {
    app.rest().post("/api/v1/features/write", &json!({"rows": [row]})).await.json(200);
}

pub fn user(seconds: f64) -> Value {
    json!({"entity_id": "u1", "timestamp": at(seconds)})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_sees_what_was_true_at_its_moment() {
    let app = TestApp::start().await;
    world(&app).await;
    let request = json!({"features": ["country", "city"], "details": true});
    let spine = [user(-0.000_001), user(0.0), user(99.999_999), user(100.0), user(1e6)];
    let rows = ask_all(&app, &request, &spine).await;
    let countries: Vec<&Value> = rows.iter().map(|row| &row["country"]).collect();
    assert_eq!(countries, [&json!(null), &json!("GB"), &json!("GB"), &json!("FR"), &json!("FR")]);
    let statuses: Vec<&Value> = rows.iter().map(|row| &row["city__status"]).collect();
    assert_eq!(statuses, ["NOT_FOUND", "PRESENT", "PRESENT", "NULL_VALUE", "NULL_VALUE"]);
    assert_eq!(rows[2]["country__event_timestamp"], at(0.0));
    assert_eq!(rows[3]["city__event_timestamp"], at(100.0));
    assert_eq!(rows[0]["city__event_timestamp"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_comes_back_once_in_order_with_its_columns() {
    let app = TestApp::start().await;
    world(&app).await;
    let ids = ["u1", "nobody", "ü🙂:%{}*"];
    let label = |row: usize| match row % 3 {
        0 => json!(null),
        _ => json!(row),
    };
    let spine: Vec<Value> = (0..700usize)
        .map(|row| {
            json!({"entity_id": ids[row * 7 % 3], "timestamp": at((row * 31 % 150) as f64),
                   "label": label(row), "note": format!("n\"{row}"), "share": row as f64 / 3.0, "seen": row % 2 == 0})
        })
        .chain([user(5.0), user(5.0), user(5.0)])
        .collect();
    let rows = ask_all(&app, &json!({"features": ["country", "score"], "details": true}), &spine).await;
    assert_eq!(rows.len(), spine.len());
    for (row, asked) in rows.iter().zip(&spine) {
        for (name, value) in asked.as_object().unwrap() {
            assert_eq!(row.get(name).unwrap_or(&Value::Null), value, "{name}");
        }
    }
    assert_eq!(rows[700], rows[702]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_age_by_their_ttl_and_the_requests_max_age() {
    let app = TestApp::start().await;
    world(&app).await;
    let spine = [user(-1.0), user(29.0), user(89.999_999), user(90.0), user(1_000.0)];
    let of = async |request: Value| {
        let rows = ask_all(&app, &request, &spine).await;
        let cell = |row: &serde_json::Map<String, Value>| {
            (row["score"].clone(), row["score__status"].as_str().unwrap().to_owned())
        };
        rows.iter().map(cell).collect::<Vec<_>>()
    };
    let cells = |cells: [(Value, &str); 5]| cells.map(|(value, status)| (value, status.to_owned())).to_vec();
    let stale = || (json!(null), "OUTSIDE_MAX_AGE");
    assert_eq!(
        of(json!({"features": ["score"], "details": true})).await,
        cells([
            (json!(null), "NOT_FOUND"),
            (json!(0.5), "PRESENT"),
            (json!(0.75), "PRESENT"),
            stale(),
            stale()
        ])
    );
    assert_eq!(
        of(json!({"features": ["score"], "details": true, "max_age": "29s"})).await,
        cells([(json!(null), "NOT_FOUND"), stale(), stale(), stale(), stale()])
    );
    let default = json!(-1.0);
    assert_eq!(
        of(json!({"features": ["score"], "details": true, "use_defaults": true})).await,
        cells([
            (default.clone(), "NOT_FOUND"),
            (json!(0.5), "PRESENT"),
            (json!(0.75), "PRESENT"),
            (default.clone(), "OUTSIDE_MAX_AGE"),
            (default, "OUTSIDE_MAX_AGE")
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_name_several_entities_under_names_of_their_own() {
    let app = TestApp::start().await;
    world(&app).await;
    let features = json!(["rating", "profile.country", "spent@1"]);
    let spine = [
        json!({"user": "u1", "merchant": "m:7", "timestamp": at(60.0)}),
        json!({"user": "m:7", "merchant": "u1", "timestamp": at(60.0)}),
        json!({"user": "u1", "merchant": "m:7", "timestamp": at(59.0)}),
    ];
    let rows = ask_all(&app, &json!({"features": features, "details": true}), &spine).await;
    let found: Vec<[&Value; 3]> =
        rows.iter().map(|row| [&row["rating"], &row["profile.country"], &row["spent@1"]]).collect();
    let null = json!(null);
    assert_eq!(
        found,
        [[&json!(4), &json!("GB"), &json!(9.75)], [&null, &null, &null], [&json!(4), &json!("GB"), &null]]
    );

    let columns = json!({"user": "customer_id", "merchant": "shop", "timestamp": "bought_at"});
    let spine = [json!({"customer_id": "u1", "shop": "m:7", "bought_at": at(60.0), "label": true})];
    let rows =
        ask_all(&app, &json!({"features": features, "details": true, "columns": columns}), &spine).await;
    assert_eq!(rows[0]["spent@1"], 9.75);
    assert_eq!(rows[0]["label"], true);
    assert_eq!(rows[0]["bought_at"], at(60.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_set_stands_for_its_features() {
    let app = TestApp::start().await;
    world(&app).await;
    let set = json!({"features": ["country", "score"]});
    app.rest().put("/api/v1/feature-sets/fraud", &set).await.json(200);
    for name in ["fraud", "fraud@1"] {
        let rows = ask_all(&app, &json!({"feature_set": name, "details": true}), &[user(40.0)]).await;
        assert_eq!((&rows[0]["country"], &rows[0]["score"]), (&json!("GB"), &json!(0.75)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integer_stands_for_its_decimal_text() {
    let app = TestApp::start().await;
    world(&app).await;
    write(
        &app,
        json!({"entity_type": "user", "entity_id": 42, "event_timestamp": at(0.0), "values": {"score": 4.5}}),
    )
    .await;
    for way in [Way::Json, Way::Lines, Way::Arrow, Way::ArrowToLines, Way::JsonToParquet, Way::GrpcArrow] {
        let spine = [json!({"entity_id": 42, "event_timestamp": at(1.0)})];
        let got = ask(&app, app.key(), way, &json!({"features": ["score"]}), &spine).await.unwrap();
        assert_eq!(got.rows[0]["score"], 4.5, "{way:?}");
        assert_eq!(got.rows[0]["entity_id"], 42, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_spine_is_an_empty_training_set() {
    let app = TestApp::start().await;
    world(&app).await;
    assert!(ask_all(&app, &json!({"features": ["country", "score"], "details": true}), &[]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_see_each_other() {
    let app = TestApp::start().await;
    world(&app).await;
    let other = app.key_of("other", &Scope::ALL).await;
    let request = json!({"features": ["country"], "details": true});
    for way in super::ways::WAYS {
        let refused = ask(&app, &other, way, &request, &[user(1.0)]).await.unwrap_err();
        assert_eq!(
            (refused.slug.as_str(), refused.field.as_deref()),
            ("not-found", Some("features[0]")),
            "{way:?}"
        );
    }
    let feature = json!({"features": [{"name": "country", "entity_type": "user", "dtype": "string"}]});
    app.rest_with(Some(&other)).post("/api/v1/features/register", &feature).await.json(200);
    let writer = app.key_of("other", &[Scope::Write]).await;
    for way in super::ways::WAYS {
        let got = ask(&app, &other, way, &request, &[user(1.0)]).await.unwrap();
        assert_eq!(got.rows[0]["country__status"], "NOT_FOUND", "{way:?}");
        let refused = ask(&app, &writer, way, &request, &[user(1.0)]).await.unwrap_err();
        assert_eq!(refused.slug, "permission-denied", "{way:?}");
    }
}
