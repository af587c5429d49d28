//! Events that are refused, each naming its field; bounds at the bound and one past it.

use super::*;
use crate::{
    promises::via::with_key,
    support::{TestApp, send},
};
use larder::{access::Scope, feature::Timestamp};
use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_name_their_field() {
    each(async |_, via| {
        register(via).await;
        let with = |change: fn(&mut Event)| {
            let mut event = purchase("u1", 1.0);
            change(&mut event);
            event
        };
        for (event, field) in [
            (with(|event| event.entity_id.clear()), "entity_id"),
            (with(|event| event.entity_id = "x".repeat(257)), "entity_id"),
            (with(|event| event.entity_id = "a\nb".into()), "entity_id"),
            (with(|event| event.entity_id = "a\0b".into()), "entity_id"),
            (with(|event| event.event_type.clear()), "event_type"),
            (with(|event| event.event_type = "x".repeat(257)), "event_type"),
            (with(|event| event.event_type = "\u{7f}".into()), "event_type"),
            (with(|event| event.event_id = "x".repeat(257)), "event_id"),
            (with(|event| event.entity_type = "\t".into()), "entity_type"),
            (with(|event| event.timestamp = None), "timestamp"),
            (with(|event| event.timestamp = Some(ahead(310))), "timestamp"),
            (with(|event| event.value = Some(Value::String("x".repeat(65_537)))), "value"),
            (with(|event| event.value = Some(Value::String("\0".into()))), "value"),
            (
                with(|event| event.metadata = vec![("k".into(), Some(Value::String("x".repeat(65_537))))]),
                "metadata.k",
            ),
        ] {
            let field = format!("events[1].{field}");
            expect(via.publish(&[purchase("u1", 1.0), event.clone()]).await, "invalid-argument", &field);
            let partial =
                via.publish_with(&[purchase("u1", 1.0), event, purchase("u1", 1.0)], true).await.unwrap();
            assert_eq!(partial, Published { rejected: vec![(1, field)], ..accepted(2) });
        }
        for event in [
            with(|event| event.entity_id = "x".repeat(256)),
            with(|event| event.entity_id = ": % { } * 🙂".into()),
            with(|event| event.event_id = "x".repeat(256)),
            with(|event| event.timestamp = Some(ahead(290))),
            with(|event| event.value = Some(Value::String("x".repeat(65_536)))),
            with(|event| event.value = Some(Value::Int64(i64::MAX))),
            with(|event| event.value = None),
        ] {
            assert_eq!(via.publish(&[event]).await.unwrap().accepted, 1);
        }
        expect(via.publish(&[]).await, "invalid-argument", "events");
        expect(via.publish_with(&[], true).await, "invalid-argument", "events");
        let unknown_type = Event { event_type: "x".repeat(256), ..purchase("u1", 1.0) };
        assert_eq!(via.publish(&[unknown_type]).await.unwrap(), Published { unused: 1, ..accepted(1) });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_at_its_size_limit() {
    for grpc in [false, true] {
        let app = TestApp::start_with(|config| config.limits.row_bytes_max = 1_000).await;
        let mut via = if grpc { Via::Grpc(app.grpc().await) } else { Via::Rest(app.rest()) };
        let of = |len: usize| Event { value: Some(Value::String("x".repeat(len))), ..purchase("u", 1.0) };
        let overhead = |len: usize| match grpc {
            true => prost::Message::encoded_len(&of(len).message()) - len,
            false => of(len).json().to_string().len() - len,
        };
        let len = 1_000 - overhead(900);
        assert_eq!(via.publish(&[of(len)]).await.unwrap().accepted, 1);
        expect(via.publish(&[of(len + 1)]).await, "invalid-argument", "events[0]");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_need_the_scope_to_write() {
    each(async |app, via| {
        let reader = app.key_of("default", &[Scope::Read]).await;
        let mut reader = with_key(via, app, &reader).await;
        assert_eq!(reader.publish(&[purchase("u", 1.0)]).await.unwrap_err().kind, "permission-denied");
        // Another tenant's features take nothing of this one's events.
        register(via).await;
        let other = app.key_of("other", &[Scope::Write]).await;
        let mut other = with_key(via, app, &other).await;
        assert_eq!(
            other.publish(&[purchase("u", 1.0)]).await.unwrap(),
            Published { unused: 1, ..accepted(1) }
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_json_is_refused_and_unknown_fields_are_not() {
    let app = TestApp::start().await;
    let rest = app.rest();
    let post = |body: String| rest.post_text("/api/v1/events", "application/json", body);
    let head = r#""entity_id":"u1","event_type":"purchase","timestamp":"2024-01-15T14:22:00Z""#;
    let nested = |depth: usize| format!("{{{head},\"x\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    for (body, field) in [
        (r#"{"entity_id":"u1""#.to_owned(), None),
        (format!("{{{head}}} x"), None),
        (format!("{{{head},\"value\":1e400}}"), Some("value")),
        (format!("{{{head},\"value\":NaN}}"), Some("value")),
        (format!("{{{head},\"value\":\"\\ud800\"}}"), Some("value")),
        (format!("{{{head},\"value\":\"\\u0000\"}}"), Some("value")),
        (format!("{{{head},\"metadata\":{{\"a\":1,\"a\":2}}}}"), Some("metadata.a")),
        (format!("{{{head},\"entity_id\":\"u2\"}}"), Some("entity_id")),
        (format!("{{{head},\"metadata\":[]}}"), Some("metadata")),
        (format!("[{{{head}}},{{{head},\"x\":1,\"x\":1}}]"), Some("events[1].x")),
        (format!("[{{{head}}},7]"), Some("events[1]")),
        (r#"{"entity_id":"u1","event_type":"p","timestamp":1705328520000}"#.to_owned(), Some("timestamp")),
        (
            r#"{"entity_id":"u1","event_type":"p","timestamp":"2024-01-15T14:22:00"}"#.to_owned(),
            Some("timestamp"),
        ),
        (
            r#"{"entity_id":1.5,"event_type":"p","timestamp":"2024-01-15T14:22:00Z"}"#.to_owned(),
            Some("entity_id"),
        ),
        (r#"{"rows":[]}"#.to_owned(), Some("entity_id")),
        ("[]".to_owned(), Some("events")),
        (String::new(), None),
    ] {
        let (found, _) = post(body.clone()).await.problem(400);
        assert_eq!(found.as_deref(), field, "{body}");
    }
    // The nesting of an event counts from itself, within an array too.
    for deep in [nested(32), format!("[{}]", nested(32)), "[".repeat(10_000)] {
        post(deep).await.problem(400);
    }
    for fine in [
        nested(31),
        format!("[{}]", nested(31)),
        format!("{{{head},\"tenant\":\"x\",\"more\":{{\"a\":[null]}}}}"),
    ] {
        assert_eq!(post(fine).await.json(200)["accepted"], 1);
    }
    let numbered = r#"{"entity_id":9007199254740993,"event_type":"p","timestamp":"2024-01-15T14:22:00Z","value":9223372036854775807}"#;
    assert_eq!(post(numbered.into()).await.json(200)["accepted"], 1);
    let (field, why) = send(
        rest.request(Method::POST, "/api/v1/events")
            .header("idempotency-key", "k")
            .json(&purchase("u", 1.0).json()),
    )
    .await
    .problem(400);
    assert_eq!(field.as_deref(), Some("idempotency_key"));
    assert!(why.contains("event_id"), "{why}");
    rest.post("/api/v1/events?nonsense=1", &purchase("u", 1.0).json()).await.problem(400);
    rest.post_text("/api/v1/events", "text/plain", "{}").await.problem(415);
    rest.get("/api/v1/events").await.problem(405);
}

fn ahead(seconds: i64) -> Timestamp {
    Clock::system().now().saturating_add(seconds * 1_000_000)
}
