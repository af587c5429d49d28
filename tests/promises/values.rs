//! Values are exact: what goes in over one transport comes out of both, to the last digit.

use super::{
    records::Row,
    via::{Via, each, expect},
};
use crate::support::TestApp;
use larder::feature::{Decimal, DecimalType, List, Timestamp, Value};
use serde_json::json;

/// A feature of each dtype: the value as REST takes it, as REST gives it, and as the vocabulary has it.
fn cases() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let time = |micros| Timestamp::from_micros(micros).unwrap();
    let decimal = |unscaled, precision, scale| {
        Value::Decimal(Decimal::new(unscaled, DecimalType::new(precision, scale).unwrap()).unwrap())
    };
    vec![
        ("bool", "true", "true", Value::Bool(true)),
        ("int64", "9223372036854775807", "9223372036854775807", Value::Int64(i64::MAX)),
        ("int64", "\"-9223372036854775808\"", "-9223372036854775808", Value::Int64(i64::MIN)),
        ("int64", "9007199254740993", "9007199254740993", Value::Int64(9_007_199_254_740_993)),
        ("float64", "0.1", "0.1", Value::Float64(0.1)),
        ("float64", "-0.0", "0.0", Value::Float64(0.0)),
        ("float64", "5e-324", "5e-324", Value::Float64(5e-324)),
        ("float64", "1.7976931348623157e308", "1.7976931348623157e+308", Value::Float64(f64::MAX)),
        ("float32", "0.1", "0.1", Value::Float32(0.1)),
        ("float32", "16777217", "16777216.0", Value::Float32(16_777_216.0)),
        ("float32", "3.4028235e38", "3.4028235e+38", Value::Float32(f32::MAX)),
        ("string", "\"caf\\u00e9 \\ud83d\\ude42\\n\"", "\"café 🙂\\n\"", Value::String("café 🙂\n".into())),
        ("string", "\"cafe\u{301}\"", "\"cafe\u{301}\"", Value::String("cafe\u{301}".into())),
        ("bytes", "\"AP8B\"", "\"AP8B\"", Value::Bytes(vec![0, 255, 1])),
        (
            "timestamp",
            "\"2024-01-15T15:22:00.5+01:00\"",
            "\"2024-01-15T14:22:00.500Z\"",
            Value::Timestamp(time(1_705_328_520_500_000)),
        ),
        (
            "timestamp",
            "\"9999-12-31T23:59:59.999999Z\"",
            "\"9999-12-31T23:59:59.999999Z\"",
            Value::Timestamp(Timestamp::MAX),
        ),
        (
            "json",
            "{\"b\": [1.0, 1e2, null], \"a\": {}}",
            "{\"a\":{},\"b\":[1,100,null]}",
            Value::Json("{\"a\":{},\"b\":[1,100,null]}".into()),
        ),
        (
            "list<int64>",
            "[1, null, \"-9223372036854775808\"]",
            "[1,null,-9223372036854775808]",
            Value::List(List::Int64(vec![Some(1), None, Some(i64::MIN)])),
        ),
        ("list<float32>", "[0.1, 2]", "[0.1,2.0]", Value::List(List::Float32(vec![Some(0.1), Some(2.0)]))),
        ("list<string>", "[]", "[]", Value::List(List::String(vec![]))),
        (
            "list<bytes>",
            "[\"AA==\", null]",
            "[\"AA==\",null]",
            Value::List(List::Bytes(vec![Some(vec![0]), None])),
        ),
        ("list<bool>", "[true, null]", "[true,null]", Value::List(List::Bool(vec![Some(true), None]))),
        (
            "list<timestamp>",
            "[\"1970-01-01T00:00:00Z\"]",
            "[\"1970-01-01T00:00:00Z\"]",
            Value::List(List::Timestamp(vec![Some(time(0))])),
        ),
        ("list<float64>", "[null]", "[null]", Value::List(List::Float64(vec![None]))),
        ("decimal(4,1)", "1.100", "\"1.1\"", decimal(11, 4, 1)),
        ("decimal(4,1)", "\"-1.1E2\"", "\"-110.0\"", decimal(-1_100, 4, 1)),
        ("decimal(4,1)", "-0", "\"0.0\"", decimal(0, 4, 1)),
        (
            "decimal(38,2)",
            "123456789012345678901234567890123456.78",
            "\"123456789012345678901234567890123456.78\"",
            decimal(12_345_678_901_234_567_890_123_456_789_012_345_678, 38, 2),
        ),
    ]
}

