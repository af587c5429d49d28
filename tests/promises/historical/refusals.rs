//! What bad input gets, and where it is said to be bad.

use super::{
    convert::percent,
    rules::{at, user, world},
    ways::{Way, ask, refuse_all},
};
use crate::support::{TestApp, send};
use larder::clock::Clock;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_fails_the_call_and_is_named() {
    let app = TestApp::start().await;
    world(&app).await;
    let ahead = Clock::system().now().saturating_add(360_000_000).to_string();
    let request = json!({"features": ["country"]});
    for (bad, column) in [
        (json!({"entity_id": "", "timestamp": at(0.0)}), "entity_id"),
        (json!({"entity_id": "x".repeat(257), "timestamp": at(0.0)}), "entity_id"),
        (json!({"entity_id": "a\u{7}b", "timestamp": at(0.0)}), "entity_id"),
        (json!({"entity_id": null, "timestamp": at(0.0)}), "entity_id"),
        (json!({"entity_id": "u1", "timestamp": ahead}), "timestamp"),
        (json!({"entity_id": "u1", "timestamp": null}), "timestamp"),
    ] {
        let mut spine: Vec<Value> = (0..150).map(f64::from).map(user).collect();
        spine[137] = bad;
        refuse_all(&app, &request, &spine, "invalid-argument", &format!("spine[137].{column}")).await;
    }
    for text in ["2024-01-15T14:22:00", "2024-01-15", "1705328520000"] {
        for way in [Way::Json, Way::Lines, Way::Arrow] {
            let spine = [json!({"entity_id": "u1", "timestamp": text})];
            let refused = ask(&app, app.key(), way, &request, &spine).await.unwrap_err();
            assert_eq!(refused.field.as_deref(), Some("spine[0].timestamp"), "{way:?} {text}");
        }
    }
}

/// What was there then is no longer known: "not found" would be a guess.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_before_what_is_kept_fails_the_call_and_is_named() {
    let app =
        TestApp::start_with(|config| config.store.retention = Some("90d".to_owned().try_into().unwrap()))
            .await;
    let feature = json!({"name": "country", "entity_type": "user", "dtype": "string"});
    app.rest().post("/api/v1/features/register", &json!({"features": [feature]})).await.json(200);
    let ago = |days: i64| {
        let moment = Clock::system().now().saturating_add(-days * 86_400_000_000);
        json!({"entity_id": "u1", "timestamp": moment.to_string()})
    };
    for known_at in [json!({}), json!({"known_at": "row"})] {
        let mut request = json!({"features": ["country"]});
        request.as_object_mut().unwrap().extend(known_at.as_object().unwrap().clone());
        let mut spine: Vec<Value> = (0..150).map(|_| ago(89)).collect();
        for way in super::ways::WAYS {
            ask(&app, app.key(), way, &request, &spine).await.unwrap();
        }
        spine[137] = ago(91);
        refuse_all(&app, &request, &spine, "invalid-argument", "spine[137].timestamp").await;
        let refused = ask(&app, app.key(), Way::Json, &request, &spine).await.unwrap_err();
        assert!(refused.detail.contains("store.retention"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_says_its_entity_twice_is_refused() {
    let app = TestApp::start().await;
    world(&app).await;
    let request = json!({"features": ["country"]});
    let twice = json!({"entity_id": "u1", "user": "u2", "timestamp": at(0.0)});
    for way in super::ways::WAYS {
        for spine in [vec![twice.clone()], vec![user(0.0), twice.clone()]] {
            let refused = ask(&app, app.key(), way, &request, &spine).await.unwrap_err();
            assert_eq!(refused.slug, "invalid-argument", "{way:?}");
        }
        let chosen = json!({"features": ["country"], "columns": {"user": "user"}});
        ask(&app, app.key(), way, &chosen, std::slice::from_ref(&twice)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_would_stand_twice_is_refused() {
    let app = TestApp::start().await;
    world(&app).await;
    for name in ["country", "country__status", "country__event_timestamp"] {
        for way in super::ways::WAYS {
            let mut row = user(0.0);
            row[name] = "GB".into();
            let refused =
                ask(&app, app.key(), way, &json!({"features": ["country"]}), &[row]).await.unwrap_err();
            assert_eq!(refused.slug, "invalid-argument", "{way:?}");
            assert!(refused.field.unwrap().ends_with(&format!(".{name}")), "{way:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_say_too_little_or_too_much() {
    let app = TestApp::start().await;
    world(&app).await;
    for (request, slug, field) in [
        (json!({}), "invalid-argument", "features"),
        (json!({"features": []}), "invalid-argument", "features"),
        (json!({"features": ["country", "nothing"]}), "not-found", "features[1]"),
        (json!({"features": ["country", "profile.country@1"]}), "invalid-argument", "features[1]"),
        (json!({"features": ["country"], "feature_set": "fraud"}), "invalid-argument", "feature_set"),
        (json!({"feature_set": "fraud"}), "not-found", "feature_set"),
        (json!({"features": ["country"], "columns": {"shop": "x"}}), "invalid-argument", "columns.shop"),
    ] {
        refuse_all(&app, &request, &[user(0.0)], slug, field).await;
    }
    let request = json!({"features": ["country"], "columns": {"user": "customer"}});
    for way in [Way::Json, Way::Lines, Way::Arrow, Way::GrpcArrow] {
        let refused = ask(&app, app.key(), way, &request, &[user(0.0)]).await.unwrap_err();
        assert!(refused.field.unwrap().ends_with("customer"), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_training_set() {
    let app = TestApp::start().await;
    world(&app).await;
    let rest = app.rest();
    let path = "/api/v1/features/batch";
    let spine = json!([user(0.0)]);
    for (body, field) in [
        (json!({"features": ["country"]}), "spine"),
        (json!({"features": ["country"], "spine": {}}), "spine"),
        (json!({"features": ["country"], "spine": [1]}), "spine[0]"),
        (json!({"features": ["country"], "spine": spine, "known_at": "2024-01-15"}), "known_at"),
        (json!({"features": ["country"], "spine": spine, "max_age": "-1s"}), "max_age"),
        (json!({"features": ["country"], "spine": spine, "sppine": []}), "sppine"),
        (json!({"features": "country", "spine": spine}), "features"),
    ] {
        assert_eq!(rest.post(path, &body).await.problem(400).0.as_deref(), Some(field), "{body}");
    }
    for text in [
        "{\"features\":[\"country\"],\"spine\":[{\"entity_id\":\"u1\",\"entity_id\":\"u2\",\"timestamp\":\"2024-01-15T14:22:00Z\"}]}",
        "{",
        "[]",
        "",
    ] {
        rest.post_text(path, "application/json", text).await.problem(400);
    }
    rest.post_text(path, "text/csv", "a,b").await.problem(415);
    let unknown = rest.request(reqwest::Method::POST, path).header("accept", "text/csv").json(&json!({}));
    send(unknown).await.problem(406);
    let arrow = "application/vnd.apache.arrow.stream";
    rest.post_text(path, arrow, "x").await.problem(400);
    let request = format!("{path}?request={}", percent(&json!({"features": ["country"]}).to_string()));
    for body in ["", "x", "ARROW1", "\u{0}\u{0}\u{0}\u{0}"] {
        assert_eq!(
            rest.post_text(&request, arrow, body).await.problem(400).0.as_deref(),
            Some("spine"),
            "{body:?}"
        );
    }
    let lines = format!("{}\n{}", json!({"features": ["country"]}), "x".repeat((1 << 20) + 1));
    rest.post_text(path, "application/x-ndjson", lines).await.problem(413);
}
