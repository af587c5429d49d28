//! One event, an array, a message: the same event in each form, and int64 in all its digits.

use super::*;
use crate::support::TestApp;
use larder::wire::proto::{Event as Message, PublishEventsRequest, Value as ProtoValue, value::Kind};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_alone_names_its_fields_bare() {
    let app = TestApp::start().await;
    let rest = app.rest();
    let answer = rest.post("/api/v1/events", &purchase("u1", 1.0).json()).await.json(200);
    assert_eq!(answer, json!({"accepted": 1, "unused": 1, "late": 0, "duplicate": 0, "rejected": []}));
    let mut bad = purchase("u1", 1.0).json();
    bad["timestamp"] = "2999-01-01T00:00:00Z".into();
    let (field, why) = rest.post("/api/v1/events", &bad).await.problem(400);
    assert_eq!(field.as_deref(), Some("timestamp"));
    assert!(why.contains("5m"), "{why}");
    let partial = rest.post("/api/v1/events?partial=true", &bad).await.json(200);
    assert_eq!(partial["accepted"], 0);
    assert_eq!(
        (&partial["rejected"][0]["event"], &partial["rejected"][0]["field"]),
        (&json!(0), &json!("timestamp"))
    );
    let (field, _) = rest.post("/api/v1/events", &json!([bad])).await.problem(400);
    assert_eq!(field.as_deref(), Some("events[0].timestamp"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_carry_what_json_cannot() {
    let app = TestApp::start().await;
    let mut grpc = app.grpc().await;
    let mut publish = async |change: fn(&mut Message)| {
        let mut event = purchase("u1", 1.0).message();
        change(&mut event);
        let request = PublishEventsRequest { events: vec![event], partial: false };
        match grpc.publish_events(request).await {
            Ok(answer) => Ok(answer.into_inner().accepted),
            Err(status) => {
                assert_eq!(status.code(), Code::InvalidArgument);
                Err(status.message().split(": ").next().unwrap().to_owned())
            }
        }
    };
    let refused = |field: &str| Err(format!("events[0].{field}"));
    let nan =
        |event: &mut Message| event.value = Some(ProtoValue { kind: Some(Kind::Float64Value(f64::NAN)) });
    assert_eq!(publish(nan).await, refused("value"));
    assert_eq!(publish(|event| event.value = Some(ProtoValue { kind: None })).await, refused("value"));
    let millis = |event: &mut Message| event.timestamp.as_mut().unwrap().seconds *= 1_000;
    assert_eq!(publish(millis).await, refused("timestamp"));
    assert_eq!(publish(|event| event.timestamp.as_mut().unwrap().nanos = -1).await, refused("timestamp"));
    let json = |event: &mut Message| {
        event
            .metadata
            .insert("j".into(), ProtoValue { kind: Some(Kind::JsonValue(r#"{"a":1,"a":2}"#.into())) });
    };
    assert_eq!(publish(json).await, refused("metadata.j.a"));
    let fine = |event: &mut Message| {
        for (name, kind) in [
            ("null", Kind::NullValue(true)),
            ("list", Kind::ListValue(Default::default())),
            ("json", Kind::JsonValue("[1]".into())),
            ("bytes", Kind::BytesValue(vec![255])),
        ] {
            event.metadata.insert(name.into(), ProtoValue { kind: Some(kind) });
        }
    };
    assert_eq!(publish(fine).await, Ok(1));
}