async fn register(via: &mut Via) {
    let features: Vec<_> = cases()
        .iter()
        .enumerate()
        .map(|(i, (dtype, ..))| json!({"name": format!("f{i}"), "entity_type": "user", "dtype": dtype}))
        .collect();
    via.register(json!({"features": features})).await.unwrap();
}

#[tokio::test]
async fn json_in_comes_out_of_both_exactly() {
    let app = TestApp::start().await;
    register(&mut Via::Rest(app.rest())).await;
    for (i, (dtype, input, output, value)) in cases().into_iter().enumerate() {
        let body = format!(
            "{{\"rows\":[{{\"entity_id\":\"u\",\"event_timestamp\":\"2024-01-15T14:22:00Z\",\"values\":{{\"f{i}\":{input}}}}}]}}"
        );
        let request = app.rest().request(reqwest::Method::POST, "/api/v1/features/write");
        let request = request.header("content-type", "application/json").body(body);
        assert_eq!(crate::support::send(request).await.json(200)["accepted"], 1, "{dtype} {input}");
        let answer = app.rest().get(&format!("/api/v1/features/f{i}/history?entity_id=u")).await;
        assert!(
            answer.text.contains(&format!("\"value\":{output},\"status\"")),
            "{dtype} {input}: {}",
            answer.text
        );
        let history =
            Via::Grpc(app.grpc().await).history(&format!("f{i}"), &[("entity_id", "u")]).await.unwrap().0;
        assert_eq!(history[0].1, Ok(Some(value)), "{dtype} {input}");
    }
    let strings = app.rest().get("/api/v1/features/f1/history?entity_id=u&int64=string").await;
    assert!(strings.text.contains("\"value\":\"9223372036854775807\""), "{}", strings.text);
}

#[tokio::test]
async fn values_written_by_either_are_the_same_row() {
    let app = TestApp::start().await;
    let mut ways = [Via::Rest(app.rest()), Via::Grpc(app.grpc().await)];
    register(&mut ways[0]).await;
    let rows: Vec<Row> = cases()
        .into_iter()
        .enumerate()
        .map(|(i, (.., value))| Row::new("u", 1.0, &[(&format!("f{i}"), Some(value))]))
        .collect();
    let first = ways[0].write(&rows).await.unwrap();
    assert_eq!(first.accepted, rows.len() as u64);
    let second = ways[1].write(&rows).await.unwrap();
    assert_eq!((second.accepted, second.unchanged), (0, rows.len() as u64));
}

#[tokio::test]
async fn non_finite_values_need_leave() {
    each(async |_, via| {
        let feature = |name: &str, dtype: &str, allow: bool| {
            json!({"name": name, "entity_type": "user", "dtype": dtype, "allow_non_finite": allow})
        };
        let features = [
            feature("strict", "float64", false),
            feature("free", "float64", true),
            feature("free32", "float32", true),
            feature("strict_list", "list<float32>", false),
        ];
        via.register(json!({"features": features})).await.unwrap();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let row = |name: &str, value| [Row::new("u", 1.0, &[(name, Some(value))])];
            expect(via.write(&row("strict", Value::Float64(value))).await, "invalid-argument", "rows[0].values.strict");
            let list = Value::List(List::Float32(vec![Some(value as f32)]));
            expect(via.write(&row("strict_list", list)).await, "invalid-argument", "rows[0].values.strict_list");
            assert_eq!(via.write(&row("free", Value::Float64(value))).await.unwrap().accepted, 1);
            assert_eq!(via.write(&row("free", Value::Float64(value))).await.unwrap().unchanged, 1);
            assert_eq!(via.write(&row("free32", Value::Float32(value as f32))).await.unwrap().accepted, 1);
        }
        let newest = via.history("free", &[("entity_id", "u")]).await.unwrap().0.pop().unwrap();
        assert_eq!(newest.1, Ok(Some(Value::Float64(f64::NEG_INFINITY))));
    })
    .await;
}

