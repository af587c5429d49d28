//! Files of events in.

use super::Terminal;
use arrow::{
    array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray},
    datatypes::DataType,
};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use std::{io::Write, process::Stdio, sync::Arc};

async fn terminal() -> Terminal {
    let terminal = Terminal::new().await;
    let features = json!({"features": [
        {"name": "spent", "entity_type": "user", "dtype": "float64",
         "window": {"event_type": "purchase", "function": "sum", "size": "1h"}},
        {"name": "codes", "entity_type": "user", "dtype": "int64",
         "window": {"event_type": "purchase", "function": "approx_distinct", "field": "metadata.code", "size": "1h"}}]});
    terminal.app.rest().post("/api/v1/features/register", &features).await.json(200);
    terminal
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_go_to_a_file_and_good_ones_into_the_log() {
    let terminal = terminal().await;
    let file = terminal.file(
        "purchases.csv",
        "bought_at,user,amount,code,event_id,note\n\
         2026-01-01T00:00:00Z,eve,9.5,007,a,x\n\
         2026-01-01T00:00:01Z,eve,9.5,007,a,x\n\
         2026-01-01T00:00:00Z,,9.5,1,b,x\n\
         2026-01-01T00:00:00,fay,9.5,1,c,x\n\
         2026-01-01T00:00:00Z,gus,many,1,d,x\n\
         2026-01-01T00:00:00Z,hal\n\
         2999-01-01T00:00:00Z,ida,1,1,,\n",
    );
    let args = [
        "events",
        &file,
        "--type",
        "purchase",
        "--time",
        "bought_at",
        "--entity",
        "user",
        "--value",
        "amount",
    ];
    let said = terminal.run(&[&args[..], &["--text", "code", "--json"]].concat()).await;
    let counts: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(counts, json!({"accepted": 3, "unused": 0, "late": 0, "duplicate": 1, "rejected": 4}));
    assert!(said.complaint().contains("purchases.csv.rejects.ndjson"));
    let rejects = terminal.text("purchases.csv.rejects.ndjson");
    let rejects: Vec<Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |line: u64| rejects.iter().find(|reject| reject["line"] == line).unwrap();
    assert_eq!(of(4)["field"], "entity_id");
    assert_eq!(of(5)["field"], "bought_at");
    assert!(of(7)["reason"].as_str().unwrap().contains("CSV"));
    assert_eq!(of(8)["field"], "timestamp");
    // What was refused can be mended and sent as it stands.
    let mended = json!({"entity_id": "ida", "event_type": "purchase", "timestamp": "2999-01-01T00:00:00Z", "value": 1,
                        "metadata": {"code": "1"}});
    assert_eq!(of(8)["event"], mended);
    let said =
        terminal.run(&["events", &file, "--type", "nobody", "--time", "bought_at", "--entity", "user"]).await;
    // They were seen within the hour.
    assert_eq!(said.out, "3 events accepted, 0 unused, 0 late, 3 duplicate, 4 rejected, all durable.\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_from_standard_input() {
    let terminal = terminal().await;
    let mut command = terminal.command(env!("CARGO_BIN_EXE_larder"));
    command
        .args(["events", "-", "--format", "ndjson", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let lines = "{\"entity_id\": 17, \"event_type\": \"purchase\", \"timestamp\": \"2026-01-01T00:00:00Z\", \"value\": 2.5, \"metadata\": {\"code\": {\"a\": []}}, \"event_id\": null}\n\n\
                 {\"entity_id\": \"17\", \"event_type\": \"view\", \"timestamp\": \"2026-01-01T00:00:00Z\", \"code\": 7}\n\
                 {\"entity_id\": 1.5}\n";
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let output = output.await.unwrap();
    assert!(!output.status.success());
    assert_eq!(
        serde_json::from_slice::<Value>(&output.stdout).unwrap(),
        json!({"accepted": 2, "unused": 1, "late": 0, "duplicate": 0, "rejected": 1})
    );
    assert!(terminal.text("stdin.rejects.ndjson").contains("entity_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_fit_nothing_stop_the_command() {
    let terminal = terminal().await;
    for (text, part) in [
        ("", "names no columns"),
        ("entity_id,event_type\nu,p\n", "--time"),
        ("timestamp,event_timestamp,entity_id,event_type\n", "--ignore"),
        ("timestamp,event_type\n2026-01-01T00:00:00Z,p\n", "--entity"),
        ("timestamp,entity_id\n2026-01-01T00:00:00Z,u\n", "--type"),
        ("timestamp,entity_id,event_type,metadata.a.b\n", "NDJSON"),
    ] {
        let file = terminal.file("bad.csv", text);
        let complaint = terminal.run(&["events", &file]).await.complaint();
        assert!(complaint.contains(part), "{complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_keeps_its_types() {
    let terminal = terminal().await;
    let nanos = TimestampNanosecondArray::from(vec![1_767_225_600_000_000_001, 1_767_225_600_000_000_000]);
    let columns: [(&str, ArrayRef); 5] = [
        ("timestamp", Arc::new(nanos.with_timezone("UTC"))),
        ("entity_id", Arc::new(Int64Array::from(vec![7, 8]))),
        ("event_type", Arc::new(StringArray::from(vec!["purchase", "purchase"]))),
        ("value", Arc::new(Float64Array::from(vec![Some(1.25), None]))),
        ("metadata.code", Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    assert_eq!(batch.schema().field(3).data_type(), &DataType::Float64);
    let path = terminal.directory.path().join("purchases.parquet");
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let said = terminal.run(&["events", "purchases.parquet", "--json"]).await.json();
    // The second holds neither field: no feature takes it.
    assert_eq!(said, json!({"accepted": 2, "unused": 1, "late": 0, "duplicate": 0, "rejected": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let terminal = terminal().await;
    let line =
        r#"{"entity_id": "eve", "event_type": "purchase", "value": 1, "timestamp": "2026-01-01T00:00:00Z"}"#;
    let file = terminal.file("marked.ndjson", &format!("\u{feff}{line}\n"));
    let said = terminal.run(&["events", &file, "--json"]).await.json();
    assert_eq!(said["accepted"], 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_features_may_ask_for_the_most_frequent_values() {
    let terminal = Terminal::new().await;
    let features = terminal.file(
        "features.yaml",
        "features:\n\
         - {name: codes, entity_type: user, dtype: list<string>,\n\
            window: {event_type: buy, function: topk, k: 2, field: metadata.code, size: 5m, slide: 5m}}\n\
         - {name: counts, entity_type: user, dtype: json,\n\
            window: {event_type: buy, function: topk, k: 1, counts: true, field: metadata.code, size: 5m, slide: 5m}}\n",
    );
    terminal.run(&["apply", &features]).await.ok();
    let events: String = [(310, "b"), (320, "a"), (330, "c"), (340, "c"), (900, "z")]
        .iter()
        .map(|(second, code)| {
            let minute = format!("1970-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
            let event = json!({"entity_id": "u", "event_type": "buy", "timestamp": minute, "metadata": {"code": code}});
            format!("{event}\n")
        })
        .collect();
    let events = terminal.file("events.ndjson", &events);
    terminal.run(&["events", &events]).await.ok();
    let args = ["get", "u", "-f", "codes,counts", "--as-of", "1970-01-01T00:10:00Z"];
    let started = std::time::Instant::now();
    loop {
        let said = terminal.run(&[&args[..], &["--json"]].concat()).await.json();
        let row = &said["results"][0];
        if row["statuses"]["codes"] == "PRESENT" {
            assert_eq!(row["values"], json!({"codes": ["c", "a"], "counts": [["c", 2]]}));
            break;
        }
        assert!(started.elapsed().as_secs() < 60, "{said}");
    }
    let table = terminal.run(&args).await.ok();
    assert!(table.contains(r#"["c","a"]"#), "{table}");
}
