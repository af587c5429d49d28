//! Spines and answers between natural JSON and every other form.

use crate::promises::shapes::to_json;
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::{
        DataType, Decimal128Type, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    },
    ipc::writer::StreamWriter,
};
use larder::{
    feature::{Decimal, DecimalType, Duration, Round, Timestamp, Value::List},
    wire::{
        proto::{
            Dtype, FeatureStatus, HistoricalOptions, Schema, SpineRow, TrainingRow, Value as ProtoValue,
            historical_options::Knowledge, value::Kind,
        },
        value::{dtype_from, value_from},
    },
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The request of a gRPC call that means the same.
pub fn options(request: &Value) -> HistoricalOptions {
    let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    HistoricalOptions {
        features: request["features"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| name.as_str().unwrap().into())
            .collect(),
        feature_set: text("feature_set"),
        knowledge: match request["known_at"].as_str() {
            None => None,
            Some("row") => Some(Knowledge::KnownAtRow(true)),
            Some(time) => Some(Knowledge::KnownAt(proto_time(time))),
        },
        columns: column_names(request).into_iter().collect(),
        details: request["details"] == true,
        max_age: request["max_age"].as_str().map(|span| {
            let micros = span.parse::<Duration>().unwrap().micros();
            prost_types::Duration { seconds: micros / 1_000_000, nanos: (micros % 1_000_000 * 1_000) as i32 }
        }),
        use_defaults: request["use_defaults"] == true,
        format: 0,
    }
}

fn column_names(request: &Value) -> BTreeMap<String, String> {
    let columns = request["columns"].as_object().into_iter().flatten();
    columns.map(|(name, column)| (name.clone(), column.as_str().unwrap().to_owned())).collect()
}

/// What the request calls the rows' time.
fn time_column(request: &Value, row: &Value) -> String {
    let mapped = column_names(request).get("timestamp").cloned();
    let plain = || if row.get("timestamp").is_some() { "timestamp" } else { "event_timestamp" }.to_owned();
    mapped.unwrap_or_else(plain)
}

fn proto_time(text: &str) -> prost_types::Timestamp {
    let time = chrono::DateTime::parse_from_rfc3339(text).unwrap();
    prost_types::Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() as i32 }
}

/// A row of a typed spine.
pub fn typed(request: &Value, row: &Value) -> SpineRow {
    let mut out = SpineRow::default();
    let (time, mapped) = (time_column(request, row), column_names(request));
    for (name, value) in row.as_object().unwrap() {
        let is_mapped = mapped.values().any(|column| column == name);
        let parsed = value
            .as_str()
            .filter(|_| *name == time)
            .and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
        let kind = match value {
            _ if parsed.is_some() => Kind::TimestampValue(proto_time(value.as_str().unwrap())),
            Value::Null => Kind::NullValue(true),
            Value::Bool(v) => Kind::BoolValue(*v),
            Value::Number(v) if v.is_i64() => Kind::Int64Value(v.as_i64().unwrap()),
            Value::Number(v) => Kind::Float64Value(v.as_f64().unwrap()),
            Value::String(v) => Kind::StringValue(v.clone()),
            other => Kind::JsonValue(other.to_string()),
        };
        match (name.as_str(), &kind) {
            (_, Kind::TimestampValue(time)) if !is_mapped => out.timestamp = Some(*time),
            ("entity_id", Kind::StringValue(id)) if !is_mapped => out.entity_id = id.clone(),
            ("entity_id", Kind::Int64Value(id)) if !is_mapped => out.entity_id = id.to_string(),
            ("user" | "merchant", Kind::StringValue(id)) if !is_mapped => {
                out.entities.insert(name.clone(), id.clone());
            }
            ("entity_id" | "timestamp", Kind::NullValue(_)) if !is_mapped => {}
            _ => {
                out.columns.insert(name.clone(), ProtoValue { kind: Some(kind) });
            }
        }
    }
    out
}

