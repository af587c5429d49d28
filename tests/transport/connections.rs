//! Connections that are slow, silent, greedy or too many.

use crate::support::{TestApp, until};
use std::time::Duration;

/// Where a connection is to be closed: nothing else has to happen within it.
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_slow_body_is_408() {
    let app = TestApp::start_with(|config| config.http.body_timeout = SHORT).await;
    let mut raw = app.raw().await;
    let key = app.key();
    let head = format!(
        "POST /api/v1/features/online HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    );
    raw.send(head + "{").await;
    let answer = raw.answer().await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request-timeout"), "{answer}");
}

#[tokio::test]
async fn a_slow_head_and_a_silent_connection_are_closed() {
    let app = TestApp::start_with(|config| config.http.header_timeout = SHORT).await;
    for start in ["", "G", "PRI * HT", "GET /health HTTP/1.1\r\nHost: x\r\n"] {
        let mut raw = app.raw().await;
        raw.send(start).await;
        assert_eq!(raw.answer().await, "", "{start:?}");
    }
}

/// Heads that are sent in one piece have to come within the time, on a machine with other work too.
#[tokio::test]
async fn an_idle_connection_is_no_slow_head() {
    const TIME: Duration = Duration::from_secs(2);
    let app = TestApp::start_with(|config| config.http.header_timeout = TIME).await;
    let mut raw = app.raw().await;
    raw.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 200 "));
    tokio::time::sleep(TIME + SHORT).await;
    raw.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 200 "), "an idle connection is no slow head");
    raw.send("GET /he").await;
    assert_eq!(raw.answer().await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let app = TestApp::start_with(|config| config.http.idle_timeout = SHORT).await;
    let mut raw = app.raw().await;
    raw.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(raw.answer().await, "");
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed() {
    let app = TestApp::start_with(|config| config.http.write_timeout = SHORT).await;
    let mut raw = app.raw().await;
    raw.flood("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000).as_bytes()).await;
    app.rest().get("/health").await.json(200);
}

#[tokio::test]
async fn one_connection_past_the_bound_is_closed() {
    let app = TestApp::start_with(|config| config.http.connections_max = 2).await;
    let ask = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut first, mut second) = (app.raw().await, app.raw().await);
    for raw in [&mut first, &mut second] {
        raw.send(ask).await;
        assert!(raw.answer().await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(app.raw().await.answer().await, "");
    drop(first);
    // The place that was left is taken again.
    until(async || {
        let mut raw = app.raw().await;
        raw.send(ask).await;
        let answer = raw.answer().await;
        if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(answer) }
    })
    .await;
    second.send(ask).await;
    assert!(second.answer().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_cannot_go_on_says_so() {
    let app = TestApp::start().await;
    for (path, key) in [("/api/v1/nothing", app.key()), ("/api/v1/features/online", "lrd_fake")] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        );
        let mut raw = app.raw().await;
        raw.send(&head).await;
        let refusal = raw.answer().await;
        assert!(refusal.starts_with("HTTP/1.1 40"), "{refusal}");
        assert!(refusal.to_lowercase().contains("\r\nconnection: close\r\n"), "{refusal}");
    }
    let mut raw = app.raw().await;
    for _ in 0..2 {
        raw.send("GET /api/v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let refusal = raw.answer().await;
        assert!(
            refusal.starts_with("HTTP/1.1 4"),
            "a request without a body leaves the connection open: {refusal}"
        );
    }
}
