//! Events as NDJSON: a body without end, judged line by line, in bounded memory.

use super::*;
use crate::{
    promises::via::published,
    streams::World,
    support::{Answer, TestApp, send, until},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use larder::{access::Scope, store::log::EventSource, wire::events::publish_lines};
use reqwest::{Body, Method};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

async fn post(app: &TestApp, body: impl Into<Body>) -> Answer {
    let request = app.rest().request(Method::POST, "/api/v1/events");
    send(request.header("content-type", "application/x-ndjson").body(body)).await
}

fn line(id: usize) -> String {
    format!(r#"{{"entity_id":{id},"event_type":"purchase","value":{id},"timestamp":"2024-01-15T14:22:00Z"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_judged_one_by_one() {
    let app = TestApp::start().await;
    let body = format!(
        "{}\n\n  \r\n{}\r\nnonsense\n{{\"entity_id\":1}}\n{}\n{}",
        line(1),
        line(2),
        line(1),
        line(3)
    );
    let answer = published(&post(&app, body).await.json(200));
    let rejected = vec![(2, "events[2]".into()), (3, "events[3].event_type".into())];
    assert_eq!(answer, Published { unused: 4, rejected, ..accepted(4) });
    assert_eq!(published(&post(&app, "").await.json(200)), accepted(0));
    assert_eq!(published(&post(&app, &b"\xff\xfe\n"[..]).await.json(200)).rejected.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_at_its_limit() {
    let app = TestApp::start_with(|config| config.limits.line_bytes_max = 1_000).await;
    let line = |len: usize| {
        let line = line(7);
        format!("{line}{}", " ".repeat(len - line.len()))
    };
    let body = format!("{}\n{}\n{}", line(1_000), line(1_001), line(1_000));
    let answer = published(&post(&app, body).await.json(200));
    assert_eq!(answer, Published { unused: 2, rejected: vec![(1, "events[1]".into())], ..accepted(2) });
    // A line without end does not fill the memory.
    let endless = post(&app, "x".repeat(8 << 20)).await.json(200);
    assert_eq!(endless["rejected"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_lines_are_many_appends() {
    let app = TestApp::start().await;
    let mut body: String = (0..20_000).map(|i| line(i) + "\n").collect();
    (0..1_500).for_each(|_| body.push_str("{}\n"));
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(7_777).map(|piece| Ok(piece.to_vec())).collect();
    let answer = post(&app, Body::wrap_stream(tokio_stream::iter(pieces))).await.json(200);
    assert_eq!(answer["accepted"], 20_000);
    assert_eq!(answer["rejected"].as_array().unwrap().len(), 1_000);
    assert_eq!(answer["rejected"][0]["event"], 20_000);
    assert_eq!(answer["rejected_total"], 1_500);
}

/// A caller that is silent need not end its body for its events to count.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_silent_caller_are_appended() {
    let app = TestApp::start().await;
    let (sender, pieces) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(4);
    let body = Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(pieces));
    let (before, answer) = tokio::join!(
        async {
            let with_id = r#"{"entity_id":"u","event_type":"purchase","event_id":"e","timestamp":"2024-01-15T14:22:00Z"}"#;
            sender.send(Ok(format!("{with_id}\n"))).await.unwrap();
            // It is in the log before its body ends.
            let log = app.app().service().events.log.clone();
            until(async || match log.source.extent(0).await.unwrap().end {
                0 => Err("nothing is appended".into()),
                _ => Ok(()),
            })
            .await;
            let request = app.rest().request(Method::POST, "/api/v1/events").body(with_id);
            let again = send(request.header("content-type", "application/json")).await.json(200);
            drop(sender);
            again
        },
        post(&app, body)
    );
    assert_eq!(published(&answer.json(200)).duplicate, 0);
    assert_eq!(published(&before), Published { duplicate: 1, ..accepted(1) });
}

/// While the partition's reader judges nothing of what was appended, the body is not read on.
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_body_is_read_no_faster_than_it_is_judged() {
    let world = World::new().await;
    world.service.events.streams.begin(0);
    let taken = Arc::new(AtomicU64::new(0));
    // The clock of that world stands in 2023.
    let piece = (0..500).map(|i| line(i).replace("2024-01", "2023-01") + "\n").collect::<String>();
    let piece = Bytes::from(piece);
    let (count, len) = (taken.clone(), piece.len() as u64);
    let endless = stream::repeat_with(move || {
        count.fetch_add(len, Relaxed);
        Ok(piece.clone())
    });
    let endless = endless.take(1_000);
    let published = publish_lines(&world.service, &world.caller, endless);
    // Four appends of 8 192 events wait for their verdicts, and a fifth is made ready.
    let four_appended = until(async || match world.store.extent(0).await.unwrap().end {
        0..32_768 => Err(format!("{} bytes were taken", taken.load(Relaxed))),
        _ => Ok(()),
    });
    tokio::select! {
        outcome = published => panic!("nobody judged it, and it ended: {outcome:?}"),
        () = async {
            four_appended.await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        } => {}
    }
    let bytes = taken.load(Relaxed);
    assert!(bytes < 5 * (3 << 20), "{bytes} bytes were taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_need_the_scope_and_the_media_type() {
    let app = TestApp::start().await;
    let reader = app.key_of("default", &[Scope::Read]).await;
    let request = app.rest_with(Some(&reader)).request(Method::POST, "/api/v1/events");
    send(request.header("content-type", "application/x-ndjson").body(line(1))).await.problem(403);
    let request = app.rest().request(Method::POST, "/api/v1/events").header("idempotency-key", "k");
    send(request.header("content-type", "application/x-ndjson").body(line(1))).await.problem(400);
    let request = app.rest().request(Method::POST, "/api/v1/events");
    send(request.header("content-type", "application/vnd.apache.arrow.stream").body(line(1)))
        .await
        .problem(415);
}
