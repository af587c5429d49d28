//! Decimals are exact, by value and on every path: what is written in any spelling comes out of every form with all its
//! digits.

use super::{
    historical::{ask_all, at},
    looks::{explain, statistics},
    online::ask::{Ask, present},
    records::Row,
    via::{Via, each, expect},
};
use crate::support::TestApp;
use larder::feature::{Decimal, DecimalType, Value};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value as Json, json};

/// A number as its digits on either side of the point: the model computes nothing.
#[derive(Clone, Debug)]
struct Digits {
    negative: bool,
    whole: String,
    fraction: String,
}

const SCALE: usize = 6;

impl Digits {
    fn any() -> impl Strategy<Value = Self> {
        (any::<bool>(), "[1-9][0-9]{0,31}|", "[0-9]{0,6}").prop_map(|(negative, whole, fraction)| Self {
            negative,
            whole,
            fraction,
        })
    }

    /// As Larder writes it.
    fn canonical(&self) -> String {
        let is_zero = self.whole.is_empty() && self.fraction.bytes().all(|digit| digit == b'0');
        let sign = if self.negative && !is_zero { "-" } else { "" };
        let whole = if self.whole.is_empty() { "0" } else { &self.whole };
        format!("{sign}{whole}.{:0<SCALE$}", self.fraction)
    }

