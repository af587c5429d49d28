//! Deadlines: kept, and no store is called for expired work.

use crate::support::{TestApp, send};
use larder::wire::proto::GetOnlineFeaturesRequest;
use reqwest::Method;
use serde_json::json;
use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};
use tonic::{Code, Request};

/// A read that takes so long ends by its deadline alone.
const HOUR_MS: u64 = 3_600_000;
const ONLINE: &str = "/api/v1/features/online";

#[tokio::test]
async fn rest_ends_at_the_callers_deadline() {
    let app = TestApp::start().await.with_country().await;
    app.door().delay_ms.store(HOUR_MS, Relaxed);
    let body = json!({"features": ["country"], "entity_ids": ["u1"]});
    let started = Instant::now();
    let request = app.rest().request(Method::POST, ONLINE).header("grpc-timeout", "100m").json(&body);
    send(request).await.problem(504);
    assert!(started.elapsed() >= Duration::from_millis(100));

    let forged = app.rest().request(Method::POST, ONLINE).header("grpc-timeout", "soon").json(&body);
    assert_eq!(send(forged).await.problem(400).0.as_deref(), Some("grpc-timeout"));
}

#[tokio::test]
async fn without_a_deadline_the_default_holds() {
    // Long enough to register and write within it.
    let app = TestApp::start_with(|config| config.http.request_timeout = Duration::from_secs(5)).await;
    let app = app.with_country().await;
    app.door().delay_ms.store(HOUR_MS, Relaxed);
    let body = json!({"features": ["country"], "entity_ids": ["u1"]});
    app.rest().post(ONLINE, &body).await.problem(504);
    let request = GetOnlineFeaturesRequest {
        features: vec!["country".into()],
        entity_ids: vec!["u1".into()],
        ..Default::default()
    };
    let status = app.grpc().await.get_online_features(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    let mut request = Request::new(request);
    request.set_timeout(Duration::from_millis(20));
    let status = app.grpc().await.get_online_features(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
}

#[tokio::test]
async fn expired_work_reaches_no_store() {
    let app = TestApp::start().await.with_country().await;
    let before = app.door().reads.load(Relaxed);
    let body = json!({"features": ["country"], "entity_ids": ["u1"]});
    for timeout in ["0m", "1n", "00000000H"] {
        let request = app.rest().request(Method::POST, ONLINE).header("grpc-timeout", timeout).json(&body);
        send(request).await.problem(504);
    }
    let request = app
        .rest()
        .request(Method::POST, "/larder.v1.FeatureService/GetOnlineFeatures")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "0n")
        .body(vec![0; 5]);
    assert_eq!(send(request).await.headers["grpc-status"], "4");
    assert_eq!(app.door().reads.load(Relaxed), before);
}