/// A spine as columns: moments as timestamps, everything else by its first value.
pub fn batch_of(request: &Value, spine: &[Value]) -> RecordBatch {
    let mut names: Vec<&String> = Vec::new();
    for name in spine.iter().flat_map(|row| row.as_object().unwrap().keys()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        let empty = |kind: DataType| arrow::array::new_empty_array(&kind);
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        return RecordBatch::try_from_iter([
            ("entity_id", empty(DataType::Utf8)),
            ("timestamp", empty(time)),
        ])
        .unwrap();
    }
    let columns = names.into_iter().map(|name| {
        let values: Vec<&Value> = spine.iter().map(|row| row.get(name).unwrap_or(&Value::Null)).collect();
        let time = |value: &Value| Timestamp::parse(value.as_str()?, Round::Down).ok().map(Timestamp::micros);
        let is_time = *name == time_column(request, &spine[0])
            && values.iter().all(|value| value.is_null() || time(value).is_some());
        let array: ArrayRef = match values.iter().find(|value| !value.is_null()).unwrap_or(&&Value::Null) {
            _ if is_time => {
                let times: TimestampMicrosecondArray = values.iter().map(|value| time(value)).collect();
                Arc::new(times.with_timezone("UTC"))
            }
            Value::Bool(_) => Arc::new(values.iter().map(|value| value.as_bool()).collect::<BooleanArray>()),
            Value::Number(n) if n.is_i64() => {
                Arc::new(values.iter().map(|value| value.as_i64()).collect::<Int64Array>())
            }
            Value::Number(_) => Arc::new(values.iter().map(|value| value.as_f64()).collect::<Float64Array>()),
            _ => Arc::new(values.iter().map(|value| value.as_str()).collect::<StringArray>()),
        };
        (name, array, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Batches of at most `rows` rows as one IPC stream.
pub fn ipc(batch: &RecordBatch, rows: usize) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).unwrap();
    for slice in slices(batch, rows) {
        writer.write(&slice).unwrap();
    }
    writer.into_inner().unwrap()
}

pub fn slices(batch: &RecordBatch, rows: usize) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..batch.num_rows().max(1)).step_by(rows);
    starts.map(move |at| batch.slice(at, rows.min(batch.num_rows() - at)))
}

pub fn lines(request: &Value, spine: &[Value]) -> String {
    let mut text = request.to_string();
    for row in spine {
        text.push('\n');
        text.push_str(&row.to_string());
    }
    text.push('\n');
    text
}

pub fn object(line: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(line).unwrap_or_else(|_| panic!("{:?}", String::from_utf8_lossy(line)))
}

