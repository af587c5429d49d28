//! The request behind a training set, as its Parquet file remembers it.

use super::{Made, broken};
use crate::{
    cli::file,
    error::{Error, Kind, Result},
    feature::{Duration, Round, Timestamp},
    wire::{
        proto::{HistoricalHeader, HistoricalOptions, historical_options::Knowledge},
        value::{duration_to, timestamp_to},
    },
};
use arrow::{
    array::RecordBatch,
    datatypes::{Field, Schema},
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

/// `known_at`: each row's own moment.
pub(super) const KNOWN_AT_ROW: &str = "row";

/// Keys of the file's metadata; all but the first are the server's own.
const REQUEST: &str = "larder.request";
const SETTLED_AT: &str = "larder.settled_at";
const REPEATABLE: &str = "larder.repeatable";
const SPINE_HASH: &str = "larder.spine_hash";

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    /// The spine's path as it was given.
    pub spine: String,
    /// Features as answers call them.
    pub features: Vec<String>,
    pub feature_set: String,
    /// For each of `features` the version that was read; empty until an answer has told.
    pub references: Vec<String>,
    pub columns: BTreeMap<String, String>,
    /// A timestamp, or [`KNOWN_AT_ROW`].
    pub known_at: Option<String>,
    pub max_age: Option<String>,
    pub use_defaults: bool,
    pub details: bool,
}

/// A request read back from a file.
pub(super) struct Remembered {
    pub request: Request,
    pub spine_hash: String,
}

/// What columns are called, where the request asked for pinned versions.
pub(super) struct Names(HashMap<String, String>);

impl Request {
    pub fn options(&self) -> Result<HistoricalOptions> {
        let wrong = |why: String| Error::new(Kind::InvalidArgument, why);
        let pinned = !self.references.is_empty();
        let knowledge = match self.known_at.as_deref() {
            None => None,
            Some(KNOWN_AT_ROW) => Some(Knowledge::KnownAtRow(true)),
            Some(text) => {
                Some(Knowledge::KnownAt(timestamp_to(Timestamp::parse(text, Round::Down).map_err(wrong)?)))
            }
        };
        let max_age =
            self.max_age.as_ref().map(|text| text.parse::<Duration>().map_err(wrong)).transpose()?;
        Ok(HistoricalOptions {
            features: if pinned { self.references.clone() } else { self.features.clone() },
            feature_set: if pinned { String::new() } else { self.feature_set.clone() },
            knowledge,
            columns: self.columns.clone().into_iter().collect(),
            details: self.details,
            max_age: max_age.map(duration_to),
            use_defaults: self.use_defaults,
            ..Default::default()
        })
    }

    /// How to call the columns of an answer.
    pub fn names(&self, header: &HistoricalHeader) -> Names {
        let asked =
            header.schema.iter().flat_map(|schema| &schema.features).map(|feature| feature.name.clone());
        let called = self.features.iter().cloned();
        let pairs = asked.zip(called).filter(|_| !self.references.is_empty());
        Names(pairs.filter(|(asked, called)| asked != called).collect())
    }

    /// What the file is to remember: enough to make it again, and the same when it was made again.
    pub fn metadata(&self, header: &HistoricalHeader, made: &Made) -> Result<Vec<(String, String)>> {
        let features = header.schema.iter().flat_map(|schema| &schema.features);
        let references: Vec<_> = features.clone().map(|feature| feature.r#ref.clone()).collect();
        let known_at = self.known_at.clone().unwrap_or_else(|| made.settled_at.to_string());
        let names = match self.references.is_empty() {
            true => features.map(|feature| feature.name.clone()).collect(),
            false => self.features.clone(),
        };
        let settled_at =
            if known_at == KNOWN_AT_ROW { made.settled_at.to_string() } else { known_at.clone() };
        let request = Self { features: names, references, known_at: Some(known_at), ..self.clone() };
        let text = serde_json::to_string(&request).map_err(Error::internal)?;
        Ok([
            (REPEATABLE, made.repeatable.to_string()),
            (REQUEST, text),
            (SETTLED_AT, settled_at),
            (SPINE_HASH, made.spine_hash.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec())
    }
}

/// The request that a Parquet file remembers.
pub(super) fn read(path: &Path) -> Result<Remembered> {
    let reader = SerializedFileReader::new(file::open_file(path)?).map_err(|error| broken(path, error))?;
    let pairs = reader.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let of = |key: &str| pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref());
    let request = of(REQUEST).ok_or_else(|| {
        broken(path, "it does not remember how it was made; only Parquet files of `larder batch` do")
    })?;
    if of(REPEATABLE) != Some("true") {
        return Err(broken(path, "it used rows that were still being written, so it cannot be made again"));
    }
    let request: Request = serde_json::from_str(request).map_err(|error| broken(path, error))?;
    Ok(Remembered { request, spine_hash: of(SPINE_HASH).unwrap_or_default().to_owned() })
}

impl Names {
    pub fn rename(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if self.0.is_empty() {
            return Ok(batch.clone());
        }
        let fields = batch.schema_ref().fields().iter().map(|field| match self.of(field.name()) {
            None => field.clone(),
            Some(name) => Arc::new(Field::clone(field).with_name(name)),
        });
        let schema =
            Schema::new_with_metadata(fields.collect::<Vec<_>>(), batch.schema_ref().metadata().clone());
        RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec()).map_err(Error::internal)
    }

    fn of(&self, column: &str) -> Option<String> {
        ["", "__status", "__event_timestamp"].iter().find_map(|suffix| {
            let name = self.0.get(column.strip_suffix(suffix)?)?;
            Some(format!("{name}{suffix}"))
        })
    }
}
