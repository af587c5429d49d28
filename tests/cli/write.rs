//! Files of rows in.

use super::Terminal;
use arrow::{
    array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray},
    datatypes::DataType,
};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use std::{io::Write, process::Stdio, sync::Arc};

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_go_to_a_file_and_good_ones_into_the_store() {
    let terminal = Terminal::with_shop().await;
    let file = terminal.file(
        "profiles.csv",
        "event_timestamp,user,country,tier,newsletter\n\
         2026-01-01T00:00:00Z,eve,NL,silver,true\n\
         2026-01-01T00:00:00Z,,NL,silver,true\n\
         2026-01-01T00:00:00,fay,NL,silver,true\n\
         2026-01-01T00:00:00Z,gus,NL,silver,maybe\n\
         2026-01-01T00:00:00Z,hal,NL\n\
         2026-01-02T00:00:00Z,\"i, \"\"v\"\"\",,gold,\n",
    );
    let said = terminal.run(&["write", &file, "--json"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&said.out).unwrap(),
        json!({"accepted": 2, "unchanged": 0, "rejected": 4})
    );
    assert!(said.complaint().contains("profiles.csv.rejects.ndjson"));
    let rejects = terminal.text("profiles.csv.rejects.ndjson");
    let rejects: Vec<Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut lines: Vec<_> = rejects.iter().map(|reject| reject["line"].as_u64().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [3, 4, 5, 6]);
    let of = |line: u64| rejects.iter().find(|reject| reject["line"] == line).unwrap();
    assert_eq!(of(4)["field"], "event_timestamp");
    assert_eq!(of(5)["field"], "values.newsletter");
    let read = terminal.run(&["get", "i, \"v\"", "-f", "country,tier,newsletter", "--json"]).await.json();
    let row = &read["results"][0];
    assert_eq!(row["values"], json!({"country": null, "tier": "gold", "newsletter": null}));
    assert_eq!(row["statuses"]["country"], "NULL_VALUE");
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_a_file_again_changes_nothing() {
    let terminal = Terminal::with_shop().await;
    let mut text = String::from("event_timestamp,product,price\n");
    for i in 0..10_000 {
        text += &format!("2026-01-01T00:00:00Z,p{i},{}.5\n", i % 90);
    }
    let file = terminal.file("prices.csv", &text);
    let said = terminal.run(&["write", &file, "--json"]).await.json();
    assert_eq!(said, json!({"accepted": 10_000, "unchanged": 0, "rejected": 0}));
    let said = terminal.run(&["write", &file]).await.ok();
    assert_eq!(said, "0 rows accepted, 10000 unchanged, 0 rejected, all durable.\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_from_standard_input() {
    let terminal = Terminal::with_shop().await;
    let mut command = terminal.command(env!("CARGO_BIN_EXE_larder"));
    let args = [
        "write",
        "-",
        "--format",
        "ndjson",
        "--time",
        "at",
        "--entity",
        "product=sku",
        "--ignore",
        "note",
        "--json",
    ];
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let lines = "{\"at\": \"2026-01-01T00:00:00Z\", \"sku\": 17, \"price\": 2, \"note\": {\"any\": []}}\n\n\
                 {\"event_timestamp\": \"2026-01-02T00:00:00Z\", \"entity_type\": \"product\", \"entity_id\": \"17\", \"values\": {\"price\": null}}\n";
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let output = output.await.unwrap();
    // The second line says its time in a column that --time took the name from.
    assert!(!output.status.success());
    assert_eq!(
        serde_json::from_slice::<Value>(&output.stdout).unwrap(),
        json!({"accepted": 1, "unchanged": 0, "rejected": 1})
    );
    assert!(terminal.text("stdin.rejects.ndjson").contains("event_timestamp"));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_fit_nothing_stop_the_command() {
    let terminal = Terminal::with_shop().await;
    for (text, part) in [
        ("event_timestamp,product,prise\n2026-01-01T00:00:00Z,p,1\n", "prise"),
        ("", "names no columns"),
        ("product,price\np,1\n", "--time"),
        ("event_timestamp,price\n2026-01-01T00:00:00Z,1\n", "--entity"),
        ("event_timestamp,product\n2026-01-01T00:00:00Z,1\n", "feature"),
    ] {
        let file = terminal.file("bad.csv", text);
        let complaint = terminal.run(&["write", &file]).await.complaint();
        assert!(complaint.contains(part), "{complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_keeps_its_types() {
    let terminal = Terminal::with_shop().await;
    let nanos = TimestampNanosecondArray::from(vec![1_767_225_600_000_000_001, 1_767_225_600_000_000_000]);
    let columns: [(&str, ArrayRef); 4] = [
        ("at", Arc::new(nanos.with_timezone("UTC"))),
        ("user", Arc::new(Int64Array::from(vec![7, 8]))),
        ("basket_value", Arc::new(Float64Array::from(vec![Some(1.25), None]))),
        ("basket_items", Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(0)]))),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let path = terminal.directory.path().join("baskets.parquet");
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let said = terminal.run(&["write", "baskets.parquet", "--time", "at", "--json"]).await.json();
    assert_eq!(said["accepted"], 2);
    let read = terminal.run(&[
        "get",
        "7",
        "8",
        "-f",
        "basket_items",
        "basket_value",
        "--as-of",
        "2026-01-01T00:00:01Z",
        "--json",
    ]);
    let read = read.await.json();
    assert_eq!(read["results"][0]["values"]["basket_items"].as_i64(), Some(i64::MAX));
    assert_eq!(read["results"][0]["event_timestamps"]["basket_items"], "2026-01-01T00:00:00.000001Z");
    assert_eq!(read["results"][1]["statuses"]["basket_value"], "NULL_VALUE");

    let wrong: ArrayRef = Arc::new(StringArray::from(vec!["1", "2"]));
    let batch = RecordBatch::try_from_iter(batch.schema().fields().iter().zip(batch.columns()).map(
        |(field, column)| match field.data_type() {
            DataType::Float64 => (field.name().clone(), wrong.clone()),
            _ => (field.name().clone(), column.clone()),
        },
    ));
    let batch = batch.unwrap();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let complaint = terminal.run(&["write", "baskets.parquet", "--time", "at"]).await.complaint();
    assert!(complaint.contains("basket_value") && complaint.contains("float64"), "{complaint}");
}
