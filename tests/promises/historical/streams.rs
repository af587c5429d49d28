//! Streams: answers while the caller is silent, no deadlock when it never reads, and errors that show.

use super::{
    convert::{batch_of, ipc, lines, options, typed},
    rules::{user, world},
    ways::Collector,
};
use crate::support::{PATIENCE, TestApp};
use larder::wire::proto::{
    GetHistoricalFeaturesRequest, SpineRows, get_historical_features_request::Part as Asked,
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

fn message(part: Asked) -> GetHistoricalFeaturesRequest {
    GetHistoricalFeaturesRequest { part: Some(part) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_caller_gets_its_answer_without_ending_its_call() {
    let app = TestApp::start().await;
    world(&app).await;
    let request = json!({"features": ["country"]});
    let (sender, receiver) = mpsc::channel(10);
    sender.send(message(Asked::Options(options(&request)))).await.unwrap();
    let answers = app.grpc().await.get_historical_features(ReceiverStream::new(receiver)).await;
    let mut answers = answers.unwrap().into_inner();
    let mut collector = Collector::default();
    collector.take(timeout(PATIENCE, answers.message()).await.unwrap().unwrap().unwrap());
    for round in 1..4 {
        let rows = vec![typed(&request, &user(f64::from(round)))];
        sender.send(message(Asked::Rows(SpineRows { rows }))).await.unwrap();
        while collector.rows() < round as usize {
            collector.take(timeout(PATIENCE, answers.message()).await.unwrap().unwrap().unwrap());
        }
    }
    drop(sender);
    while let Some(answer) = answers.message().await.unwrap() {
        collector.take(answer);
    }
    assert_eq!(collector.finish().rows.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_everything_before_reading_anything_does_not_deadlock() {
    // Little memory, so that most of the spine waits in the file.
    let app = TestApp::start_with(|config| config.limits.spine_piece_bytes_max = 64 << 10).await;
    world(&app).await;
    let request = json!({"features": ["country", "city", "score"], "details": true});
    let rows: Vec<Value> = (0..1_000).map(|row| user(f64::from(row % 200))).collect();
    let spine = batch_of(&request, &rows);
    for (parts, per_part) in [
        (Asked::ArrowIpc(ipc(&spine, 1_000).into()), 1_000),
        (Asked::Rows(SpineRows { rows: rows[..500].iter().map(|row| typed(&request, row)).collect() }), 500),
    ] {
        let (sender, receiver) = mpsc::channel(1);
        let mut grpc = app.grpc().await;
        let call =
            tokio::spawn(async move { grpc.get_historical_features(ReceiverStream::new(receiver)).await });
        let send = async {
            sender.send(message(Asked::Options(options(&request)))).await.unwrap();
            for _ in 0..20_000 / per_part {
                sender.send(message(parts.clone())).await.unwrap();
            }
            drop(sender);
        };
        timeout(PATIENCE, send).await.expect("the server reads on");
        let mut answers = call.await.unwrap().unwrap().into_inner();
        let mut collector = Collector::default();
        while let Some(answer) = answers.message().await.unwrap() {
            collector.take(answer);
        }
        let got = collector.finish();
        assert_eq!(got.rows.len(), 20_000);
        for (row, got) in got.rows.iter().enumerate() {
            let expected = if row % per_part % 200 < 100 { "GB" } else { "FR" };
            assert_eq!(got["country"], expected, "{row}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spine_that_never_fits_the_spool_is_refused() {
    let app = TestApp::start_with(|config| {
        config.limits.spine_piece_bytes_max = 100_000;
        config.limits.spool_bytes_max = 1 << 20;
    })
    .await;
    world(&app).await;
    let request = json!({"features": ["country"]});
    let rows: Vec<Value> = (0..1_000).map(|row| user(f64::from(row))).collect();
    let part = Asked::Rows(SpineRows { rows: rows.iter().map(|row| typed(&request, row)).collect() });
    let parts = std::iter::once(Asked::Options(options(&request))).chain(std::iter::repeat_n(part, 2_000));
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let parts = parts.map(message).inspect(move |_| {
        count.fetch_add(1, Relaxed);
    });
    let answers = app.grpc().await.get_historical_features(tokio_stream::iter(parts)).await;
    let mut answers = answers.unwrap().into_inner();
    // The caller does not read until the server takes no more of it; why it does not, it says when it is read.
    let mut before = 0;
    while sent.load(Relaxed) > before {
        before = sent.load(Relaxed);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let ended = loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the spine was larger than all room for it"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), tonic::Code::ResourceExhausted, "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_do_not_mix_and_options_come_first() {
    let app = TestApp::start().await;
    world(&app).await;
    let request = json!({"features": ["country"]});
    let rows = || Asked::Rows(SpineRows { rows: vec![typed(&request, &user(0.0))] });
    let arrow = || Asked::ArrowIpc(ipc(&batch_of(&request, &[user(0.0)]), 1).into());
    let first = || Asked::Options(options(&request));
    for parts in [
        vec![],
        vec![rows()],
        vec![first(), first()],
        vec![first(), rows(), arrow()],
        vec![first(), arrow(), rows()],
    ] {
        let messages: Vec<_> = parts.into_iter().map(message).collect();
        let answers = app.grpc().await.get_historical_features(tokio_stream::iter(messages)).await;
        let mut answers = answers.unwrap().into_inner();
        let status = loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it was taken"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_stream_both_ways() {
    let app = TestApp::start().await;
    world(&app).await;
    let (sender, receiver) = mpsc::channel::<Result<String, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(ReceiverStream::new(receiver));
    let rest = app.rest();
    let call = rest
        .request(reqwest::Method::POST, "/api/v1/features/batch")
        .header("content-type", "application/x-ndjson")
        .body(body);
    let answer = tokio::spawn(call.send());
    sender.send(Ok(lines(&json!({"features": ["country"]}), &[user(0.0)]))).await.unwrap();
    let mut answer = timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("x-larder-settled-at"));
    assert_eq!(answer.headers()["x-larder-features"], "country=profile.country@1");
    let chunk = timeout(PATIENCE, answer.chunk()).await.unwrap().unwrap().unwrap();
    let row: Value = serde_json::from_slice(&chunk).unwrap();
    assert_eq!(row["country"], "GB");
    // In the middle of a stream an error is a last line that is a problem, and a body without its end.
    sender.send(Ok("{\"entity_id\": \"u1\", \"timestamp\": \"yesterday\"}\n".into())).await.unwrap();
    let chunk = timeout(PATIENCE, answer.chunk()).await.unwrap().unwrap().unwrap();
    let problem: Value = serde_json::from_slice(&chunk).unwrap();
    assert_eq!((&problem["status"], &problem["field"]), (&json!(400), &json!("spine[1].timestamp")));
    assert!(timeout(PATIENCE, answer.chunk()).await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_leaves_nothing_running() {
    let app = TestApp::start().await;
    world(&app).await;
    let request = json!({"features": ["country"]});
    for _ in 0..10 {
        let (sender, receiver) = mpsc::channel(10);
        sender.send(message(Asked::Options(options(&request)))).await.unwrap();
        let answers = app.grpc().await.get_historical_features(ReceiverStream::new(receiver)).await;
        let mut answers = answers.unwrap().into_inner();
        assert!(answers.message().await.unwrap().is_some());

        let (sender, receiver) = mpsc::channel::<Result<String, std::io::Error>>(1);
        sender.send(Ok(lines(&request, &[user(0.0)]))).await.unwrap();
        let body = reqwest::Body::wrap_stream(ReceiverStream::new(receiver));
        let call = app.rest().request(reqwest::Method::POST, "/api/v1/features/batch");
        let answer = call.header("content-type", "application/x-ndjson").body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        // Both calls are dropped here, in the middle.
    }
    timeout(PATIENCE, app.stop()).await.expect("nothing keeps the server from ending");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_share_memory_without_waiting_for_each_other() {
    let app = TestApp::start_with(|config| config.limits.training_bytes_max = 2 << 20).await;
    world(&app).await;
    let request = json!({"features": ["country", "city", "score"]});
    let rows: Vec<Value> = (0..1_000).map(|row| user(f64::from(row % 200))).collect();
    let part = Asked::ArrowIpc(ipc(&batch_of(&request, &rows), 1_000).into());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let parts =
            std::iter::once(Asked::Options(options(&request))).chain(std::iter::repeat_n(part.clone(), 8));
        let (messages, mut grpc) = (parts.map(message).collect::<Vec<_>>(), app.grpc().await);
        calls.spawn(async move {
            let answers = grpc.get_historical_features(tokio_stream::iter(messages)).await;
            let (mut answers, mut collector) = (answers.unwrap().into_inner(), Collector::default());
            while let Some(answer) = answers.message().await.unwrap() {
                collector.take(answer);
            }
            collector.finish().rows.len()
        });
    }
    let all = timeout(PATIENCE, calls.join_all()).await.expect("every call ends");
    assert!(all.into_iter().all(|rows| rows == 8_000));
}
