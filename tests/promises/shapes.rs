//! REST's shapes and the contract's messages, each from the other.

use larder::{
    feature::{Dtype, Round, Timestamp, Value},
    wire::{
        json::{JsonWriter, read_value},
        proto::{self, EntityType, RegisterFeaturesRequest},
        value::{dtype_from, duration_to, value_from, value_to},
    },
};
use serde_json::{Value as Json, json};

pub fn to_json(value: Option<&Value>) -> Json {
    let mut out = Vec::new();
    JsonWriter::new(&mut out).value(value);
    serde_json::from_slice(&out).unwrap()
}

pub fn from_json(json: &Json, dtype: Dtype) -> Option<Value> {
    let text = json.to_string();
    larder::feature::json::JsonReader::read(text.as_bytes(), |reader| read_value(reader, dtype)).unwrap()
}

pub fn last_word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

/// A registration in REST's shape as the contract's message.
pub fn registration(request: &Json) -> RegisterFeaturesRequest {
    let list = |name: &str| request[name].as_array().cloned().unwrap_or_default();
    let word = |json: &Json, name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let span = |json: &Json, name: &str| json[name].as_str().map(|text| duration_to(text.parse().unwrap()));
    let entity_types = list("entity_types").into_iter().map(|declared| EntityType {
        name: word(&declared, "name"),
        keys: declared["keys"].as_array().into_iter().flatten().map(text).collect(),
    });
    let features = list("features").into_iter().map(|definition| {
        let dtype: Option<Dtype> = definition["dtype"].as_str().and_then(|name| name.parse().ok());
        let window = definition["window"].as_object().map(|_| {
            let window = &definition["window"];
            proto::WindowDefinition {
                event_type: word(window, "event_type"),
                function: word(window, "function"),
                size: span(window, "size"),
                slide: span(window, "slide"),
                field: word(window, "field"),
                quantile: window["quantile"].as_f64(),
                start: word(window, "start"),
                k: window["k"].as_u64().map(|k| k as u32),
                counts: window["counts"].as_bool(),
            }
        });
        let default = definition.get("default").filter(|default| !default.is_null());
        proto::FeatureDefinition {
            name: word(&definition, "name"),
            entity_type: word(&definition, "entity_type"),
            dtype: dtype.map_or(0, |dtype| larder::wire::value::dtype_to(dtype) as i32),
            decimal_type: dtype.and_then(larder::wire::value::decimal_to),
            group: word(&definition, "group"),
            version: definition["version"].as_u64().unwrap_or_default() as u32,
            ttl: span(&definition, "ttl"),
            cache_ttl: span(&definition, "cache_ttl"),
            description: word(&definition, "description"),
            owner: word(&definition, "owner"),
            tags: definition["tags"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), text(v)))
                .collect(),
            default_value: default.map(|default| value_to(from_json(default, dtype.unwrap()).as_ref())),
            allow_non_finite: definition["allow_non_finite"].as_bool().unwrap_or_default(),
            window,
        }
    });
    RegisterFeaturesRequest {
        entity_types: entity_types.collect(),
        features: features.collect(),
        dry_run: request["dry_run"].as_bool().unwrap_or_default(),
    }
}

/// A feature of the contract in REST's shape.
pub fn feature_json(feature: &proto::Feature) -> Json {
    let definition = feature.definition.as_ref().unwrap();
    let dtype = dtype_from(definition.dtype, definition.decimal_type).unwrap();
    let span = |span: &Option<prost_types::Duration>| {
        span.map(|span| larder::wire::value::duration_from(span, "").unwrap().to_string())
    };
    let time = |time: &Option<prost_types::Timestamp>| {
        time.map(|time| {
            Timestamp::from_seconds_nanos(time.seconds, time.nanos, Round::Down).unwrap().to_string()
        })
    };
    let window = definition.window.as_ref().map(|window| {
        let mut json = json!({
            "event_type": window.event_type, "function": window.function, "size": span(&window.size),
            "slide": span(&window.slide), "start": window.start,
        });
        if let Some(quantile) = window.quantile {
            json["quantile"] = quantile.into();
        }
        if let Some(k) = window.k {
            json["k"] = k.into();
        }
        if let Some(counts) = window.counts {
            json["counts"] = counts.into();
        }
        if !window.field.is_empty() {
            json["field"] = window.field.as_str().into();
        }
        json
    });
    let default = definition.default_value.clone().map(|value| value_from(value, dtype).unwrap());
    json!({
        "name": definition.name, "ref": feature.r#ref, "id": feature.id, "version": definition.version,
        "revision": feature.revision, "status": last_word(feature.status().as_str_name(), "FEATURE_VERSION_STATUS_"),
        "entity_type": definition.entity_type, "dtype": dtype.name(), "group": definition.group,
        "ttl": span(&definition.ttl), "cache_ttl": span(&definition.cache_ttl),
        "description": definition.description, "owner": definition.owner, "tags": definition.tags,
        "default": default.flatten().map(|value| to_json(Some(&value))),
        "allow_non_finite": definition.allow_non_finite, "window": window,
        "created_at": time(&feature.created_at), "last_written_at": time(&feature.last_written_at),
    })
}

fn text(json: &Json) -> String {
    json.as_str().unwrap().to_owned()
}
