//! NDJSON: a body without end, judged line by line.

use crate::support::{Answer, TestApp, send};
use larder::access::Scope;
use reqwest::{Body, Method};
use serde_json::json;
use std::fmt::Write as _;

async fn app() -> TestApp {
    let app = TestApp::start().await;
    let features = json!({"features": [
        {"name": "n", "entity_type": "user", "dtype": "int64"},
        {"name": "t", "entity_type": "user", "dtype": "string"}]});
    app.rest().post("/api/v1/features/register", &features).await.json(200);
    app
}

async fn post(app: &TestApp, body: impl Into<Body>, key: Option<&str>) -> Answer {
    let mut request = app.rest().request(Method::POST, "/api/v1/features/write");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    send(request.header("content-type", "application/x-ndjson").body(body)).await
}

fn line(id: usize, n: usize) -> String {
    format!("{{\"entity_id\":{id},\"event_timestamp\":\"2024-01-15T14:22:00Z\",\"values\":{{\"n\":{n}}}}}")
}

#[tokio::test]
async fn lines_are_judged_one_by_one() {
    let app = app().await;
    let body = format!(
        "{}\n\n  \r\n{}\r\nnonsense\n{{\"entity_id\":1}}\n{}\n{}",
        line(1, 1),
        line(2, 2),
        line(1, 1),
        line(3, 3)
    );
    let answer = post(&app, body, None).await.json(200);
    assert_eq!((&answer["accepted"], &answer["unchanged"]), (&json!(3), &json!(1)));
    let rejected = answer["rejected"].as_array().unwrap();
    assert_eq!(rejected.iter().map(|r| r["row"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(rejected[1]["field"], "rows[3].values");
    assert_eq!(post(&app, "", None).await.json(200)["accepted"], 0);
    assert_eq!(post(&app, &b"\xff\xfe\n"[..], None).await.json(200)["rejected"][0]["row"], 0);
}

#[tokio::test]
async fn a_line_at_its_limit() {
    let app = app().await;
    let line = |len: usize| {
        let head = "{\"entity_id\":\"u\",\"event_timestamp\":\"2024-01-15T14:22:00Z\",\"values\":{\"n\":1}";
        format!("{head}{}}}", " ".repeat(len - head.len() - 1))
    };
    let limit = 1 << 20;
    let body = format!("{}\n{}\n{}", line(limit), line(limit + 1), line(limit));
    let answer = post(&app, body, None).await.json(200);
    assert_eq!((&answer["accepted"], &answer["unchanged"]), (&json!(1), &json!(1)));
    assert_eq!(answer["rejected"][0]["row"], 1);
    // A line without end does not fill the memory.
    let endless = post(&app, "x".repeat(8 << 20), None).await.json(200);
    assert_eq!(endless["rejected"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn many_rows_are_many_transactions_in_order() {
    let app = app().await;
    let rows = 30_000;
    let mut body = String::new();
    for i in 0..rows {
        // The same entity and moment again and again: the last line must win.
        writeln!(body, "{}", line(i % 3, i)).unwrap();
    }
    let mut bad = String::new();
    (0..1_500).for_each(|_| bad.push_str("{}\n"));
    body.push_str(&bad);
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(777).map(|piece| Ok(piece.to_vec())).collect();
    let stream = Body::wrap_stream(tokio_stream::iter(pieces));
    let answer = post(&app, stream, Some("load")).await.json(200);
    assert_eq!(answer["accepted"], rows);
    assert_eq!(answer["rejected"].as_array().unwrap().len(), 1_000);
    assert_eq!(answer["rejected_total"], 1_500);
    let online = json!({"features": ["n"], "entity_ids": [0, 1, 2]});
    let online = app.rest().post("/api/v1/features/online", &online).await.json(200);
    for i in 0..3 {
        assert_eq!(online["results"][i]["values"]["n"], rows - 3 + i);
    }
    // The whole load again under the same key: the same answer, and nothing is written.
    let again = post(&app, body.clone(), Some("load")).await.json(200);
    assert_eq!(again, answer);
    let other = body.replacen("\"n\":7}", "\"n\":8}", 1);
    post(&app, other, Some("load")).await.problem(409);
    post(&app, line(1, 1), Some(&"k".repeat(257))).await.problem(400);
}

#[tokio::test]
async fn lines_need_the_scope_and_the_media_type() {
    let app = app().await;
    let reader = app.key_of("default", &[Scope::Read]).await;
    let request = app.rest_with(Some(&reader)).request(Method::POST, "/api/v1/features/write");
    let request = request.header("content-type", "application/x-ndjson").body(line(1, 1));
    send(request).await.problem(403);
    for media in ["text/plain", "application/vnd.apache.arrow.stream"] {
        let request = app.rest().request(Method::POST, "/api/v1/features/write");
        send(request.header("content-type", media).body(line(1, 1))).await.problem(415);
    }
}
