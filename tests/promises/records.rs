//! Rows and events as tests send them, by either transport.

use super::shapes::to_json;
use larder::{
    feature::{Timestamp, Value},
    wire::{
        proto::{self, FeatureRow},
        value::{timestamp_to, value_to},
    },
};
use serde_json::{Map, Value as Json};

/// A row to write.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub entity_type: String,
    pub entity_id: String,
    pub entities: Vec<(String, String)>,
    pub event_timestamp: Option<Timestamp>,
    pub values: Vec<(String, Option<Value>)>,
}

impl Row {
    /// A row of one entity at a second since the epoch.
    pub fn new(entity_id: &str, seconds: f64, values: &[(&str, Option<Value>)]) -> Self {
        Self {
            entity_id: entity_id.into(),
            event_timestamp: Some(at(seconds)),
            values: values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            ..Self::default()
        }
    }

    pub fn by_key(mut self, entities: &[(&str, &str)]) -> Self {
        self.entity_id.clear();
        self.entities = entities.iter().map(|(key, id)| ((*key).into(), (*id).into())).collect();
        self
    }

    pub fn of(mut self, entity_type: &str) -> Self {
        self.entity_type = entity_type.into();
        self
    }

    /// As a client of REST writes it.
    pub fn json(&self) -> Json {
        let mut row = Map::new();
        let mut put = |name: &str, value: Json| drop(row.insert(name.into(), value));
        if !self.entity_type.is_empty() {
            put("entity_type", self.entity_type.as_str().into());
        }
        if !self.entity_id.is_empty() {
            put("entity_id", self.entity_id.as_str().into());
        }
        if !self.entities.is_empty() {
            put("entities", self.entities.iter().map(|(k, v)| (k.clone(), Json::from(v.as_str()))).collect());
        }
        if let Some(time) = self.event_timestamp {
            put("event_timestamp", time.to_string().into());
        }
        put(
            "values",
            self.values.iter().map(|(name, value)| (name.clone(), to_json(value.as_ref()))).collect(),
        );
        Json::Object(row)
    }

    pub fn message(&self) -> FeatureRow {
        FeatureRow {
            entity_type: self.entity_type.clone(),
            entity_id: self.entity_id.clone(),
            entities: self.entities.iter().cloned().collect(),
            event_timestamp: self.event_timestamp.map(timestamp_to),
            values: self
                .values
                .iter()
                .map(|(name, value)| (name.clone(), value_to(value.as_ref())))
                .collect(),
        }
    }
}

/// An event to publish.
#[derive(Clone, Debug, Default)]
pub struct Event {
    pub entity_id: String,
    pub event_type: String,
    pub timestamp: Option<Timestamp>,
    pub value: Option<Value>,
    pub metadata: Vec<(String, Option<Value>)>,
    pub event_id: String,
    pub entity_type: String,
}

impl Event {
    /// An event of one entity at a second since the epoch.
    pub fn new(entity_id: &str, event_type: &str, seconds: f64) -> Self {
        let timestamp = Some(at(seconds));
        Self { entity_id: entity_id.into(), event_type: event_type.into(), timestamp, ..Self::default() }
    }

    /// As a client of REST writes it.
    pub fn json(&self) -> Json {
        let mut event = Map::new();
        let texts = [
            ("entity_id", &self.entity_id),
            ("event_type", &self.event_type),
            ("event_id", &self.event_id),
            ("entity_type", &self.entity_type),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            event.insert(name.into(), text.as_str().into());
        }
        if let Some(time) = self.timestamp {
            event.insert("timestamp".into(), time.to_string().into());
        }
        if let Some(value) = &self.value {
            event.insert("value".into(), to_json(Some(value)));
        }
        let metadata = self.metadata.iter().map(|(name, value)| (name.clone(), to_json(value.as_ref())));
        event.insert("metadata".into(), metadata.collect());
        Json::Object(event)
    }

    pub fn message(&self) -> proto::Event {
        let metadata = self.metadata.iter();
        proto::Event {
            entity_id: self.entity_id.clone(),
            event_type: self.event_type.clone(),
            value: self.value.as_ref().map(|value| value_to(Some(value))),
            timestamp: self.timestamp.map(timestamp_to),
            metadata: metadata.map(|(name, value)| (name.clone(), value_to(value.as_ref()))).collect(),
            event_id: self.event_id.clone(),
            entity_type: self.entity_type.clone(),
        }
    }
}

/// A second since the epoch.
pub fn at(seconds: f64) -> Timestamp {
    Timestamp::from_micros((seconds * 1e6) as i64).unwrap()
}

pub fn string(value: &str) -> Option<Value> {
    Some(Value::String(value.into()))
}

pub fn int(value: i64) -> Option<Value> {
    Some(Value::Int64(value))
}
