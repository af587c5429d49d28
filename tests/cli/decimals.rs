//! Decimals out of files and into them.

use super::Terminal;
use arrow::{
    array::{
        Array, ArrayRef, AsArray, Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array,
        Int64Array, RecordBatch, StringArray,
    },
    datatypes::{DataType, Decimal128Type, i256},
};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use serde_json::{Value, json};
use std::sync::Arc;

async fn terminal() -> Terminal {
    let terminal = Terminal::with_shop().await;
    let file = terminal.file(
        "fees.yaml",
        "features: [{name: fee, entity_type: seller, dtype: 'decimal(20,2)', default: '0.10'}]\n",
    );
    terminal.run(&["apply", &file]).await.ok();
    terminal
}

async fn fees(terminal: &Terminal, ids: &[&str]) -> Vec<Value> {
    let args = [&["get"], ids, &["-f", "fee", "--json"]].concat();
    let read = terminal.run(&args).await.json();
    read["results"].as_array().unwrap().iter().map(|row| row["values"]["fee"].clone()).collect()
}

fn parquet(terminal: &Terminal, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = std::fs::File::create(terminal.directory.path().join("fees.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn text_files_are_read_by_value() {
    let terminal = terminal().await;
    let csv = terminal.file(
        "fees.csv",
        "event_timestamp,seller,fee\n\
         2026-01-01T00:00:00Z,a,123456789012345678.900\n\
         2026-01-01T00:00:00Z,b,1.5E-1\n\
         2026-01-01T00:00:00Z,c,007\n\
         2026-01-01T00:00:00Z,d,0.125\n\
         2026-01-01T00:00:00Z,e,\n",
    );
    let said = terminal.run(&["write", &csv, "--json"]).await;
    let counts: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(counts, json!({"accepted": 4, "unchanged": 0, "rejected": 1}));
    let rejects = terminal.text("fees.csv.rejects.ndjson");
    assert!(rejects.contains("values.fee") && rejects.contains("decimal(20,2)"), "{rejects}");
    let values = fees(&terminal, &["a", "b", "c", "e"]).await;
    assert_eq!(values, [json!("123456789012345678.90"), json!("0.15"), json!("7.00"), Value::Null]);

    let ndjson = terminal.file(
        "fees.ndjson",
        "{\"event_timestamp\": \"2026-01-01T00:00:00Z\", \"seller\": \"a\", \"fee\": 123456789012345678.9}\n\
         {\"event_timestamp\": \"2026-01-01T00:00:00Z\", \"seller\": \"b\", \"fee\": \"15e-2\"}\n\
         {\"event_timestamp\": \"2026-01-01T00:00:00Z\", \"seller\": \"z\", \"fee\": 7}\n",
    );
    let said = terminal.run(&["write", &ndjson, "--json"]).await.json();
    assert_eq!(said, json!({"accepted": 1, "unchanged": 2, "rejected": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_decimals_of_every_width_are_read_by_value() {
    let terminal = terminal().await;
    let columns: [ArrayRef; 5] = [
        Arc::new(Decimal32Array::from(vec![15_000, -10]).with_precision_and_scale(9, 4).unwrap()),
        Arc::new(Decimal64Array::from(vec![1_500, -1]).with_precision_and_scale(18, 3).unwrap()),
        Arc::new(Decimal128Array::from(vec![15, 123]).with_precision_and_scale(38, 1).unwrap()),
        Arc::new(
            Decimal256Array::from(vec![i256::from_i128(1_500_000), i256::from_i128(1)])
                .with_precision_and_scale(60, 6)
                .unwrap(),
        ),
        Arc::new(Int64Array::from(vec![2, i64::MAX])),
    ];
    // The second row of each either fits by its value or is one rejected row, never another number.
    let expected = [("1.50", None), ("1.50", None), ("1.50", Some("12.30")), ("1.50", None), ("2.00", None)];
    for (round, (column, (first, second))) in columns.into_iter().zip(expected).enumerate() {
        let kind = column.data_type().clone();
        let time = format!("2026-01-01T00:0{round}:00Z");
        parquet(
            &terminal,
            vec![
                ("event_timestamp", Arc::new(StringArray::from(vec![&*time; 2]))),
                ("seller", Arc::new(StringArray::from(vec![format!("x{round}"), format!("y{round}")]))),
                ("fee", column),
            ],
        );
        let said = terminal.run(&["write", "fees.parquet", "--json"]).await;
        let counts: Value = serde_json::from_str(&said.out).unwrap();
        let accepted = 1 + u64::from(second.is_some());
        assert_eq!(
            (&counts["accepted"], &counts["rejected"]),
            (&json!(accepted), &json!(2 - accepted)),
            "{kind}"
        );
        let values = fees(&terminal, &[&format!("x{round}"), &format!("y{round}")]).await;
        assert_eq!(values, [json!(first), second.map_or(Value::Null, Value::from)], "{kind}");
    }
    let doubles: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![0.1]));
    parquet(
        &terminal,
        vec![
            ("event_timestamp", Arc::new(StringArray::from(vec!["2026-01-01T00:00:00Z"]))),
            ("seller", Arc::new(StringArray::from(vec!["x"]))),
            ("fee", doubles),
        ],
    );
    let complaint = terminal.run(&["write", "fees.parquet"]).await.complaint();
    assert!(complaint.contains("decimal(20,2)") && complaint.contains("Float64"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn training_sets_hold_decimals_in_every_format() {
    let terminal = terminal().await;
    let csv = terminal
        .file("fees.csv", "event_timestamp,seller,fee\n2026-01-01T00:00:00Z,a,123456789012345678.9\n");
    terminal.run(&["write", &csv]).await.ok();
    let spine =
        terminal.file("spine.csv", "timestamp,seller\n2026-01-02T00:00:00Z,a\n2026-01-02T00:00:00Z,b\n");
    let lines = terminal.run(&["batch", &spine, "-f", "fee"]).await.ok();
    assert_eq!(
        serde_json::from_str::<Value>(lines.lines().next().unwrap()).unwrap()["fee"],
        "123456789012345678.90"
    );
    terminal.run(&["batch", &spine, "-f", "fee", "-o", "out.csv"]).await.ok();
    assert!(terminal.text("out.csv").contains(",a,123456789012345678.90\n"), "{}", terminal.text("out.csv"));
    terminal.run(&["batch", &spine, "-f", "fee", "-o", "out.parquet"]).await.ok();
    let file = std::fs::File::open(terminal.directory.path().join("out.parquet")).unwrap();
    let batch =
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let fee = batch.column_by_name("fee").unwrap();
    assert_eq!(fee.data_type(), &DataType::Decimal128(20, 2));
    assert_eq!(fee.as_primitive::<Decimal128Type>().value(0), 12_345_678_901_234_567_890);
    assert!(fee.is_null(1));
    // What it wrote it takes: the training set as a spine, its decimals as they are; and as rows.
    let again = terminal.run(&["batch", "out.parquet", "-f", "fee"]).await;
    assert!(again.complaint().contains("fee"), "a column of the spine and a feature of one name");
    let amounts = Decimal128Array::from(vec![12_345_678_901_234_567_890]).with_precision_and_scale(30, 3);
    parquet(
        &terminal,
        vec![
            ("timestamp", Arc::new(StringArray::from(vec!["2026-01-02T00:00:00Z"]))),
            ("seller", Arc::new(StringArray::from(vec!["a"]))),
            ("amount", Arc::new(amounts.unwrap())),
        ],
    );
    let own = terminal.run(&["batch", "fees.parquet", "-f", "fee"]).await.ok();
    assert!(own.contains("\"amount\":12345678901234567.890"), "a column of the spine stays a number: {own}");
    let history = terminal.run(&["history", "a", "-f", "fee", "--json"]).await.json();
    assert_eq!(
        (&history["dtype"], &history["values"][0]["value"]),
        (&json!("decimal(20,2)"), &json!("123456789012345678.90"))
    );
    let table = terminal.run(&["get", "a", "-f", "fee"]).await.ok();
    assert!(table.contains("123456789012345678.90"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_with_a_point_stands_in_quotes() {
    let terminal = Terminal::with_shop().await;
    let file = terminal.file(
        "fee.yaml",
        "features: [{name: fee, entity_type: seller, dtype: 'decimal(20,2)', default: 0.1}]\n",
    );
    let complaint = terminal.run(&["apply", &file]).await.complaint();
    assert!(complaint.contains("default") && complaint.contains("quotes"), "{complaint}");
}
