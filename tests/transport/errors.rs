//! Refusals of HTTP itself, their shapes, and what a panic leaves behind.

use crate::support::{TestApp, send};
use larder::wire::proto::GetOnlineFeaturesRequest;
use reqwest::Method;
use serde_json::json;
use std::sync::atomic::Ordering::Relaxed;
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn unknown_paths_are_named() {
    let app = TestApp::start().await;
    for path in ["/absent", "/", "/api/v1", "/api/v1/absent", "/api/v2/features", "/api/v1/features/a/b/c"] {
        let (_, detail) = app.rest().get(path).await.problem(404);
        assert!(detail.contains(path), "{detail}");
    }
    // Where a key is asked for, nobody learns which paths there are without one.
    app.rest_with(None).get("/api/v1/absent").await.problem(401);
}

#[tokio::test]
async fn a_wrong_method_learns_the_right_ones() {
    let app = TestApp::start().await;
    let answer = app.rest().delete("/api/v1/features/online").await;
    assert_eq!(answer.headers["allow"], "POST");
    let (_, detail) = answer.problem(405);
    assert!(detail.contains("DELETE"), "{detail}");
    let answer = app.rest().post("/health", &json!({})).await;
    assert_eq!(answer.headers["allow"], "GET,HEAD");
    answer.problem(405);
}

#[tokio::test]
async fn a_wrong_media_type_learns_the_right_one() {
    let app = TestApp::start().await;
    let path = "/api/v1/features/online";
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/x-ndjson", "", "json"]
    {
        let (_, detail) = app.rest().post_text(path, media_type, "{}").await.problem(415);
        assert!(detail.contains("application/json"), "{detail}");
    }
    app.rest().post_text(path, "application/json; charset=utf-8", "{}").await.problem(400);
    let packed = app.rest().request(Method::POST, path).header("content-encoding", "gzip").json(&json!({}));
    assert!(send(packed).await.problem(415).1.contains("Content-Encoding"));
}

#[tokio::test]
async fn a_body_framed_twice_is_refused() {
    let app = TestApp::start().await;
    for lengths in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "transfer-encoding: chunked\r\nCONTENT-LENGTH: 2\r\n",
    ] {
        let mut raw = app.raw().await;
        let key = app.key();
        let head = format!(
            "POST /api/v1/features/online HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n{lengths}\r\n"
        );
        raw.send(head + "2\r\n{}\r\n0\r\n\r\n").await;
        let answer = raw.answer().await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("Transfer-Encoding"), "{answer}");
    }
    let mut raw = app.raw().await;
    raw.send("GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n").await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn grpc_errors_carry_details() {
    let app = TestApp::start().await;
    let mut grpc = app.grpc().await;
    let request = GetOnlineFeaturesRequest {
        features: vec!["absent".into()],
        entity_ids: vec!["u1".into()],
        ..Default::default()
    };
    let status = grpc.get_online_features(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "NOT_FOUND");
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "features[0]");

    let body = json!({"features": ["absent"], "entity_ids": ["u1"]});
    let (field, detail) = app.rest().post("/api/v1/features/online", &body).await.problem(404);
    assert_eq!(field.as_deref(), Some("features[0]"));
    assert!(detail.contains("absent") && status.message().ends_with(&detail), "{detail} / {status}");
}

#[tokio::test]
async fn unknown_grpc_methods_and_services_are_unimplemented() {
    let app = TestApp::start().await;
    for path in ["/larder.v1.FeatureService/Absent", "/absent.Service/Call"] {
        let answer = send(
            app.rest()
                .request(Method::POST, path)
                .header("content-type", "application/grpc")
                .body(vec![0; 5]),
        );
        let answer = answer.await;
        assert_eq!((answer.status, &answer.headers["grpc-status"]), (200, &"12".parse().unwrap()), "{path}");
    }
}

#[tokio::test]
async fn a_panic_ends_one_request_and_nothing_else() {
    let app = TestApp::start().await.with_country().await;
    let mut grpc = app.grpc().await;
    let request = GetOnlineFeaturesRequest {
        features: vec!["country".into()],
        entity_ids: vec!["u1".into()],
        ..Default::default()
    };
    app.door().panics.store(true, Relaxed);
    let status = grpc.get_online_features(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(!status.message().contains("asked for"), "{status}");
    app.rest().get("/ready").await.problem(500);

    app.door().panics.store(false, Relaxed);
    assert_eq!(grpc.get_online_features(request).await.unwrap().into_inner().rows[0].strings, ["GB"]);
    app.rest().get("/ready").await.json(200);
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused() {
    let app = TestApp::start().await;
    app.rest().get("/api/v1/features/%FF").await.problem(400);
}
