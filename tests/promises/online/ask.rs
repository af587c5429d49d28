//! One question, put three ways; the answers are brought into one form and must agree.

use crate::support::{GrpcClient, RestClient, TestApp};
use larder::{
    feature::{Duration, Round, Timestamp, Value},
    store::NO_ROW,
    wire::{
        json::JsonWriter,
        proto::{self, value::Kind},
        value::{dtype_from, duration_to, timestamp_to, value_from},
    },
};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A question.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub features: Vec<String>,
    pub feature_set: String,
    pub entity_ids: Vec<String>,
    pub entities: Vec<(String, Vec<String>)>,
    pub as_of: Option<String>,
    pub max_age: Option<String>,
    pub use_defaults: bool,
}

/// One cell: its value as natural JSON, its status, and the event timestamp unless nothing was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub value: Json,
    pub status: String,
    pub event_timestamp: Option<String>,
}

/// Why a question was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub code: Code,
    pub status: u16,
    pub field: Option<String>,
    pub message: String,
}

/// Rows of cells, in the order of the question.
pub type Cells = Vec<Vec<Cell>>;

impl Ask {
    pub fn new(features: &[&str], entity_ids: &[&str]) -> Self {
        Self { features: texts(features), entity_ids: texts(entity_ids), ..Self::default() }
    }

    pub fn of_set(set: &str, entity_ids: &[&str]) -> Self {
        Self { feature_set: set.into(), entity_ids: texts(entity_ids), ..Self::default() }
    }

    pub fn by_key(features: &[&str], entities: &[(&str, &[&str])]) -> Self {
        let entities = entities.iter().map(|(key, ids)| ((*key).to_owned(), texts(ids))).collect();
        Self { features: texts(features), entities, ..Self::default() }
    }

    #[expect(clippy::wrong_self_convention, reason = "the word of the contract")]
    pub fn as_of(mut self, time: impl Into<String>) -> Self {
        self.as_of = Some(time.into());
        self
    }

    pub fn max_age(mut self, span: &str) -> Self {
        self.max_age = Some(span.into());
        self
    }

    pub fn use_defaults(mut self) -> Self {
        self.use_defaults = true;
        self
    }

    /// The answer, which must be the same three ways.
    #[track_caller]
    pub fn cells(self, app: &TestApp) -> impl Future<Output = Cells> {
        let caller = std::panic::Location::caller();
        let key = app.key().to_owned();
        let (rest, grpc) = (app.rest(), app.grpc());
        async move {
            let mut ways = Ways { rest, grpc: grpc.await };
            match ways.ask(&self).await {
                Ok(cells) => cells,
                Err(refused) => panic!("{caller}: {refused:?} with the key {key}"),
            }
        }
    }

    /// The refusal, which must be the same three ways.
    #[track_caller]
    pub fn refused(self, app: &TestApp) -> impl Future<Output = Refused> {
        let caller = std::panic::Location::caller();
        let (rest, grpc) = (app.rest(), app.grpc());
        async move {
            match (Ways { rest, grpc: grpc.await }).ask(&self).await {
                Ok(cells) => panic!("{caller}: it was answered: {cells:?}"),
                Err(refused) => refused,
            }
        }
    }

    pub fn message(&self) -> proto::GetOnlineFeaturesRequest {
        let ids = |ids: &Vec<String>| proto::EntityIds { ids: ids.clone() };
        let time = |text: &String| timestamp_to(Timestamp::parse(text, Round::Down).unwrap());
        let span = |text: &String| duration_to(text.parse::<Duration>().unwrap());
        proto::GetOnlineFeaturesRequest {
            features: self.features.clone(),
            feature_set: self.feature_set.clone(),
            entity_ids: self.entity_ids.clone(),
            entities: self.entities.iter().map(|(key, column)| (key.clone(), ids(column))).collect(),
            as_of: self.as_of.as_ref().map(time),
            max_age: self.max_age.as_ref().map(span),
            use_defaults: self.use_defaults,
            schema_id: 0,
        }
    }

    pub fn json(&self) -> Json {
        let mut body =
            json!({"as_of": self.as_of, "max_age": self.max_age, "use_defaults": self.use_defaults});
        if !self.features.is_empty() {
            body["features"] = self.features.clone().into();
        }
        if !self.feature_set.is_empty() {
            body["feature_set"] = self.feature_set.clone().into();
        }
        if !self.entity_ids.is_empty() {
            body["entity_ids"] = self.entity_ids.clone().into();
        }
        if !self.entities.is_empty() {
            let columns: Map<String, Json> =
                self.entities.iter().map(|(key, ids)| (key.clone(), ids.clone().into())).collect();
            body["entities"] = columns.into();
        }
        body
    }
}

/// The three ways to one server.
pub struct Ways {
    pub rest: RestClient,
    pub grpc: GrpcClient,
}

impl Ways {
    pub async fn to(app: &TestApp) -> Self {
        Self { rest: app.rest(), grpc: app.grpc().await }
    }

    pub async fn ask(&mut self, ask: &Ask) -> Result<Cells, Refused> {
        let over_grpc = self.grpc.get_online_features(ask.message()).await;
        let over_rest = self.rest.post("/api/v1/features/online", &ask.json()).await;
        let packed = self.rest.post("/api/v1/features/online:packed", &ask.json()).await;
        match over_grpc {
            Ok(answer) => {
                let cells = from_message(answer.get_ref(), ask.use_defaults);
                assert_eq!(cells, from_json(ask, &over_rest.json(200)), "REST differs");
                let packed = from_packed(&packed.json(200));
                assert_eq!(cells, from_message(&packed, ask.use_defaults), "packed differs");
                Ok(cells)
            }
            Err(status) => {
                let refused = from_status(&status, over_rest.status);
                let (field, message) = over_rest.problem(refused.status);
                assert_eq!((&field, &message), (&refused.field, &refused.message), "REST differs");
                let (field, message) = packed.problem(refused.status);
                assert_eq!((&field, &message), (&refused.field, &refused.message), "packed differs");
                Err(refused)
            }
        }
    }
}

