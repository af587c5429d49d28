//! Which features: references, sets, duplicates, the schema that a caller holds.

use super::{
    NOW,
    ask::{Ask, Ways, from_packed, not_found, present},
    register, server, write,
};
use crate::support::TestApp;
use serde_json::json;

async fn profile() -> TestApp {
    let app = server().await;
    let features = json!([
        {"name": "country", "entity_type": "user", "dtype": "string", "group": "profile"},
        {"name": "tier", "entity_type": "user", "dtype": "int64", "group": "profile"},
        {"name": "score", "entity_type": "user", "dtype": "float64"},
    ]);
    register(&app, features).await;
    write(&app, "u", NOW, json!({"country": "GB", "tier": 2, "score": 0.25})).await;
    app
}

#[tokio::test]
async fn answers_carry_the_names_as_asked_in_the_order_asked() {
    let app = profile().await;
    let names = ["score", "profile.tier", "country@1"];
    let cells = Ask::new(&names, &["u"]).cells(&app).await;
    assert_eq!(cells, [[present(0.25, NOW), present(2, NOW), present("GB", NOW)]]);

    let answer =
        app.grpc().await.get_online_features(Ask::new(&names, &["u"]).message()).await.unwrap().into_inner();
    let features = answer.schema.unwrap().features;
    let named: Vec<_> =
        features.iter().map(|feature| (feature.name.as_str(), feature.r#ref.as_str())).collect();
    let expected =
        [("score", "score@1"), ("profile.tier", "profile.tier@1"), ("country@1", "profile.country@1")];
    assert_eq!(named, expected);
    let body = json!({"features": names, "entity_ids": ["u"]});
    let answer = app.rest().post("/api/v1/features/online", &body).await.json(200);
    assert_eq!(answer["features"]["country@1"], json!({"ref": "profile.country@1", "dtype": "string"}));
}

#[tokio::test]
async fn what_is_asked_must_be_there_and_only_once() {
    let app = profile().await;
    for (features, status, field) in [
        (&[][..], 400, "features"),
        (&["country", "nonsense"], 404, "features[1]"),
        (&["country", "profile.nonsense"], 404, "features[1]"),
        (&["country@2"], 404, "features[0]"),
        (&["Country"], 404, "features[0]"),
        (&[""], 404, "features[0]"),
        (&["country", "country"], 400, "features[1]"),
        (&["country", "tier", "profile.country@1"], 400, "features[2]"),
    ] {
        let refused = Ask::new(features, &["u"]).refused(&app).await;
        assert_eq!((refused.status, refused.field.as_deref()), (status, Some(field)), "{features:?}");
    }
    let refused = Ask::of_set("nothing", &["u"]).refused(&app).await;
    assert_eq!((refused.status, refused.field.as_deref()), (404, Some("feature_set")));
    let mut both = Ask::of_set("nothing", &["u"]);
    both.features = vec!["country".into()];
    assert_eq!(both.refused(&app).await.field.as_deref(), Some("feature_set"));
}

#[tokio::test]
async fn a_set_answers_with_the_names_it_was_put_with() {
    let app = profile().await;
    let put = async |features: serde_json::Value| {
        app.rest().put("/api/v1/feature-sets/fraud", &json!({"features": features})).await.json(200);
    };
    put(json!(["profile.country", "score"])).await;
    put(json!(["score"])).await;
    for (set, cells, names) in [
        ("fraud", vec![present(0.25, NOW)], vec!["score"]),
        ("fraud@1", vec![present("GB", NOW), present(0.25, NOW)], vec!["profile.country", "score"]),
    ] {
        let ask = Ask::of_set(set, &["u"]);
        // JSON objects are read in the order of their keys, which here is that of the set.
        assert_eq!(ask.clone().cells(&app).await, [cells]);
        let answer = app.grpc().await.get_online_features(ask.message()).await.unwrap().into_inner();
        let schema = answer.schema.unwrap();
        assert_eq!(schema.features.iter().map(|feature| feature.name.as_str()).collect::<Vec<_>>(), names);
        assert_eq!(schema.feature_set, if set == "fraud" { "fraud@2" } else { "fraud@1" });
    }
}

#[tokio::test]
async fn a_caller_that_holds_the_schema_does_not_get_it_again() {
    let app = profile().await;
    let mut grpc = app.grpc().await;
    let ask = Ask::new(&["country", "tier"], &["u"]);
    let first = grpc.get_online_features(ask.message()).await.unwrap().into_inner();
    assert!(first.schema.is_some() && first.schema_id != 0);
    let mut message = ask.message();
    message.schema_id = first.schema_id;
    let second = grpc.get_online_features(message.clone()).await.unwrap().into_inner();
    assert_eq!((second.schema_id, second.schema), (first.schema_id, None));
    assert_eq!(second.rows, first.rows);
    // Another list has another schema, and so has another order.
    for features in [&["tier", "country"][..], &["country"], &["country", "profile.tier"]] {
        message.features = features.iter().map(|name| (*name).to_owned()).collect();
        let other = grpc.get_online_features(message.clone()).await.unwrap().into_inner();
        assert!(other.schema.is_some(), "{features:?}");
        assert_ne!(other.schema_id, first.schema_id);
    }
    let mut body = ask.json();
    body["schema_id"] = first.schema_id.to_string().into();
    let packed = from_packed(&app.rest().post("/api/v1/features/online:packed", &body).await.json(200));
    assert_eq!((packed.schema, &packed.rows), (None, &first.rows));
}

#[tokio::test]
async fn a_feature_added_later_is_not_found_in_older_rows() {
    let app = profile().await;
    let added = json!([{"name": "city", "entity_type": "user", "dtype": "string", "group": "profile", "default": "?"}]);
    register(&app, added).await;
    let ask = Ask::new(&["country", "city"], &["u"]);
    assert_eq!(ask.clone().cells(&app).await, [[present("GB", NOW), not_found()]]);
    let filled = ask.clone().use_defaults().cells(&app).await;
    assert_eq!((filled[0][1].value.as_str(), filled[0][1].status.as_str()), (Some("?"), "NOT_FOUND"));
    write(&app, "v", NOW, json!({"country": "FR", "tier": 1})).await;
    write(&app, "w", NOW, json!({"country": "FR", "tier": 1, "city": "Lyon"})).await;
    let cells = Ask::new(&["country", "city"], &["v", "w"]).cells(&app).await;
    assert_eq!(cells, [[present("FR", NOW), not_found()], [present("FR", NOW), present("Lyon", NOW)]]);
}

#[tokio::test]
async fn unknown_fields_and_methods_are_refused() {
    let app = profile().await;
    let body = json!({"features": ["country"], "entity_ids": ["u"], "entity": "u"});
    for path in ["/api/v1/features/online", "/api/v1/features/online:packed"] {
        assert_eq!(app.rest().post(path, &body).await.status, 400, "{path}");
        assert_eq!(app.rest().get(path).await.status, 405, "{path}");
        for text in ["", "{", "[]", "null", "{} {}", r#"{"features":["country"],"features":["tier"]}"#] {
            let answer = app.rest().post_text(path, "application/json", text).await;
            assert_eq!(answer.status, 400, "{path} {text:?}");
        }
        let deep = format!("{{\"features\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(app.rest().post_text(path, "application/json", deep).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn request_ids_come_back_in_the_answer() {
    let app = profile().await;
    let body = Ask::new(&["country"], &["u"]).json();
    let request = app.rest().request(reqwest::Method::POST, "/api/v1/features/online");
    let answer = crate::support::send(request.header("x-request-id", "mine-1").json(&body)).await;
    assert_eq!(answer.headers["x-request-id"], "mine-1");
    assert_eq!(answer.json(200)["request_id"], "mine-1");
    let mut ways = Ways::to(&app).await;
    let answer = ways.grpc.get_online_features(Ask::new(&["country"], &["u"]).message()).await.unwrap();
    let id = answer.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    assert_eq!(answer.into_inner().request_id, id);
}
