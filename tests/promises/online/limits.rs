//! Bounds, each at its value and one past it.

use super::{
    NOW,
    ask::{Ask, not_found},
    register, server, server_with, write_rows,
};
use crate::support::TestApp;
use larder::config::Config;
use serde_json::{Value, json};
use tonic::Code;

async fn with_features(count: usize, change: impl FnOnce(&mut Config)) -> (TestApp, Vec<String>) {
    let app = server_with(change).await;
    let names: Vec<String> = (0..count).map(|n| format!("f{n}")).collect();
    let features: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "entity_type": "user", "dtype": "string", "group": "g"}))
        .collect();
    register(&app, features.into()).await;
    (app, names)
}

fn ask(names: &[String], entities: usize) -> Ask {
    let ids: Vec<String> = (0..entities).map(|n| format!("u{n}")).collect();
    Ask { features: names.to_vec(), entity_ids: ids, ..Ask::default() }
}

#[tokio::test]
async fn a_thousand_entities_and_no_more() {
    let (app, names) = with_features(1, |_| ()).await;
    assert_eq!(ask(&names, 1_000).cells(&app).await, vec![[not_found()]; 1_000]);
    let refused = ask(&names, 1_001).refused(&app).await;
    assert_eq!((refused.status, refused.field.as_deref()), (400, Some("entity_ids")));
    assert!(refused.message.contains("1000"), "{}", refused.message);
}

#[tokio::test]
async fn features_and_cells_at_their_bounds() {
    let (app, names) = with_features(4, |config| {
        config.limits.features_max = 3;
        config.limits.cells_max = 6;
    })
    .await;
    assert_eq!(ask(&names[..3], 2).cells(&app).await, vec![vec![not_found(); 3]; 2]);
    let refused = ask(&names, 1).refused(&app).await;
    assert_eq!((refused.status, refused.field.as_deref()), (400, Some("features")));
    let refused = ask(&names[..3], 3).refused(&app).await;
    assert_eq!((refused.status, refused.field.as_deref()), (400, Some("entity_ids")));
    assert!(refused.message.contains("2 entities fit"), "{}", refused.message);
}

#[tokio::test]
async fn a_limit_of_nothing_lets_nothing_pass() {
    let (app, names) = with_features(1, |config| config.limits.entities_max = 0).await;
    assert_eq!(ask(&names, 1).refused(&app).await.status, 400);
}

/// Replies are bounded by their own length, so each way has its own bound.
#[tokio::test]
async fn a_reply_over_its_bound_says_how_many_entities_fit() {
    let (app, names) = with_features(1, |config| config.limits.reply_bytes_max = 100_000).await;
    let rows: Vec<Value> = (0..10)
        .map(|n| {
            json!({"entity_type": "user", "entity_id": format!("u{n}"), "event_timestamp": NOW,
                "values": {"f0": "x".repeat(20_000)}})
        })
        .collect();
    write_rows(&app, rows.into()).await;
    let fits = |message: &str| message.contains(" 4 ") && message.contains("entities fit");

    let mut grpc = app.grpc().await;
    assert_eq!(grpc.get_online_features(ask(&names, 4).message()).await.unwrap().into_inner().rows.len(), 4);
    let status = grpc.get_online_features(ask(&names, 5).message()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(fits(status.message()), "{status}");
    for path in ["/api/v1/features/online", "/api/v1/features/online:packed"] {
        let body = |entities| ask(&names, entities).json();
        app.rest().post(path, &body(4)).await.json(200);
        let (_, detail) = app.rest().post(path, &body(5)).await.problem(413);
        assert!(fits(&detail), "{path}: {detail}");
    }
}

#[tokio::test]
async fn a_body_over_its_bound_is_refused() {
    let app = server().await;
    let ids: Vec<String> = (0..5_000).map(|_| "x".repeat(256)).collect();
    let body = json!({"features": ["f"], "entity_ids": ids});
    assert_eq!(app.rest().post("/api/v1/features/online", &body).await.status, 413);
}