pub fn percent(text: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.as_bytes()
        .iter()
        .map(|byte| if keep(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Details in one form: `country__status` and `country__event_timestamp`.
pub fn flatten(row: &mut Map<String, Value>) {
    for (member, end) in [("statuses", "__status"), ("event_timestamps", "__event_timestamp")] {
        if let Some(Value::Object(details)) = row.remove(member) {
            row.extend(details.into_iter().map(|(name, value)| (format!("{name}{end}"), value)));
        }
    }
    // Moments in one form.
    for value in row.values_mut() {
        if let Some(time) = value.as_str().and_then(|text| Timestamp::parse(text, Round::Down).ok()) {
            *value = time.to_string().into();
        }
    }
}

/// Rows of a batch as natural JSON.
pub fn rows_of(batch: &RecordBatch) -> Vec<Map<String, Value>> {
    let row = |at: usize| {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        columns.map(|(field, column)| (field.name().clone(), cell(column, at))).collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn cell(column: &ArrayRef, at: usize) -> Value {
    if column.is_null(at) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(at).into(),
        DataType::Boolean => column.as_boolean().value(at).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(at).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(at).into(),
        DataType::Float32 => json!(column.as_primitive::<Float32Type>().value(at)),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            Timestamp::from_stored(column.as_primitive::<TimestampMicrosecondType>().value(at))
                .to_string()
                .into()
        }
        DataType::Dictionary(..) => cell(&arrow::compute::cast(column, &DataType::Utf8).unwrap(), at),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(at);
            (0..items.len()).map(|item| cell(&items, item)).collect()
        }
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().value_as_string(at).into(),
        other => panic!("no test knows {other}"),
    }
}

/// A typed row as natural JSON, with details.
pub fn typed_row(schema: &Schema, row: &TrainingRow) -> Map<String, Value> {
    let (spine, features) = (row.spine.as_ref().unwrap(), row.features.as_ref().unwrap());
    let time = |time: &prost_types::Timestamp| {
        Value::from(Timestamp::from_seconds_nanos(time.seconds, time.nanos, Round::Down).unwrap().to_string())
    };
    let mut out = Map::new();
    if !spine.entity_id.is_empty() {
        out.insert("entity_id".into(), spine.entity_id.clone().into());
    }
    out.extend(spine.entities.iter().map(|(name, id)| (name.clone(), id.clone().into())));
    if let Some(moment) = &spine.timestamp {
        out.insert("timestamp".into(), time(moment));
    }
    for (name, value) in &spine.columns {
        let value = match value.kind.as_ref().unwrap() {
            Kind::NullValue(_) => Value::Null,
            Kind::BoolValue(v) => (*v).into(),
            Kind::Int64Value(v) => (*v).into(),
            Kind::Float64Value(v) => (*v).into(),
            Kind::StringValue(v) => v.clone().into(),
            Kind::TimestampValue(v) => time(v),
            Kind::JsonValue(v) => serde_json::from_str(v).unwrap(),
            other => panic!("no test knows {other:?}"),
        };
        out.insert(name.clone(), value);
    }
    for (position, feature) in schema.features.iter().enumerate() {
        let (slot, group) = (feature.slot as usize, feature.group as usize);
        let status = FeatureStatus::try_from(features.statuses[position]).unwrap();
        let filled = |empty: bool| status == FeatureStatus::Present || !empty;
        let value = match feature.dtype() {
            Dtype::Float64 => {
                let v = features.float64s[slot];
                if filled(v.is_nan()) { v.into() } else { Value::Null }
            }
            Dtype::Int64 => {
                let v = features.int64s[slot];
                if filled(v == 0) { v.into() } else { Value::Null }
            }
            Dtype::Decimal => {
                let unscaled = features.decimals[16 * slot..16 * slot + 16].try_into().unwrap();
                let of = feature.decimal_type.unwrap();
                let of = DecimalType::new(of.precision, of.scale).unwrap();
                let v = Decimal::new(i128::from_le_bytes(unscaled), of).unwrap();
                if filled(v.unscaled() == 0) { v.to_string().into() } else { Value::Null }
            }
            Dtype::String => {
                let v = features.strings[slot].clone();
                if filled(v.is_empty()) { v.into() } else { Value::Null }
            }
            Dtype::BoolList | Dtype::Int64List | Dtype::StringList | Dtype::TimestampList => {
                let kind = Some(Kind::ListValue(features.lists[slot].clone()));
                let dtype = dtype_from(feature.dtype, feature.decimal_type).unwrap();
                let value = value_from(ProtoValue { kind }, dtype).unwrap();
                let is_empty = matches!(&value, Some(List(list)) if list.is_empty());
                if filled(is_empty) { to_json(value.as_ref()) } else { Value::Null }
            }
            other => panic!("no test knows {other:?}"),
        };
        let event = features.event_timestamps_us[group];
        let event = match status {
            FeatureStatus::NotFound => Value::Null,
            _ => Timestamp::from_stored(event).to_string().into(),
        };
        out.insert(feature.name.clone(), value);
        out.insert(format!("{}__status", feature.name), status.as_str_name().into());
        out.insert(format!("{}__event_timestamp", feature.name), event);
    }
    out
}