    /// The same value, written otherwise; all of them are numbers of JSON.
    fn spelling(&self, which: usize) -> String {
        let sign = if self.negative { "-" } else { "" };
        let whole = if self.whole.is_empty() { "0" } else { &self.whole };
        let all = format!("{}{:0<SCALE$}", self.whole, self.fraction);
        let all = all.trim_start_matches('0');
        let all = if all.is_empty() { "0" } else { all };
        match which % 4 {
            0 => format!("{sign}{whole}.{}0", self.fraction),
            1 => format!("{sign}{all}e-{SCALE}"),
            2 => format!("{sign}{all}.000E-0{SCALE}"),
            _ => format!("{sign}0.{:0>40}e{}", all, 40 - SCALE),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_spelling_comes_out_of_every_form_with_all_its_digits() {
    let app = TestApp::start().await;
    let feature = json!({"name": "amount", "entity_type": "user", "dtype": format!("decimal(38,{SCALE})")});
    Via::Rest(app.rest()).register(json!({"features": [feature]})).await.unwrap();
    let mut runner = TestRunner::deterministic();
    let numbers: Vec<Digits> =
        (0..60).map(|_| Digits::any().new_tree(&mut runner).unwrap().current()).collect();
    let (mut rows, mut spine) = (Vec::new(), Vec::new());
    for (i, number) in numbers.iter().enumerate() {
        let spelling = number.spelling(i);
        let value = if i % 3 == 0 { format!("{spelling:?}") } else { spelling };
        rows.push(format!(
            "{{\"entity_id\":\"u{i}\",\"event_timestamp\":\"{}\",\"values\":{{\"amount\":{value}}}}}",
            at(0.0)
        ));
        spine.push(json!({"entity_id": format!("u{i}"), "timestamp": at(1.0)}));
    }
    let write = async |rows: &[String]| {
        let body = format!("{{\"rows\":[{}]}}", rows.join(","));
        let request = app.rest().request(reqwest::Method::POST, "/api/v1/features/write");
        crate::support::send(request.header("content-type", "application/json").body(body)).await.json(200)
    };
    assert_eq!(write(&rows).await["accepted"], 60);
    assert_eq!(write(&rows).await["unchanged"], 60);
    // The same values over gRPC are the same rows, however they are spelt.
    let of = DecimalType::new(38, SCALE as u32).unwrap();
    let typed = numbers.iter().enumerate().map(|(i, number)| {
        let value = Decimal::parse(&number.canonical(), of).unwrap();
        let mut row = Row::new(&format!("u{i}"), 0.0, &[("amount", Some(Value::Decimal(value)))]);
        row.event_timestamp =
            Some(larder::feature::Timestamp::parse(&at(0.0), larder::feature::Round::Up).unwrap());
        row
    });
    let typed: Vec<Row> = typed.collect();
    assert_eq!(Via::Grpc(app.grpc().await).write(&typed).await.unwrap().unchanged, 60);

    let ids: Vec<String> = (0..60).map(|i| format!("u{i}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for ask in [Ask::new(&["amount"], &ids), Ask::new(&["amount"], &ids).as_of(at(1.0))] {
        let cells = ask.cells(&app).await;
        for (number, cells) in numbers.iter().zip(cells) {
            assert_eq!(cells, [present(number.canonical(), at(0.0))], "{number:?}");
        }
    }
    let request = json!({"features": ["amount"], "details": true});
    let answers = ask_all(&app, &request, &spine).await;
    for (number, row) in numbers.iter().zip(answers) {
        assert_eq!(row["amount"], number.canonical(), "{number:?}");
    }
}

#[tokio::test]
async fn more_digits_than_there_is_room_for_are_refused_with_the_reason() {
    each(async |_, via| {
        let feature = json!({"name": "fee", "entity_type": "user", "dtype": "decimal(4,1)", "default": "2.50"});
        expect(
            via.register(json!({"features": [{"name": "x", "entity_type": "user", "dtype": "decimal(4,1)", "default": "1.5"},
                {"name": "n", "entity_type": "user", "dtype": "decimal(4,1)", "window":
                    {"event_type": "buy", "function": "mean", "size": "5m"}}]}))
                .await,
            "invalid-argument",
            "features[1].window.function",
        );
        let registered = via.register(json!({"features": [feature]})).await.unwrap();
        assert_eq!(registered["features"][0]["dtype"], "decimal(4,1)");
        assert_eq!(registered["features"][0]["default"], "2.5");
        let wide = DecimalType::new(38, 5).unwrap();
        for text in ["1.15", "1000", "-1000.0", "0.001"] {
            let value = Value::Decimal(Decimal::parse(text, wide).unwrap());
            let row = [Row::new("u", 1.0, &[("fee", Some(value))])];
            expect(via.write(&row).await, "invalid-argument", "rows[0].values.fee");
        }
        let value = |text: &str| Value::Decimal(Decimal::parse(text, wide).unwrap());
        let row = |text: &str| [Row::new("u", 1.0, &[("fee", Some(value(text)))])];
        assert_eq!(via.write(&row("-999.9")).await.unwrap().accepted, 1);
        assert_eq!(via.write(&row("-999.90")).await.unwrap().unchanged, 1);
    })
    .await;
}

#[tokio::test]
async fn decimals_that_are_none_are_refused_at_registration() {
    let app = TestApp::start().await;
    let post = async |dtype: &str, default: Json| {
        let feature = json!({"name": "x", "entity_type": "user", "dtype": dtype, "default": default});
        app.rest().post("/api/v1/features/register", &json!({"features": [feature]})).await.problem(400)
    };
    for (dtype, cure) in [
        ("decimal(39,0)", "38"),
        ("decimal(0,0)", "38"),
        ("decimal(4,5)", "decimal(18,2)"),
        ("decimal(4)", "decimal(18,2)"),
        ("decimal", "decimal(P,S)"),
        ("list<decimal(4,1)>", "list<int64>"),
    ] {
        let (field, detail) = post(dtype, Json::Null).await;
        assert_eq!(field.as_deref(), Some("features[0].dtype"), "{dtype}");
        assert!(detail.contains(cure), "{dtype}: {detail}");
    }
    let (field, _) = post("decimal(4,1)", json!("1.25")).await;
    assert_eq!(field.as_deref(), Some("features[0].default"));
}

#[tokio::test]
async fn history_statistics_and_explanations_know_decimals() {
    each(async |_, via| {
        let feature = json!({"name": "fee", "entity_type": "user", "dtype": "decimal(20,2)"});
        via.register(json!({"features": [feature]})).await.unwrap();
        let of = DecimalType::new(20, 2).unwrap();
        let value = |text: &str| Some(Value::Decimal(Decimal::parse(text, of).unwrap()));
        let rows: Vec<Row> = [("1.25", 1.0), ("123456789012345678.75", 2.0), ("-2.50", 3.0)]
            .map(|(text, seconds)| Row::new("u", seconds, &[("fee", value(text))]))
            .into();
        via.write(&rows).await.unwrap();
        let history = via.history("fee", &[("entity_id", "u")]).await.unwrap().0;
        let values: Vec<_> = history.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [Ok(value("1.25")), Ok(value("123456789012345678.75")), Ok(value("-2.50"))]);
        let explained = explain(via, json!({"entity_id": "u", "feature": "fee"})).await.unwrap();
        assert_eq!((&explained["value"], &explained["dtype"]), (&json!("-2.50"), &json!("decimal(20,2)")));
        let span = [("from", "1970-01-01T00:00:00Z"), ("to", "1970-01-01T00:01:00Z")];
        let found = statistics(via, "fee", &span).await.unwrap();
        let (min, max) = (&found["total"]["min"], &found["total"]["max"]);
        assert_eq!((min.as_f64(), max.as_f64()), (Some(-2.5), Some(123_456_789_012_345_678.75)));
        assert_eq!(found["dtype"], "decimal(20,2)");
    })
    .await;
}
