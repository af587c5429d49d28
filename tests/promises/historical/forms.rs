//! Columns of every Arrow type go through untouched, and mean the same in JSON.

use super::{
    convert::{percent, rows_of},
    rules::{at, world},
};
use crate::support::TestApp;
use arrow::{
    array::*,
    compute::{cast, concat_batches},
    datatypes::*,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

const ROWS: usize = 3;

fn spine() -> RecordBatch {
    let micros: Vec<i64> = (0..ROWS as i64).map(|row| 1_705_305_600_000_000 + row * 60_000_000).collect();
    let nanos: Vec<i64> = micros.iter().map(|time| time * 1_000 + 999).collect();
    let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]));
    let to = |array: &ArrayRef, kind: DataType| cast(array, &kind).unwrap();
    let dictionary = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
    let mut columns: Vec<(String, ArrayRef)> = vec![
        (
            "entity_id".into(),
            to(&(Arc::new(StringArray::from(vec!["u1"; ROWS])) as ArrayRef), dictionary.clone()),
        ),
        (
            "timestamp".into(),
            Arc::new(TimestampNanosecondArray::from(nanos.clone()).with_timezone("Europe/Berlin")),
        ),
        ("naive".into(), Arc::new(TimestampMicrosecondArray::from(micros))),
        ("category".into(), to(&strings, dictionary)),
        ("large".into(), to(&strings, DataType::LargeUtf8)),
        ("view".into(), to(&strings, DataType::Utf8View)),
        ("date".into(), to(&ints, DataType::Date64)),
        ("decimal".into(), to(&ints, DataType::Decimal128(20, 2))),
        ("nothing".into(), new_null_array(&DataType::Null, ROWS)),
        ("flags".into(), Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("bytes".into(), Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\xff\x00"), None, Some(b"")]))),
    ];
    for kind in [
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
    ] {
        columns.push((format!("as_{kind}"), to(&ints, kind)));
    }
    let mut list = ListBuilder::new(Float32Builder::new());
    list.append_value([Some(0.1), None]);
    list.append_null();
    list.append_value([]);
    columns.push(("list".into(), Arc::new(list.finish())));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn with_struct(batch: &RecordBatch) -> RecordBatch {
    let inner: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let field = Arc::new(Field::new("x", DataType::Int64, false));
    let nested: ArrayRef = Arc::new(StructArray::from(vec![(field, inner)]));
    let mut fields: Vec<FieldRef> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(
        Field::new("nested", nested.data_type().clone(), false)
            .with_metadata(HashMap::from([("unit".to_owned(), "m".to_owned())])),
    ));
    let mut columns = batch.columns().to_vec();
    columns.push(nested);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

async fn post(app: &TestApp, spine: &RecordBatch, accept: &str) -> (u16, bytes::Bytes) {
    let mut body = StreamWriter::try_new(Vec::new(), spine.schema_ref()).unwrap();
    body.write(&spine.slice(0, 2)).unwrap();
    body.write(&spine.slice(2, 1)).unwrap();
    let path =
        format!("/api/v1/features/batch?request={}", percent(&json!({"features": ["country"]}).to_string()));
    let request = app
        .rest()
        .request(reqwest::Method::POST, &path)
        .header("content-type", "application/vnd.apache.arrow.stream")
        .header("accept", accept)
        .body(body.into_inner().unwrap());
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_any_type_come_back_as_they_were() {
    let app = TestApp::start().await;
    world(&app).await;
    let spine = with_struct(&spine());
    let (status, bytes) = post(&app, &spine, "application/vnd.apache.arrow.stream").await;
    assert_eq!(status, 200, "{bytes:?}");
    let batches: Vec<RecordBatch> =
        StreamReader::try_new(&bytes[..], None).unwrap().map(Result::unwrap).collect();
    let answer = concat_batches(batches[0].schema_ref(), &batches).unwrap();
    assert_eq!(&answer.schema().fields()[..spine.num_columns()], &spine.schema().fields()[..]);
    for (position, column) in spine.columns().iter().enumerate() {
        assert_eq!(answer.column(position), column, "{}", spine.schema().field(position));
    }
    let countries: Vec<Value> = rows_of(&answer.project(&[spine.num_columns()]).unwrap())
        .iter()
        .map(|row| row["country"].clone())
        .collect();
    assert_eq!(countries, ["GB", "GB", "FR"]);
    let (status, bytes) = post(&app, &spine, "application/vnd.apache.parquet").await;
    assert_eq!(status, 200, "{bytes:?}");
    let (status, bytes) = post(&app, &spine, "application/x-ndjson").await;
    assert_eq!(status, 400, "a struct has no form in JSON here: {bytes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_mean_the_same_in_json() {
    let app = TestApp::start().await;
    world(&app).await;
    let (status, bytes) = post(&app, &spine(), "application/x-ndjson").await;
    assert_eq!(status, 200, "{bytes:?}");
    let rows: Vec<Value> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(rows.len(), ROWS);
    let moment = at(0.0).replace('Z', ".000000999Z");
    assert_eq!(
        rows[0],
        json!({"entity_id": "u1", "timestamp": moment, "naive": at(0.0).trim_end_matches('Z'), "category": "a", "large": "a", "view": "a",
               "date": "1970-01-01T00:00:00.001", "decimal": 1.0, "nothing": null, "flags": true, "bytes": "/wA=",
               "as_Int8": 1, "as_Int16": 1, "as_Int32": 1, "as_Int64": 1, "as_Float32": 1.0, "as_Float64": 1.0,
               "list": [0.1, null], "country": "GB"})
    );
    assert!(rows[1]["category"].is_null() && rows[1]["decimal"].is_null() && rows[1]["list"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_without_a_time_zone_is_refused() {
    let app = TestApp::start().await;
    world(&app).await;
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["u1"]));
    for (time, refused) in [
        (Arc::new(TimestampMicrosecondArray::from(vec![0])) as ArrayRef, true),
        (Arc::new(Int64Array::from(vec![0])), true),
        (Arc::new(Date32Array::from(vec![0])), true),
        (Arc::new(TimestampSecondArray::from(vec![0]).with_timezone("UTC")), false),
        (Arc::new(TimestampMillisecondArray::from(vec![0]).with_timezone("+02:00")), false),
        (Arc::new(StringViewArray::from(vec!["2024-01-15T14:22:00+01:00"])), false),
        (Arc::new(TimestampSecondArray::from(vec![i64::MAX]).with_timezone("UTC")), true),
    ] {
        let spine = RecordBatch::try_from_iter([("entity_id", ids.clone()), ("timestamp", time)]).unwrap();
        let spine = concat_batches(spine.schema_ref(), [&spine, &spine, &spine]).unwrap();
        let (status, bytes) = post(&app, &spine, "application/vnd.apache.arrow.stream").await;
        assert_eq!(status, if refused { 400 } else { 200 }, "{:?}: {bytes:?}", spine.schema());
    }
}
