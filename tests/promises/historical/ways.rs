//! One question, one answer, whatever the transport and the form.

use super::convert::{
    batch_of, flatten, ipc, lines, object, options, percent, rows_of, slices, typed, typed_row,
};
use crate::support::TestApp;
use arrow::ipc::reader::StreamReader;
use larder::{
    feature::{Round, Timestamp},
    wire::proto::{
        GetHistoricalFeaturesRequest, GetHistoricalFeaturesResponse, Schema, SpineRows,
        get_historical_features_request::Part as Asked, get_historical_features_response::Part as Reply,
    },
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message;
use serde_json::{Map, Value};

/// A way to ask for a training set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Json,
    Lines,
    JsonToParquet,
    LinesToArrow,
    Arrow,
    ArrowToParquet,
    ArrowToLines,
    GrpcRows,
    GrpcArrow,
    GrpcRowsToArrow,
    GrpcArrowToRows,
}

use Way::*;

pub const WAYS: [Way; 11] = [
    Json,
    Lines,
    JsonToParquet,
    LinesToArrow,
    Arrow,
    ArrowToParquet,
    ArrowToLines,
    GrpcRows,
    GrpcArrow,
    GrpcRowsToArrow,
    GrpcArrowToRows,
];

impl Way {
    /// Whether the cuts between messages of columns show where the caller paused; the rows do not.
    pub fn follows_pauses(self) -> bool {
        matches!(self, GrpcArrow | GrpcRowsToArrow)
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Got {
    /// As natural JSON: the spine's columns and the features, moments as RFC 3339.
    pub rows: Vec<Map<String, Value>>,
    /// What must repeat byte for byte.
    pub bytes: Vec<u8>,
    pub settled_at: String,
    pub repeatable: bool,
    pub spine_hash: Option<String>,
}

/// A refusal, as both transports put it.
#[derive(Debug)]
pub struct Refused {
    /// Of the problem's type, such as `invalid-argument`.
    pub slug: String,
    pub field: Option<String>,
    pub detail: String,
}

/// Asks for a training set; `request` is the JSON request without its spine.
pub async fn ask(
    app: &TestApp,
    key: &str,
    way: Way,
    request: &Value,
    spine: &[Value],
) -> Result<Got, Refused> {
    match way {
        GrpcRows | GrpcArrow | GrpcRowsToArrow | GrpcArrowToRows => {
            over_grpc(app, key, way, request, spine).await
        }
        _ => over_rest(app, key, way, request, spine).await,
    }
}

/// Asks in every way and checks that all answer the same.
pub async fn ask_all(app: &TestApp, request: &Value, spine: &[Value]) -> Vec<Map<String, Value>> {
    let mut first: Option<Vec<Map<String, Value>>> = None;
    for way in WAYS {
        let got =
            ask(app, app.key(), way, request, spine).await.unwrap_or_else(|why| panic!("{way:?}: {why:?}"));
        let rows: Vec<_> = got.rows.into_iter().map(|row| alike(row, spine)).collect();
        match &first {
            None => first = Some(rows),
            Some(first) => {
                assert_eq!(first.len(), rows.len(), "{way:?}");
                for (at, (first, row)) in first.iter().zip(&rows).enumerate() {
                    assert_eq!(first, row, "row {at}, {way:?}");
                }
            }
        }
    }
    first.unwrap()
}

/// Asks in every way and checks that each refuses for the same reason.
pub async fn refuse_all(app: &TestApp, request: &Value, spine: &[Value], slug: &str, field: &str) {
    for way in WAYS {
        let refused = match ask(app, app.key(), way, request, spine).await {
            Ok(got) => panic!("{way:?} took it: {:?}", got.rows),
            Err(refused) => refused,
        };
        assert_eq!(refused.slug, slug, "{way:?}: {refused:?}");
        assert_eq!(refused.field.as_deref(), Some(field), "{way:?}: {refused:?}");
        assert!(!refused.detail.is_empty());
    }
}

/// Columns that a form adds to or takes from rows without changing what they say.
fn alike(mut row: Map<String, Value>, spine: &[Value]) -> Map<String, Value> {
    let own = |name: &str| spine.iter().any(|row| row.get(name).is_some());
    // In a file a column that a row left out is null.
    row.retain(|name, value| !value.is_null() || !own(name));
    row
}

async fn over_rest(
    app: &TestApp,
    key: &str,
    way: Way,
    request: &Value,
    spine: &[Value],
) -> Result<Got, Refused> {
    const ARROW: &str = "application/vnd.apache.arrow.stream";
    const PARQUET: &str = "application/vnd.apache.parquet";
    const LINES: &str = "application/x-ndjson";
    let rest = app.rest_with(Some(key));
    let post = |path: &str| rest.request(reqwest::Method::POST, path);
    let batch = "/api/v1/features/batch";
    let builder = match way {
        Json | JsonToParquet => {
            let mut whole = request.clone();
            whole["spine"] = spine.into();
            post(batch).json(&whole)
        }
        Lines | LinesToArrow => post(batch).header("content-type", LINES).body(lines(request, spine)),
        _ => {
            let path = format!("{batch}?request={}", percent(&request.to_string()));
            post(&path).header("content-type", ARROW).body(ipc(&batch_of(request, spine), 100))
        }
    };
    let accept = match way {
        Json => "application/json",
        Lines | ArrowToLines => LINES,
        JsonToParquet | ArrowToParquet => PARQUET,
        _ => ARROW,
    };
    let response = builder.header("accept", accept).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap().to_vec();
    if status != 200 {
        let problem: Value =
            serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{way:?}: {status} {bytes:?}"));
        return Err(Refused {
            slug: problem["type"].as_str().unwrap().trim_start_matches("urn:larder:problem:").into(),
            field: problem["field"].as_str().map(str::to_owned),
            detail: problem["detail"].as_str().unwrap().into(),
        });
    }
    assert_eq!(headers["content-type"], accept);
    let mut got = Got {
        rows: Vec::new(),
        settled_at: headers["x-larder-settled-at"].to_str().unwrap().into(),
        repeatable: headers["x-larder-repeatable"] == "true",
        spine_hash: None,
        bytes,
    };
    match accept {
        LINES => {
            got.rows =
                got.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(object).collect()
        }
        ARROW => {
            for batch in StreamReader::try_new(&got.bytes[..], None).unwrap() {
                let batch = batch.unwrap();
                got.spine_hash = Some(batch.schema().metadata()["larder.spine_hash"].clone());
                assert_eq!(batch.schema().metadata()["larder.settled_at"], got.settled_at);
                got.rows.extend(rows_of(&batch));
            }
        }
        PARQUET => {
            let reader =
                ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(got.bytes.clone())).unwrap();
            let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
            let told = |key: &str| metadata.iter().find(|pair| pair.key == key).unwrap().value.clone();
            assert_eq!(told("larder.settled_at").as_ref(), Some(&got.settled_at));
            assert_eq!(
                told("larder.repeatable").as_deref(),
                Some(if got.repeatable { "true" } else { "false" })
            );
            got.spine_hash = told("larder.spine_hash");
            for batch in reader.build().unwrap() {
                got.rows.extend(rows_of(&batch.unwrap()));
            }
        }
        _ => {
            let mut document: Value = serde_json::from_slice(&got.bytes).unwrap();
            assert_eq!(document["settled_at"], got.settled_at.as_str());
            assert_eq!(document["repeatable"], got.repeatable);
            got.spine_hash = document["spine_hash"].as_str().map(str::to_owned);
            let rows = document["rows"].as_array_mut().unwrap();
            got.rows = rows.drain(..).map(|row| row.as_object().unwrap().clone()).collect();
        }
    }
    got.rows.iter_mut().for_each(flatten);
    Ok(got)
}

async fn over_grpc(
    app: &TestApp,
    key: &str,
    way: Way,
    request: &Value,
    spine: &[Value],
) -> Result<Got, Refused> {
    let mut grpc = app.grpc_with(Some(key)).await;
    let mut options = options(request);
    options.format = match way {
        GrpcRowsToArrow => 2,
        GrpcArrowToRows => 1,
        _ => 0,
    };
    let mut parts = vec![Asked::Options(options)];
    match way {
        GrpcRows | GrpcRowsToArrow => parts.extend(spine.chunks(100).map(|rows| {
            Asked::Rows(SpineRows { rows: rows.iter().map(|row| typed(request, row)).collect() })
        })),
        _ => parts.extend(
            slices(&batch_of(request, spine), 100).map(|slice| Asked::ArrowIpc(ipc(&slice, 100).into())),
        ),
    }
    let messages = parts.into_iter().map(|part| GetHistoricalFeaturesRequest { part: Some(part) });
    let answers = grpc.get_historical_features(tokio_stream::iter(messages.collect::<Vec<_>>())).await;
    let mut answers = answers.map_err(refused)?.into_inner();
    let mut collector = Collector::default();
    while let Some(answer) = answers.message().await.map_err(refused)? {
        collector.take(answer);
    }
    Ok(collector.finish())
}

/// Collects the messages of a gRPC answer.
#[derive(Default)]
pub struct Collector {
    schema: Schema,
    got: Option<Got>,
    ended: bool,
}

impl Collector {
    pub fn take(&mut self, answer: GetHistoricalFeaturesResponse) {
        assert!(answer.encoded_len() <= 4 << 20);
        assert!(!self.ended, "nothing follows the summary");
        match answer.part.unwrap() {
            Reply::Header(header) => {
                assert!(self.got.is_none());
                let settled_at = header.settled_at.unwrap();
                let settled_at =
                    Timestamp::from_seconds_nanos(settled_at.seconds, settled_at.nanos, Round::Down);
                self.schema = header.schema.unwrap();
                self.got = Some(Got {
                    rows: Vec::new(),
                    bytes: Vec::new(),
                    settled_at: settled_at.unwrap().to_string(),
                    repeatable: header.repeatable,
                    spine_hash: None,
                });
            }
            Reply::Rows(rows) => {
                let got = self.got.as_mut().unwrap();
                got.bytes.extend(rows.encode_to_vec());
                got.rows.extend(rows.rows.iter().map(|row| typed_row(&self.schema, row)));
            }
            Reply::ArrowIpc(bytes) => {
                let got = self.got.as_mut().unwrap();
                got.bytes.extend_from_slice(&bytes);
                for batch in StreamReader::try_new(&bytes[..], None).unwrap() {
                    let batch = batch.unwrap();
                    assert_eq!(batch.schema().metadata()["larder.settled_at"], got.settled_at);
                    got.rows.extend(rows_of(&batch));
                }
            }
            Reply::Summary(summary) => {
                let got = self.got.as_mut().unwrap();
                assert_eq!(summary.rows, got.rows.len() as u64);
                got.spine_hash = Some(summary.spine_hash);
                self.ended = true;
            }
        }
    }

    pub fn rows(&self) -> usize {
        self.got.as_ref().map_or(0, |got| got.rows.len())
    }

    pub fn finish(self) -> Got {
        assert!(self.ended, "a whole answer ends with a summary");
        let mut got = self.got.unwrap();
        got.rows.iter_mut().for_each(flatten);
        got
    }
}

pub fn refused(status: tonic::Status) -> Refused {
    use tonic_types::StatusExt;
    let details = status.get_error_details();
    Refused {
        slug: details.error_info().unwrap().reason.to_lowercase().replace('_', "-"),
        field: details.bad_request().map(|request| request.field_violations[0].field.clone()),
        detail: status.message().into(),
    }
}
