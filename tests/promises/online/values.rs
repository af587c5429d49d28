//! Every dtype, and numbers to their last digit.

use super::{
    NOW,
    ask::{Ask, null, present},
    register, server, write,
};
use serde_json::{Value, json};

/// (dtype, values as they are written and as they are read)
fn cases() -> Vec<(&'static str, Vec<Value>)> {
    let text = |text: &str| text.parse::<Value>().unwrap();
    vec![
        ("bool", vec![json!(true), json!(false)]),
        ("int64", vec![json!(i64::MAX), json!(i64::MIN), json!(0), json!(9_007_199_254_740_993_i64)]),
        ("float64", vec![json!(0.1), json!(1e300), json!(-2.5), json!(5e-324)]),
        ("float32", vec![text("0.1"), text("16777216.0"), text("-1.5")]),
        ("string", vec![json!(""), json!("é e\u{301} 🦀 \" \\ \n"), json!("x".repeat(65_536))]),
        ("bytes", vec![json!(""), json!("AP8B")]),
        ("timestamp", vec![json!("2024-01-15T14:22:00Z"), json!("0001-01-01T00:00:00.000001Z")]),
        ("json", vec![json!({"a": [1, null, {"b": "c"}], "z": 0.5}), json!([]), json!("text"), json!(7)]),
        ("list<bool>", vec![json!([]), json!([true, null, false])]),
        ("list<int64>", vec![json!([i64::MIN, null, 0, -1])]),
        ("list<float64>", vec![json!([0.1, null])]),
        ("list<float32>", vec![json!([1.5, -0.25]), json!([null, null])]),
        ("list<string>", vec![json!(["", null, "é"])]),
        ("list<bytes>", vec![json!(["AP8B", null, ""])]),
        ("decimal(1,0)", vec![json!("7"), json!("-9"), json!("0")]),
        (
            "decimal(38,20)",
            vec![json!("123456789012345678.00000000000000000001"), json!("-0.50000000000000000000")],
        ),
        ("decimal(12,2)", vec![json!("9999999999.99"), json!("-0.01")]),
        ("list<timestamp>", vec![json!(["1969-12-31T23:59:59.500Z", null])]),
    ]
}

#[tokio::test]
async fn every_dtype_comes_back_as_it_was_written() {
    let app = server().await;
    let names: Vec<String> = (0..cases().len()).map(|n| format!("f{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let features: Vec<Value> = cases()
        .iter()
        .zip(&names)
        .map(
            |((dtype, _), name)| json!({"name": name, "entity_type": "user", "dtype": dtype, "group": "all"}),
        )
        .collect();
    register(&app, features.into()).await;
    let nulls: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    write(&app, "nulls", NOW, nulls.into()).await;
    let rounds = cases().iter().map(|(_, values)| values.len()).max().unwrap();
    for round in 0..rounds {
        let row: Vec<Value> =
            cases().iter().map(|(_, values)| values[round % values.len()].clone()).collect();
        let values: serde_json::Map<String, Value> =
            names.iter().zip(&row).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        write(&app, &format!("u{round}"), NOW, values.into()).await;
        let id = format!("u{round}");
        let expected: Vec<_> = row.iter().map(|value| present(value.clone(), NOW)).collect();
        let ask = Ask::new(&names, &[&id, "nulls"]);
        for ask in [ask.clone(), ask.as_of("2024-01-15T14:25:30Z")] {
            let cells = ask.cells(&app).await;
            assert_eq!(cells[0], expected, "round {round}");
            assert_eq!(cells[1], vec![null(NOW); names.len()]);
        }
    }
}

#[tokio::test]
async fn int64s_go_out_with_all_digits_or_as_strings() {
    let app = server().await;
    let features = json!([
        {"name": "n", "entity_type": "user", "dtype": "int64", "group": "g"},
        {"name": "l", "entity_type": "user", "dtype": "list<int64>", "group": "g", "default": [1]},
    ]);
    register(&app, features).await;
    write(&app, "u", NOW, json!({"n": "9223372036854775807", "l": null})).await;
    let ask = |form: &str| {
        let body = json!({"features": ["n", "l"], "entity_ids": ["u"], "use_defaults": true, "int64": form});
        let rest = app.rest();
        async move { rest.post("/api/v1/features/online", &body).await }
    };
    let answer = ask("number").await;
    assert!(answer.text.contains(r#""values":{"n":9223372036854775807,"l":[1]}"#), "{}", answer.text);
    let answer = ask("string").await;
    assert!(answer.text.contains(r#""values":{"n":"9223372036854775807","l":["1"]}"#), "{}", answer.text);
    assert_eq!(ask("double").await.problem(400).0.as_deref(), Some("int64"));
}

#[tokio::test]
async fn numbers_that_are_none_travel_as_strings() {
    let app = server().await;
    let features =
        json!([{"name": "x", "entity_type": "user", "dtype": "float64", "allow_non_finite": true}]);
    register(&app, features).await;
    for (id, value) in [("nan", "NaN"), ("up", "Infinity"), ("down", "-Infinity")] {
        write(&app, id, NOW, json!({"x": value})).await;
        assert_eq!(Ask::new(&["x"], &[id]).cells(&app).await, [[present(value, NOW)]]);
    }
    write(&app, "zero", NOW, json!({"x": -0.0})).await;
    let answer = app.rest().post("/api/v1/features/online", &Ask::new(&["x"], &["zero"]).json()).await;
    assert!(answer.text.contains(r#""values":{"x":0.0}"#), "{}", answer.text);
}
