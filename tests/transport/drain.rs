//! The end: what is under way is answered, nothing new is taken.

use crate::support::{PATIENCE, TestApp, until};
use futures_util::future::join_all;
use larder::wire::proto::GetOnlineFeaturesRequest;
use serde_json::json;
use std::{sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::{net::TcpStream, time::timeout};

const HOUR_MS: u64 = 3_600_000;

/// Waits until so many reads have come to the store.
async fn reads(app: &TestApp, wanted: u64) {
    until(async || match app.door().reads.load(Relaxed) {
        reads if reads < wanted => Err(format!("{reads} of {wanted} reads have come")),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn a_drain_answers_what_is_under_way() {
    let app = TestApp::start().await.with_country().await;
    app.door().delay_ms.store(1_000, Relaxed);
    let (rest, grpc, address) = (app.rest(), app.grpc().await, app.address());
    let body = json!({"features": ["country"], "entity_ids": ["u1"]});
    let request = GetOnlineFeaturesRequest {
        features: vec!["country".into()],
        entity_ids: vec!["u1".into()],
        ..Default::default()
    };
    let by_rest = join_all((0..20).map(|_| rest.post("/api/v1/features/online", &body)));
    let by_grpc = join_all((0..20).map(|_| {
        let (mut grpc, request) = (grpc.clone(), request.clone());
        async move { grpc.get_online_features(request).await }
    }));
    let stopped = async {
        reads(&app, 40).await;
        timeout(PATIENCE, app.stop()).await.expect("what is under way ends, and with it the drain");
    };
    let (by_rest, by_grpc, ()) = tokio::join!(by_rest, by_grpc, stopped);
    for answer in by_rest {
        answer.json(200);
    }
    for answer in by_grpc {
        assert_eq!(answer.unwrap().into_inner().rows[0].strings, ["GB"]);
    }
    assert!(TcpStream::connect(address).await.is_err(), "nothing new is taken");
}

#[tokio::test]
async fn a_connection_that_was_just_made_is_still_answered() {
    let app = TestApp::start().await;
    let stop = app.app().stop();
    let mut raw = app.raw().await;
    stop.cancel();
    raw.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(raw.answer().await, "", "one answer, then the end");
    app.stop().await;
}

#[tokio::test]
async fn what_does_not_end_is_cut_off() {
    let app = TestApp::start_with(|config| config.http.drain_timeout = Duration::from_millis(200)).await;
    let app = app.with_country().await;
    app.door().delay_ms.store(HOUR_MS, Relaxed);
    let rest = app.rest();
    let hanging = tokio::spawn(async move {
        let body = json!({"features": ["country"], "entity_ids": ["u1"]});
        rest.request(reqwest::Method::POST, "/api/v1/features/online").json(&body).send().await
    });
    reads(&app, 1).await;
    timeout(PATIENCE, app.stop()).await.expect("the request is cut off");
    assert!(hanging.await.unwrap().is_err());
}