#[tokio::test]
async fn bad_json_is_refused() {
    let app = TestApp::start().await;
    let features = [
        json!({"name": "n", "entity_type": "user", "dtype": "int64"}),
        json!({"name": "x", "entity_type": "user", "dtype": "float64"}),
        json!({"name": "j", "entity_type": "user", "dtype": "json"}),
        json!({"name": "s", "entity_type": "user", "dtype": "string"}),
        json!({"name": "l", "entity_type": "user", "dtype": "list<float32>"}),
        json!({"name": "d", "entity_type": "user", "dtype": "decimal(4,1)"}),
    ];
    app.rest().post("/api/v1/features/register", &json!({"features": features})).await.json(200);
    let post = async |body: String| {
        let request = app.rest().request(reqwest::Method::POST, "/api/v1/features/write");
        crate::support::send(request.header("content-type", "application/json").body(body)).await
    };
    let row = |values: &str| {
        format!(
            "{{\"rows\":[{{\"entity_id\":\"u\",\"event_timestamp\":\"2024-01-15T14:22:00Z\",\"values\":{values}}}]}}"
        )
    };
    let nested = |depth: usize| format!("{{\"j\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let list = |len: usize| format!("{{\"l\":[{}]}}", vec!["1"; len].join(","));
    for (values, field) in [
        ("{\"n\":9223372036854775808}".to_owned(), "values.n"),
        ("{\"n\":1.0}".into(), "values.n"),
        ("{\"n\":1e3}".into(), "values.n"),
        ("{\"n\":true}".into(), "values.n"),
        ("{\"d\":1.15}".into(), "values.d"),
        ("{\"d\":1000}".into(), "values.d"),
        ("{\"d\":1e300}".into(), "values.d"),
        ("{\"d\":\"\"}".into(), "values.d"),
        ("{\"d\":\" 1\"}".into(), "values.d"),
        ("{\"d\":\"NaN\"}".into(), "values.d"),
        ("{\"d\":true}".into(), "values.d"),
        ("{\"d\":1,\"d\":1.0}".into(), "values.d"),
        ("{\"x\":1e400}".into(), "values.x"),
        ("{\"x\":\"1\"}".into(), "values.x"),
        ("{\"x\":\"NaN\"}".into(), "values.x"),
        ("{\"x\":1,\"x\":2}".into(), "values.x"),
        ("{\"j\":{\"a\":1,\"a\":2}}".into(), "values.j.a"),
        ("{\"j\":1e400}".into(), "values.j"),
        ("{\"s\":\"\\ud800\"}".into(), "values.s"),
        ("{\"s\":\"\\u0000\"}".into(), "values.s"),
        (list(4_097), "values.l[4096]"),
        ("[]".into(), "values"),
    ] {
        let (found, detail) = post(row(&values)).await.problem(400);
        let found = found.unwrap_or_default();
        assert!(
            found == format!("rows[0].{field}") || found == format!("rows[0].{field}[0]"),
            "{values}: {found}: {detail}"
        );
    }
    for body in [
        row("{\"n\":1}").replace("entity_id", "entity_no"),
        row("{\"n\":1}") + "x",
        row("{\"n\":1}")[..40].to_owned(),
        row(&nested(33)),
        row(&nested(10_000)),
        format!("{{\"rows\":{}}}", "[".repeat(10_000)),
        String::new(),
        "[]".into(),
        "{\"rows\":[1]}".into(),
        "{\"rows\":{}}".into(),
        "{\"rows\":[],\"rows\":[]}".into(),
        row("{\"n\":1}").replace("00Z", "00"),
        row("{\"n\":1}").replace("00Z", "60Z"),
        row("{\"n\":1}").replace("\"2024-01-15T14:22:00Z\"", "1705328520000"),
        row("{\"n\":1}").replace("\"u\"", "1.5"),
    ] {
        let (_, detail) = post(body.clone()).await.problem(400);
        assert!(!detail.is_empty(), "{body}");
    }
    assert_eq!(post(row(&nested(32))).await.json(200)["accepted"], 1);
    assert_eq!(post(row(&list(4_096))).await.json(200)["accepted"], 1);
    // An integer stands for its decimal text.
    assert_eq!(post(row("{\"n\":1}").replace("\"u\"", "42")).await.json(200)["accepted"], 1);
    let answer = app.rest().get("/api/v1/features/n/history?entity_id=42").await.json(200);
    assert_eq!(answer["values"][0]["value"], 1);
}

#[tokio::test]
async fn finer_than_a_microsecond_is_rounded_up() {
    let app = TestApp::start().await;
    let features = json!({"features": [{"name": "n", "entity_type": "user", "dtype": "int64"}]});
    app.rest().post("/api/v1/features/register", &features).await.json(200);
    let row =
        json!({"entity_id": "u", "event_timestamp": "2024-01-15T14:22:00.0000001Z", "values": {"n": 1}});
    app.rest().post("/api/v1/features/write", &json!({"rows": [row]})).await.json(200);
    let answer = app.rest().get("/api/v1/features/n/history?entity_id=u").await.json(200);
    assert_eq!(answer["values"][0]["event_timestamp"], "2024-01-15T14:22:00.000001Z");
}
