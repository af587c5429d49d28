//! The YAML that `larder apply` takes: the shape of `POST /features/register`, and feature sets beside it.

use super::value;
use crate::{
    error::{Error, Kind, Result},
    feature::{Dtype, Duration},
    wire::{
        proto::{EntityType, FeatureDefinition, RegisterFeaturesRequest, WindowDefinition},
        value::{dtype_to, duration_to, value_to},
    },
};
use serde::Deserialize;
use std::{collections::HashMap, fs, io::Read, path::Path};

/// Larger files are refused, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a file asks to be there.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FeatureFile {
    entity_types: Vec<EntityTypeEntry>,
    features: Vec<FeatureEntry>,
    pub feature_sets: Vec<FeatureSetEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeatureSetEntry {
    pub name: String,
    pub features: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntityTypeEntry {
    name: String,
    #[serde(default)]
    keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureEntry {
    name: String,
    entity_type: String,
    dtype: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: u32,
    ttl: Option<String>,
    cache_ttl: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    tags: HashMap<String, String>,
    default: Option<serde_json::Value>,
    #[serde(default)]
    allow_non_finite: bool,
    window: Option<WindowEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowEntry {
    event_type: String,
    function: String,
    size: String,
    slide: Option<String>,
    #[serde(default)]
    field: String,
    quantile: Option<f64>,
    #[serde(default)]
    start: String,
}

impl FeatureFile {
    /// Reads a file, naming the line of what is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let within =
            |cause: String| Error::new(Kind::InvalidArgument, format!("{}: {cause}", path.display()));
        let file = fs::File::open(path).map_err(|error| within(error.to_string()))?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| within(error.to_string()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(within(format!("the file is over {FILE_BYTES_MAX} bytes; split it")));
        }
        Self::parse(&text).map_err(|error| within(error.to_string()))
    }

    pub fn parse(text: &str) -> Result<Self> {
        let parsed: Option<Self> = serde_saphyr::from_str(text)
            .map_err(|error| Error::new(Kind::InvalidArgument, error.to_string()))?;
        Ok(parsed.unwrap_or_default())
    }

    /// The registration that the file asks for; checks only what the contract has no room for.
    pub fn registration(&self) -> Result<RegisterFeaturesRequest> {
        let entity_types = self
            .entity_types
            .iter()
            .map(|entry| EntityType { name: entry.name.clone(), keys: entry.keys.clone() });
        let features = self.features.iter().enumerate().map(|(position, entry)| {
            entry.definition().map_err(|error| error.within(format!("features[{position}] ({})", entry.name)))
        });
        Ok(RegisterFeaturesRequest {
            entity_types: entity_types.collect(),
            features: features.collect::<Result<_>>()?,
            dry_run: false,
        })
    }
}

impl FeatureEntry {
    fn definition(&self) -> Result<FeatureDefinition> {
        let dtype: Dtype = self.dtype.parse().map_err(|why: String| Error::invalid("dtype", why))?;
        let default = match &self.default {
            None | Some(serde_json::Value::Null) => None,
            Some(json) => {
                value::read_json(&json.to_string(), dtype).map_err(|error| error.within("default"))?
            }
        };
        Ok(FeatureDefinition {
            name: self.name.clone(),
            entity_type: self.entity_type.clone(),
            dtype: dtype_to(dtype).into(),
            group: self.group.clone(),
            version: self.version,
            ttl: span("ttl", self.ttl.as_deref())?,
            cache_ttl: span("cache_ttl", self.cache_ttl.as_deref())?,
            description: self.description.clone(),
            owner: self.owner.clone(),
            tags: self.tags.clone(),
            default_value: default.map(|value| value_to(Some(&value))),
            allow_non_finite: self.allow_non_finite,
            window: self.window.as_ref().map(|window| window.definition()).transpose()?,
        })
    }
}

impl WindowEntry {
    fn definition(&self) -> Result<WindowDefinition> {
        Ok(WindowDefinition {
            event_type: self.event_type.clone(),
            function: self.function.clone(),
            size: span("window.size", Some(&self.size))?,
            slide: span("window.slide", self.slide.as_deref())?,
            field: self.field.clone(),
            quantile: self.quantile,
            start: self.start.clone(),
        })
    }
}

fn span(field: &str, text: Option<&str>) -> Result<Option<prost_types::Duration>> {
    text.map(|text| text.parse::<Duration>().map(duration_to).map_err(|why| Error::invalid(field, why)))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::{self, value::Kind as Proto};

    #[test]
    fn a_file_becomes_a_registration() {
        let file = FeatureFile::parse(
            "entity_types: [{name: pair, keys: [a, b]}]\n\
             features:\n\
             - {name: n, entity_type: pair, dtype: int64, ttl: 90s, default: 9007199254740993, tags: {pii: 'no'}}\n\
             - {name: e, entity_type: pair, dtype: list<float32>, default: [0.1, null]}\n\
             feature_sets: [{name: s, features: [n]}]\n",
        )
        .unwrap();
        let request = file.registration().unwrap();
        assert_eq!(request.entity_types[0].keys, ["a", "b"]);
        let default = request.features[0].default_value.as_ref().unwrap();
        assert_eq!(default.kind, Some(Proto::Int64Value(9_007_199_254_740_993)));
        assert_eq!(request.features[0].ttl.as_ref().unwrap().seconds, 90);
        assert_eq!(request.features[1].dtype(), proto::Dtype::Float32List);
        assert_eq!(file.feature_sets[0].features, ["n"]);
        assert!(FeatureFile::parse("").unwrap().registration().unwrap().features.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error =
            FeatureFile::parse("features:\n- {name: n, entity_type: u, dtype: int64, tll: 1h}").unwrap_err();
        assert!(error.to_string().contains("tll"), "{error}");
        for (entry, part) in [
            ("dtype: int32", "int32"),
            ("dtype: int64, ttl: soon", "soon"),
            ("dtype: int64, default: 1.5", "default"),
        ] {
            let text = format!("features: [{{name: n, entity_type: u, {entry}}}]");
            let error = FeatureFile::parse(&text).unwrap().registration().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("features[0] (n)"), "{error}");
        }
    }
}
