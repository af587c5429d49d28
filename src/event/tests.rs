//! What the decoder owes: one event is one event, as JSON and as proto, and no bytes make it panic.

use super::*;
use crate::{
    feature::{Round, Timestamp},
    proto::{self, value::Kind},
};
use bytes::Bytes;
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};
use prost::Message;
use serde_json::{Map, Value as Json, json};
use std::{borrow::Cow, collections::HashMap};

fn of_json(text: &str) -> Payload {
    Payload::Json(Bytes::copy_from_slice(text.as_bytes()))
}

fn of_proto(event: &proto::Event) -> Payload {
    Payload::Proto(event.encode_to_vec().into())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A payload's fields as text, since they are borrowed from it.
fn shown(payload: &Payload, fields: &[&str]) -> Vec<String> {
    let event = decode(payload).unwrap();
    let mut out = Vec::new();
    event.fields(&names(fields), &mut out);
    out.iter().map(|field| format!("{field:?}")).collect()
}

const HEAD: &str = r#""entity_id":"u1","event_type":"purchase","timestamp":"2024-01-15T14:22:00Z""#;

fn with_head(rest: &str) -> Payload {
    of_json(&format!("{{{HEAD},{rest}}}"))
}

#[test]
fn a_plain_event_is_borrowed() {
    let payload = of_json(
        r#"{"entity_id": "user_123", "event_type": "purchase", "value": 99.99, "timestamp": "2024-01-15T14:22:00.0000001Z",
            "metadata": {}, "event_id": "e1", "entity_type": "user", "more": [1, {"x": null}]}"#,
    );
    let event = decode(&payload).unwrap();
    let EventHead { entity_id, event_type, timestamp, event_id, entity_type } = &event.head;
    assert!(matches!((entity_id, event_type), (Cow::Borrowed("user_123"), Cow::Borrowed("purchase"))));
    assert_eq!(*timestamp, Timestamp::parse("2024-01-15T14:22:00.000001Z", Round::Up).unwrap());
    assert_eq!((event_id.as_deref(), entity_type.as_deref()), (Some("e1"), Some("user")));
}