/// The messages of the contract in proto3 JSON.
fn dynamic(name: &str) -> prost_reflect::MessageDescriptor {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    pool.get_message_by_name(&format!("larder.v1.{name}")).unwrap()
}

pub fn from_packed(body: &Json) -> proto::GetOnlineFeaturesResponse {
    let message = DynamicMessage::deserialize(dynamic("GetOnlineFeaturesResponse"), body).unwrap();
    message.transcode_to().unwrap()
}

pub fn from_message(answer: &proto::GetOnlineFeaturesResponse, use_defaults: bool) -> Cells {
    let schema = &answer.schema.as_ref().expect("a schema").features;
    let cell = |row: &proto::Row, position: usize| {
        let feature = &schema[position];
        let status = proto::FeatureStatus::try_from(row.statuses[position]).unwrap();
        let filled = match status {
            proto::FeatureStatus::Present => true,
            proto::FeatureStatus::Error => false,
            _ => use_defaults && feature.has_default,
        };
        let event = row.event_timestamps_us[feature.group as usize];
        let found = !matches!(status, proto::FeatureStatus::NotFound | proto::FeatureStatus::Error);
        Cell {
            value: if filled { value(row, feature) } else { Json::Null },
            status: status.as_str_name().to_owned(),
            event_timestamp: (found && event != NO_ROW).then(|| Timestamp::from_stored(event).to_string()),
        }
    };
    answer.rows.iter().map(|row| (0..schema.len()).map(|position| cell(row, position)).collect()).collect()
}

fn value(row: &proto::Row, feature: &proto::schema::Feature) -> Json {
    let (dtype, slot) = (dtype_from(feature.dtype, feature.decimal_type).unwrap(), feature.slot as usize);
    use proto::Dtype::*;
    let kind = match feature.dtype() {
        Bool => Kind::BoolValue(row.bools[slot]),
        Int64 => Kind::Int64Value(row.int64s[slot]),
        Float64 => Kind::Float64Value(row.float64s[slot]),
        Float32 => Kind::Float32Value(row.float32s[slot]),
        String => Kind::StringValue(row.strings[slot].clone()),
        Bytes => Kind::BytesValue(row.bytes_values[slot].clone()),
        Timestamp => Kind::TimestampValue(timestamp_to(larder::feature::Timestamp::from_stored(
            row.timestamps_us[slot],
        ))),
        Json => Kind::JsonValue(row.jsons[slot].clone()),
        Decimal => {
            let unscaled = i128::from_le_bytes(row.decimals[16 * slot..16 * slot + 16].try_into().unwrap());
            Kind::DecimalValue(format!("{unscaled}e-{}", feature.decimal_type.unwrap().scale))
        }
        _ => Kind::ListValue(row.lists[slot].clone()),
    };
    let value: Option<Value> = value_from(proto::Value { kind: Some(kind) }, dtype).unwrap();
    let mut text = Vec::new();
    JsonWriter::new(&mut text).value(value.as_ref());
    serde_json::from_slice(&text).unwrap()
}

pub fn from_json(ask: &Ask, body: &Json) -> Cells {
    let names: Vec<String> = match ask.features.is_empty() {
        true => body["features"].as_object().unwrap().keys().cloned().collect(),
        false => ask.features.clone(),
    };
    let results = body["results"].as_array().unwrap();
    let rows = results.iter().enumerate().map(|(row, result)| {
        if ask.entities.is_empty() {
            assert_eq!(result["entity_id"], ask.entity_ids[row]);
        } else {
            let entities: HashMap<_, _> =
                ask.entities.iter().map(|(key, ids)| (key.clone(), ids[row].clone())).collect();
            assert_eq!(result["entities"], json!(entities));
        }
        let cell = |name: &String| Cell {
            value: result["values"][name].clone(),
            status: result["statuses"][name].as_str().unwrap().to_owned(),
            event_timestamp: result["event_timestamps"][name].as_str().map(str::to_owned),
        };
        assert_eq!(result["values"].as_object().unwrap().len(), names.len());
        names.iter().map(cell).collect()
    });
    rows.collect()
}

fn from_status(status: &Status, over_rest: u16) -> Refused {
    let details = status.get_error_details();
    let violation = details.bad_request().and_then(|bad| bad.field_violations.first().cloned());
    let field = violation.map(|violation| violation.field);
    let message = match &field {
        Some(field) => status.message().strip_prefix(&format!("{field}: ")).unwrap_or(status.message()),
        None => status.message(),
    };
    Refused { code: status.code(), status: over_rest, field, message: message.to_owned() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A cell that is there.
pub fn present(value: impl Into<Json>, event_timestamp: impl Into<String>) -> Cell {
    cell(value, "PRESENT", Some(event_timestamp.into()))
}

pub fn not_found() -> Cell {
    cell(Json::Null, "NOT_FOUND", None)
}

pub fn null(event_timestamp: impl Into<String>) -> Cell {
    cell(Json::Null, "NULL_VALUE", Some(event_timestamp.into()))
}

pub fn stale(event_timestamp: impl Into<String>) -> Cell {
    cell(Json::Null, "OUTSIDE_MAX_AGE", Some(event_timestamp.into()))
}

pub fn cell(value: impl Into<Json>, status: &str, event_timestamp: Option<String>) -> Cell {
    Cell { value: value.into(), status: status.to_owned(), event_timestamp }
}
