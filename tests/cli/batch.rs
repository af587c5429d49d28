//! Training sets out of files.

use super::{Terminal, shop};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn every_format_holds_the_same_rows() {
    let terminal = Terminal::with_shop().await;
    let spine = shop("purchases.csv").to_string_lossy().into_owned();
    let lines = terminal.run(&["batch", &spine, "--set", "checkout"]).await.ok();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(
        rows[0],
        json!({"timestamp": "2025-11-28T12:00:00Z", "user": "ann", "product": "lamp", "bought": 1, "country": "GB",
               "tier": "bronze", "basket_value": 73.49, "price": 48.99, "views": 3, "spent_1h": null})
    );
    assert_eq!(rows[1]["views"], Value::Null);
    terminal.run(&["batch", &spine, "--set", "checkout", "-o", "out.csv"]).await.ok();
    let csv = terminal.text("out.csv");
    assert_eq!(
        csv.lines().next().unwrap(),
        "timestamp,user,product,bought,country,tier,basket_value,price,views,spent_1h"
    );
    assert_eq!(csv.lines().nth(2).unwrap(), "2025-11-28T13:15:00Z,ben,kettle,0,DE,silver,12.0,24.5,,");
    let made =
        terminal.run(&["batch", &spine, "--set", "checkout", "-o", "out.parquet", "--json"]).await.json();
    assert_eq!((&made["rows"], &made["repeatable"]), (&json!(4), &json!(true)));
    // A training set is a spine as well: its own rows come back with another feature beside them.
    let again = terminal.run(&["batch", "out.parquet", "-f", "newsletter"]).await.ok();
    let first: Value = serde_json::from_str(again.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["newsletter"], &first["price"], &first["bought"]),
        (&json!(true), &json!(48.99), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_set_repeats_byte_for_byte_whatever_is_learned_later() {
    let terminal = Terminal::with_shop().await;
    let spine = shop("purchases.csv").to_string_lossy().into_owned();
    terminal.run(&["batch", &spine, "--set", "checkout", "-o", "first.parquet", "--details"]).await.ok();
    let correction = terminal.file(
        "correction.csv",
        "event_timestamp,user,country,tier,newsletter\n2025-11-03T08:15:00Z,ann,IE,gold,\n",
    );
    terminal.run(&["write", &correction]).await.ok();
    let file = terminal
        .file("v2.yaml", "features: [{name: price, entity_type: product, dtype: float32, version: 2}]");
    terminal.run(&["apply", &file]).await.ok();
    terminal.run(&["feature", "price@2", "--status", "active"]).await.ok();
    terminal.run(&["batch", "--repeat", "first.parquet", "-o", "again.parquet"]).await.ok();
    assert!(terminal.read("first.parquet") == terminal.read("again.parquet"));
    terminal.run(&["batch", "--repeat", "again.parquet", "-o", "third.parquet"]).await.ok();
    assert!(terminal.read("first.parquet") == terminal.read("third.parquet"));
    terminal.run(&["batch", &spine, "--set", "checkout", "-o", "now.parquet", "--details"]).await.ok();
    assert!(terminal.read("first.parquet") != terminal.read("now.parquet"));
    let other =
        terminal.file("other.csv", "timestamp,user,product,bought\n2025-11-28T12:00:00Z,ann,lamp,1\n");
    let complaint = terminal
        .run(&["batch", &other, "--repeat", "first.parquet", "-o", "other.parquet"])
        .await
        .complaint();
    assert!(complaint.contains("spine"), "{complaint}");
    assert!(!terminal.directory.path().join("other.parquet").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_any_name_and_order() {
    let terminal = Terminal::with_shop().await;
    let spine = terminal.file(
        "spine.ndjson",
        "{\"customer\": \"ann\", \"label\": 0.5, \"at\": \"2025-11-28T12:00:00+00:00\", \"tags\": [1, \"x\"]}\n\
         {\"at\": \"2025-11-28T15:00:00Z\", \"customer\": \"ann\", \"label\": 2}\n",
    );
    let args = ["batch", &spine, "-f", "tier", "--time", "at", "--entity", "user=customer", "--details"];
    let lines = terminal.run(&args).await.ok();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&rows[0]["tier"], &rows[1]["tier"]), (&json!("bronze"), &json!("gold")));
    assert_eq!((&rows[0]["label"], &rows[0]["tags"]), (&json!(0.5), &json!([1, "x"])));
    assert_eq!(rows[0]["at"], "2025-11-28T12:00:00+00:00");
    assert_eq!(
        (&rows[1]["tier__status"], &rows[1]["tier__event_timestamp"]),
        (&json!("PRESENT"), &json!("2025-11-28T14:30:00Z"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_come_back_in_order() {
    let terminal = Terminal::with_shop().await;
    let mut text = String::from("row,timestamp,user,note\n");
    for row in 0..50_000 {
        let user = ["ann", "ben", "dan"][row % 3];
        text += &format!("{row},2025-11-28T{:02}:00:00Z,{user},\"a note, with a comma\"\n", row % 24);
    }
    let spine = terminal.file("spine.csv", &text);
    terminal.run(&["batch", &spine, "-f", "country,basket_value", "-o", "out.csv"]).await.ok();
    let out = terminal.text("out.csv");
    let mut given = text.lines().skip(1);
    let mut rows = 0;
    for line in out.lines().skip(1) {
        assert!(line.starts_with(given.next().unwrap()), "{line}");
        rows += 1;
    }
    assert_eq!(rows, 50_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_spine_leaves_no_file() {
    let terminal = Terminal::with_shop().await;
    for (name, text, part) in [
        ("no_zone.csv", "timestamp,user\n2025-11-28T12:00:00,ann\n", "timestamp"),
        ("no_time.csv", "user\nann\n", "timestamp"),
        ("clash.csv", "timestamp,user,country\n2025-11-28T12:00:00Z,ann,GB\n", "country"),
        ("short.csv", "timestamp,user\n2025-11-28T12:00:00Z\n", "CSV"),
        ("broken.ndjson", "{\"timestamp\": \n", "line 1"),
    ] {
        let spine = terminal.file(name, text);
        let complaint =
            terminal.run(&["batch", &spine, "-f", "country", "-o", "out.parquet"]).await.complaint();
        assert!(complaint.contains(part), "{complaint}");
    }
    let left: Vec<_> = std::fs::read_dir(terminal.directory.path()).unwrap().collect();
    assert_eq!(left.len(), 5, "{left:?}");
}
