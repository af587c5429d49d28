//! The YAML that `larder apply` takes: the shape of `POST /features/register`, and feature sets beside it.

use crate::{
    error::{Error, Kind, Result},
    wire::{
        control::{EntityType, FeatureDefinition},
        proto::RegisterFeaturesRequest,
    },
};
use serde::Deserialize;
use std::{fs, io::Read, path::Path};

/// Larger files are refused, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a file asks to be there.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FeatureFile {
    entity_types: Vec<EntityType>,
    features: Vec<FeatureDefinition>,
    pub feature_sets: Vec<FeatureSetEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeatureSetEntry {
    pub name: String,
    pub features: Vec<String>,
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
        let features = self.features.iter().cloned().enumerate().map(|(position, definition)| {
            let place = format!("features[{position}] ({})", definition.name);
            definition.into_proto().map_err(|error| error.within(place))
        });
        Ok(RegisterFeaturesRequest {
            features: features.collect::<Result<_>>()?,
            entity_types: self.entity_types.iter().cloned().map(EntityType::into_proto).collect(),
            dry_run: false,
        })
    }
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