#[test]
fn integer_ids_are_their_text() {
    let payload =
        of_json(r#"{"entity_id":-9007199254740993,"event_type":"x","timestamp":"2024-01-15T14:22:00Z"}"#);
    assert_eq!(decode(&payload).unwrap().head.entity_id, "-9007199254740993");
}

#[test]
fn values_of_json() {
    for (value, field) in [
        ("null", "Missing"),
        ("9223372036854775807", "Int(9223372036854775807)"),
        ("-9223372036854775808", "Int(-9223372036854775808)"),
        ("9223372036854775808", r#"Digits("9223372036854775808", 9.223372036854776e18)"#),
        ("0.1234567890123456", r#"Digits("0.1234567890123456", 0.1234567890123456)"#),
        ("12345678901234.5", "Float(12345678901234.5)"),
        ("0.00", "Float(0.0)"),
        ("0e9", r#"Digits("0e9", 0.0)"#),
        ("1e-400", r#"Digits("1e-400", 0.0)"#),
        ("1.5E3", "Float(1500.0)"),
        ("9007199254740993", "Int(9007199254740993)"),
        ("1.0", "Float(1.0)"),
        ("1e2", "Float(100.0)"),
        ("-0", "Int(0)"),
        ("-0.0", "Float(0.0)"),
        ("true", "Bool(true)"),
        ("false", "Bool(false)"),
        (r#""""#, r#"Text("")"#),
        (r#""a b""#, r#"Text("a b")"#),
        (r#""\u00e9\"\\""#, r#"Text("é\"\\")"#),
        ("{}", "Other"),
        ("[1,2]", "Other"),
    ] {
        assert_eq!(shown(&with_head(&format!(r#""value" : {value} "#)), &["value"]), [field], "{value}");
        let metadata = with_head(&format!(r#""metadata" : {{"a" : "}},\"", "b" : {value} , "c":[{{}}]}} "#));
        assert_eq!(shown(&metadata, &["metadata.b", "metadata.c"]), [field, "Other"], "{value}");
        let deep = with_head(&format!(r#""metadata":{{"x":{{"b":{{}},"b.y":9,"y":{{"z":{value}}}}}}}"#));
        assert_eq!(
            shown(&deep, &["metadata.x.y.z", "metadata.x.b.y", "metadata.x.y.z.w"])[0],
            field,
            "{value}"
        );
    }
    assert_eq!(shown(&with_head(r#""x":1"#), &["value", "metadata.a", "other"]), ["Missing"; 3]);
    assert_eq!(
        shown(&with_head(r#""metadata":null,"value":null"#), &["value", "metadata.a"]),
        ["Missing"; 2]
    );
}

#[test]
fn values_of_proto() {
    for (kind, field) in [
        (Kind::NullValue(true), "Missing"),
        (Kind::BoolValue(false), "Bool(false)"),
        (Kind::Int64Value(i64::MIN), "Int(-9223372036854775808)"),
        (Kind::Float64Value(-0.0), "Float(0.0)"),
        (Kind::Float32Value(0.5), "Float(0.5)"),
        (Kind::StringValue(String::new()), r#"Text("")"#),
        (Kind::BytesValue(vec![0, 255]), "Other"),
        (
            Kind::TimestampValue(prost_types::Timestamp { seconds: 1, nanos: 2_999 }),
            "Time(Timestamp(1000002))",
        ),
        (Kind::TimestampValue(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), "Other"),
        (Kind::ListValue(proto::List::default()), "Other"),
        (Kind::JsonValue("12".into()), "Int(12)"),
        (Kind::JsonValue(r#""\n""#.into()), r#"Text("\n")"#),
        (Kind::JsonValue("{}".into()), "Other"),
    ] {
        let value = proto::Value { kind: Some(kind) };
        let metadata = HashMap::from([
            ("a".to_owned(), value.clone()),
            ("b.c".to_owned(), proto::Value { kind: Some(Kind::Int64Value(9)) }),
            ("j".to_owned(), proto::Value { kind: Some(Kind::JsonValue(r#"{"k":{"l":7}}"#.into())) }),
        ]);
        let event = proto::Event { value: Some(value), metadata, ..plain() };
        let fields = ["value", "metadata.a", "metadata.b.c", "metadata.j", "metadata.j.k.l", "metadata.a.b"];
        let shown = shown(&of_proto(&event), &fields);
        assert_eq!(shown[..5], [field, field, "Missing", "Other", "Int(7)"], "{field}");
    }
}

#[test]
fn what_is_no_event_is_refused_by_name() {
    let of = |id: &str, kind: &str, time: &str| {
        of_json(&format!(r#"{{"entity_id":{id},"event_type":{kind},"timestamp":{time}}}"#))
    };
    const TIME: &str = r#""2024-01-15T14:22:00Z""#;
    let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    let deep = format!(r#""metadata":{}1{}"#, "{\"a\":".repeat(32), "}".repeat(32));
    for (payload, field) in [
        (of(&long(257), "\"x\"", TIME), Some("entity_id")),
        (of("\"\"", "\"x\"", TIME), Some("entity_id")),
        (of("null", "\"x\"", TIME), Some("entity_id")),
        (of("1.5", "\"x\"", TIME), Some("entity_id")),
        (of(r#""a\u0007""#, "\"x\"", TIME), Some("entity_id")),
        (of(r#""\u0000""#, "\"x\"", TIME), Some("entity_id")),
        (of(r#""\ud800""#, "\"x\"", TIME), Some("entity_id")),
        (of("\"u\"", &long(257), TIME), Some("event_type")),
        (of("\"u\"", "\"\"", TIME), Some("event_type")),
        (of("\"u\"", r#""\n""#, TIME), Some("event_type")),
        (of("\"u\"", "7", TIME), Some("event_type")),
        (of("\"u\"", "\"x\"", r#""2024-01-15T14:22:00""#), Some("timestamp")),
        (of("\"u\"", "\"x\"", r#""2024-01-15T14:22:60Z""#), Some("timestamp")),
        (of("\"u\"", "\"x\"", "1705328520000"), Some("timestamp")),
        (of("\"u\"", "\"x\"", "null"), Some("timestamp")),
        (of_json(r#"{"event_type":"x","timestamp":"2024-01-15T14:22:00Z"}"#), Some("entity_id")),
        (of_json(r#"{"entity_id":"x","timestamp":"2024-01-15T14:22:00Z"}"#), Some("event_type")),
        (of_json(r#"{"entity_id":"x","event_type":"x"}"#), Some("timestamp")),
        (with_head(r#""entity_id":"u2""#), Some("entity_id")),
        (with_head(r#""x":{"a":1,"a":2}"#), Some("x.a")),
        (with_head(r#""metadata":[1]"#), Some("metadata")),
        (with_head(r#""metadata":{"x":1e400}"#), Some("metadata.x")),
        (with_head(r#""value":1e400"#), Some("value")),
        (with_head(r#""value":NaN"#), Some("value")),
        (with_head(r#""event_id":"""#), Some("event_id")),
        (with_head(r#""entity_type":"a\tb""#), Some("entity_type")),
        (with_head(&format!(r#""event_id":{}"#, long(257))), Some("event_id")),
        (with_head(&format!(r#""value":{}"#, long(TEXT_BYTES_MAX + 1))), Some("value")),
        (with_head(&format!(r#""metadata":{{"a":[{}]}}"#, long(TEXT_BYTES_MAX + 1))), Some("metadata.a[0]")),
        (of_json("[]"), None),
        (of_json(""), None),
        (of_json("{} {}"), None),
        (Payload::Json(Bytes::from_static(b"\xff")), None),
    ] {
        assert_eq!(decode(&payload).unwrap_err().field.as_deref(), field, "{payload:?}");
    }
    assert!(decode(&with_head(&deep)).is_err());
    for fine in
        [r#""event_id":null,"entity_type":null"#.to_owned(), format!(r#""value":{}"#, long(TEXT_BYTES_MAX))]
    {
        decode(&with_head(&fine)).unwrap();
    }
    decode(&of(&long(256), &long(256), TIME)).unwrap();
}

#[test]
fn what_is_no_message_is_refused_by_name() {
    let valued = |kind| proto::Event { value: Some(proto::Value { kind }), ..plain() };
    let noted = |key: &str, kind| {
        let metadata = HashMap::from([(key.to_owned(), proto::Value { kind })]);
        proto::Event { metadata, ..plain() }
    };
    let time = |seconds, nanos| proto::Event {
        timestamp: Some(prost_types::Timestamp { seconds, nanos }),
        ..plain()
    };
    for (event, field) in [
        (proto::Event { entity_id: String::new(), ..plain() }, "entity_id"),
        (proto::Event { entity_id: "a\0".into(), ..plain() }, "entity_id"),
        (proto::Event { event_type: String::new(), ..plain() }, "event_type"),
        (proto::Event { event_id: "x".repeat(257), ..plain() }, "event_id"),
        (proto::Event { entity_type: "\n".into(), ..plain() }, "entity_type"),
        (proto::Event { timestamp: None, ..plain() }, "timestamp"),
        (time(1_705_328_520_000, 0), "timestamp"),
        (time(0, 1_000_000_000), "timestamp"),
        (time(0, -1), "timestamp"),
        (valued(None), "value"),
        (valued(Some(Kind::NullValue(false))), "value"),
        (valued(Some(Kind::Float64Value(f64::NAN))), "value"),
        (valued(Some(Kind::Float32Value(f32::INFINITY))), "value"),
        (
            valued(Some(Kind::ListValue(proto::List {
                float64s: vec![1.0, f64::NAN],
                ..Default::default()
            }))),
            "value",
        ),
        (valued(Some(Kind::StringValue("\0".into()))), "value"),
        (valued(Some(Kind::StringValue("x".repeat(TEXT_BYTES_MAX + 1)))), "value"),
        (valued(Some(Kind::JsonValue(r#"{"a":1,"a":2}"#.into()))), "value.a"),
        (noted("k", Some(Kind::JsonValue("{".into()))), "metadata.k"),
        (noted("k", Some(Kind::Float64Value(f64::NEG_INFINITY))), "metadata.k"),
        (noted("k\0", Some(Kind::BoolValue(true))), "metadata"),
    ] {
        assert_eq!(decode(&of_proto(&event)).unwrap_err().field.as_deref(), Some(field), "{event:?}");
    }
    assert!(decode(&Payload::Proto(Bytes::from_static(b"\x0a\x05ab"))).is_err());
    decode(&of_proto(&valued(Some(Kind::StringValue("x".repeat(TEXT_BYTES_MAX)))))).unwrap();
}

fn plain() -> proto::Event {
    proto::Event {
        entity_id: "u1".into(),
        event_type: "purchase".into(),
        timestamp: Some(prost_types::Timestamp { seconds: 1_705_328_520, nanos: 0 }),
        ..Default::default()
    }
}

/// Any value, as both forms have it.
fn value() -> impl Strategy<Value = (Json, Kind)> {
    let text = || "[^\0]{0,8}";
    let leaf = prop_oneof![
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Json::from),
        text().prop_map(Json::from),
        Just(Json::Null),
    ];
    let nested = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Json::from),
            btree_map("[a-c.]{0,2}", inner, 0..3).prop_map(|members| Json::from(Map::from_iter(members))),
        ]
    });
    prop_oneof![
        Just((Json::Null, Kind::NullValue(true))),
        any::<bool>().prop_map(|v| (v.into(), Kind::BoolValue(v))),
        any::<i64>().prop_map(|v| (v.into(), Kind::Int64Value(v))),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| (v.into(), Kind::Float64Value(v))),
        text().prop_map(|v| (v.clone().into(), Kind::StringValue(v))),
        nested.prop_map(|v| {
            let text = v.to_string();
            (v, Kind::JsonValue(text))
        }),
    ]
}

proptest! {
    #[test]
    fn json_and_proto_of_an_event_decode_alike(
        entity_id in "[^\\x00-\\x1f\\x7f-\\x9f]{1,12}",
        event_id in option::of("[a-z\"\\\\é]{1,8}"),
        seconds in 0..4_000_000_000_i64,
        nanos in 0..1_000_000_000_i32,
        value in option::of(value()),
        metadata in btree_map("[a-c]{0,2}", value(), 0..5),
    ) {
        let time = prost_types::Timestamp { seconds, nanos };
        let rounded = Timestamp::from_seconds_nanos(time.seconds, time.nanos, Round::Up).unwrap();
        let text = Timestamp::from_seconds_nanos(seconds, 0, Round::Up).unwrap().to_string();
        let text = format!("{}.{nanos:09}Z", text.trim_end_matches('Z'));
        let mut object = json!({"entity_id": entity_id, "event_type": "x", "timestamp": text});
        if let Some(id) = &event_id {
            object["event_id"] = id.as_str().into();
        }
        if let Some((json, _)) = &value {
            object["value"] = json.clone();
        }
        object["metadata"] = metadata.iter().map(|(key, (json, _))| (key.clone(), json.clone())).collect();
        let event = proto::Event {
            entity_id, event_type: "x".into(), timestamp: Some(time), event_id: event_id.unwrap_or_default(),
            value: value.map(|(_, kind)| proto::Value { kind: Some(kind) }),
            metadata: metadata.into_iter().map(|(key, (_, kind))| (key, proto::Value { kind: Some(kind) })).collect(),
            ..Default::default()
        };
        let (json, proto) = (of_json(&object.to_string()), of_proto(&event));
        let (left, right) = (decode(&json).unwrap(), decode(&proto).unwrap());
        prop_assert_eq!(&left.head, &right.head);
        prop_assert_eq!(left.head.timestamp, rounded);
        prop_assert_eq!(rounded.seconds() - seconds, i64::from(nanos > 999_999_000));
        let fields = names(&["value", "metadata.a", "metadata.b", "metadata.a.b", "metadata.c.a.b", "metadata.ab.c"]);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        left.fields(&fields, &mut a);
        right.fields(&fields, &mut b);
        // A double of the contract's has no text; the shortest one, which JSON was made of, says the same number.
        for (a, b) in a.iter_mut().zip(&b) {
            if let (FieldValue::Digits(_, double), FieldValue::Float(_)) = (*a, b) {
                *a = FieldValue::Float(double);
            }
        }
        prop_assert_eq!(a, b);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..64), text in r#"[\[\]{}:, "\\a-cu0-9.eE+\-tfn]{0,40}"#) {
        let fields = names(&["value", "metadata.a", "metadata.a.b"]);
        let mut message = Vec::new();
        plain().encode(&mut message).unwrap();
        message.extend_from_slice(&bytes);
        for payload in [
            Payload::Json(bytes.clone().into()),
            Payload::Proto(bytes.into()),
            Payload::Proto(message.into()),
            with_head(&format!(r#""metadata":{text}"#)),
        ] {
            if let Ok(event) = decode(&payload) {
                event.fields(&fields, &mut Vec::new());
            }
        }
    }

    /// The walk over checked text owes no more than not to panic where it is not checked.
    #[test]
    fn no_text_makes_the_walk_panic(text in r#"[\[\]{}:, "\\a-cé0-9.\-tfn]{0,40}"#) {
        let texts = Texts::default();
        scan::find(&text, Some("a.b"), &texts);
        scan::find(&format!("{{\"a\":{text}}}"), Some("a.b"), &texts);
        scan::value(&text, &texts);
    }
}
