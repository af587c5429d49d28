//! P3: a training set uses nothing learned later, and repeats byte for byte.

use super::{
    rules::{at, user, world, write},
    ways::{WAYS, ask, ask_all},
};
use crate::support::TestApp;
use larder::{
    clock::Clock,
    feature::{Round, Timestamp},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn corrections_appear_only_without_known_at_and_bytes_repeat() {
    let app = TestApp::start().await;
    world(&app).await;
    let spine: Vec<Value> = (0..1_000).map(|row| user(f64::from(row % 200))).collect();
    let request = json!({"features": ["country", "score"], "details": true});
    let mut first = Vec::new();
    let settled_at = ask(&app, app.key(), WAYS[0], &request, &spine).await.unwrap().settled_at;
    let mut known = request.clone();
    known["known_at"] = settled_at.as_str().into();
    for way in WAYS {
        let free = ask(&app, app.key(), way, &request, &spine).await.unwrap();
        assert!(free.repeatable, "{way:?}");
        let got = ask(&app, app.key(), way, &known, &spine).await.unwrap();
        assert!(got.repeatable && got.settled_at == settled_at, "{way:?}");
        assert_eq!(got.rows, free.rows, "{way:?}");
        first.push(got);
    }
    let correction = json!({"entity_type": "user", "entity_id": "u1", "event_timestamp": at(0.0), "values": {"country": "IE", "city": "Cork"}});
    write(&app, correction).await;
    for (way, first) in WAYS.into_iter().zip(&first) {
        let again = ask(&app, app.key(), way, &known, &spine).await.unwrap();
        assert!(again.bytes == first.bytes || way.follows_pauses(), "{way:?} repeats its bytes");
        assert_eq!(again.rows, first.rows, "{way:?}");
        assert_eq!(again.spine_hash, first.spine_hash, "{way:?}");
        let free = ask(&app, app.key(), way, &request, &spine).await.unwrap();
        assert_eq!(free.rows[0]["country"], "IE", "{way:?}");
        assert_ne!(free.rows, first.rows, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_may_know_only_what_was_known_at_its_own_moment() {
    let app = TestApp::start().await;
    world(&app).await;
    let now = Clock::system().now();
    let request = json!({"features": ["country"], "known_at": "row", "details": true});
    let spine = [user(1.0), json!({"entity_id": "u1", "timestamp": now.to_string()})];
    let rows = ask_all(&app, &request, &spine).await;
    let statuses: Vec<&Value> = rows.iter().map(|row| &row["country__status"]).collect();
    assert_eq!(statuses, ["NOT_FOUND", "PRESENT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_settled_is_waited_for_and_then_refused() {
    let app = TestApp::start().await;
    world(&app).await;
    for way in WAYS {
        let soon = Clock::system().now().saturating_add(300_000).to_string();
        let request = json!({"features": ["country"], "known_at": soon});
        let got = ask(&app, app.key(), way, &request, &[user(1.0)]).await.unwrap();
        assert_eq!(got.settled_at, soon, "{way:?}");
        assert!(
            Clock::system().now() >= Timestamp::parse(&soon, Round::Down).unwrap(),
            "{way:?} waited for it"
        );

        let request = json!({"features": ["country"], "known_at": "row"});
        let soon = Clock::system().now().saturating_add(300_000).to_string();
        let row = json!({"entity_id": "u1", "timestamp": soon});
        let got = ask(&app, app.key(), way, &request, &[user(1.0), row]).await.unwrap();
        assert_eq!(got.rows[1]["country"], "FR", "{way:?}");
    }
    // Still ahead when all of these have been refused, and no further than a moment may be.
    let moment = Clock::system().now().saturating_add(240_000_000);
    let late = moment.to_string();
    for way in [WAYS[0], WAYS[7], WAYS[8]] {
        let started = Instant::now();
        let request = json!({"features": ["country"], "known_at": late});
        let refused = ask(&app, app.key(), way, &request, &[user(1.0)]).await.unwrap_err();
        assert_eq!((refused.slug.as_str(), refused.field.as_deref()), ("invalid-argument", Some("known_at")));
        assert!(started.elapsed() >= Duration::from_secs(1) && Clock::system().now() < moment);

        let request = json!({"features": ["country"], "known_at": "row"});
        let row = json!({"entity_id": "u1", "timestamp": late});
        let refused = ask(&app, app.key(), way, &request, &[user(1.0), row]).await.unwrap_err();
        assert_eq!(refused.field.as_deref(), Some("spine[1].timestamp"), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_change_no_byte() {
    let whole = TestApp::start().await;
    let pieces = TestApp::start_with(|config| config.limits.spine_piece_bytes_max = 20_000).await;
    let spine: Vec<Value> = (0..1_500)
        .map(|row| json!({"entity_id": "u1", "timestamp": at(f64::from(row % 150)), "label": row, "word": format!("w{}", row * row)}))
        .collect();
    let mut answers = Vec::new();
    for app in [&whole, &pieces] {
        world(app).await;
        let known_at = Clock::system().now().to_string();
        let request = json!({"features": ["country", "score"], "details": true, "known_at": known_at});
        for way in WAYS {
            let got = ask(app, app.key(), way, &request, &spine).await.unwrap();
            let again = ask(app, app.key(), way, &request, &spine).await.unwrap();
            assert!(got.bytes == again.bytes || way.follows_pauses(), "{way:?}");
            assert_eq!(got.rows, again.rows, "{way:?}");
            answers.push((way, got.rows));
        }
    }
    let (one, other) = answers.split_at(WAYS.len());
    assert!(one == other);
}
