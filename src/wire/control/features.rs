//! Features: as they are asked for in registrations, and as they are registered.

use super::forms::{
    DtypeName, PageSize, Raw, Span, Time, dtype, dtype_name, from_message, given, list, option, span, time,
};
use crate::{
    error::{Error, Result},
    feature::{Dtype, Duration, window::Parameters},
    wire::{
        json::Int64Form,
        proto::{self, FeatureVersionStatus, RegistrationOutcome},
        value::{decimal_to, dtype_to, duration_to, value_to},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What to register. All or nothing; applying the same twice changes nothing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Registration {
    /// Only types with several keys need declaring.
    pub entity_types: Vec<EntityType>,
    pub features: Vec<FeatureDefinition>,
    /// Judges and answers as if, and changes nothing.
    pub dry_run: bool,
}

/// What features describe: `user`, or `user_merchant` with the keys `user` and `merchant`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntityType {
    pub name: String,
    /// In order; empty = one key of the type's own name.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// A feature as a registration asks for it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureDefinition {
    /// Unique within its group.
    pub name: String,
    pub entity_type: String,
    #[schemars(with = "DtypeName")]
    pub dtype: String,
    /// Features of one entity type that are written together. Left out = a group of its own, of the feature's name.
    pub group: Option<String>,
    /// Left out = the newest active version, or 1. A version one past the last makes a draft.
    #[schemars(range(min = 1))]
    pub version: Option<u32>,
    /// A value older than this is not served (OUTSIDE_MAX_AGE). Left out = it never expires.
    #[schemars(with = "Option<Span>")]
    pub ttl: Option<String>,
    /// How long a cache may hold the value. Left out = one hour.
    #[schemars(with = "Option<Span>")]
    pub cache_ttl: Option<String>,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub tags: Option<BTreeMap<String, String>>,
    /// What `use_defaults` puts into an empty cell.
    pub default: Option<Raw>,
    /// Takes NaN and infinities, which are refused otherwise.
    pub allow_non_finite: Option<bool>,
    /// Given = values are computed from events, and direct writes are refused.
    pub window: Option<WindowDefinition>,
}

/// How events become values: `function` over the events of the last `size`, every `slide`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowDefinition {
    pub event_type: String,
    /// count, sum, mean, min, max, stddev, variance, first, last, approx_distinct, percentile or topk.
    pub function: String,
    /// A multiple of `slide`.
    #[schemars(with = "Span")]
    pub size: String,
    #[schemars(with = "Option<Span>")]
    pub slide: Option<String>,
    /// `value` (default), or a path such as `metadata.stock_code`.
    pub field: Option<String>,
    /// For `percentile` alone, between 0 and 1.
    pub quantile: Option<f64>,
    /// For `topk` alone, and needed there: how many values to give, 1 to 100.
    pub k: Option<u32>,
    /// For `topk` alone: the dtype is json, `[[value, count], …]`, instead of a list of values.
    pub counts: Option<bool>,
    /// `earliest` (default): what the log still holds is counted too. `now`: only what comes from here on.
    pub start: Option<String>,
}

/// Makes a version active, or deprecates it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusChange {
    #[schemars(required, with = "Status")]
    status: Option<String>,
}

/// Which features to list; what is left out matches everything, the rest is joined with AND.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FeaturesQuery {
    pub entity_type: String,
    pub group: String,
    /// `key` or `key=value`.
    pub tag: String,
    pub name_prefix: String,
    pub page_size: PageSize,
    /// The `next_page_token` of the page before.
    pub page_token: String,
}

/// What a registration did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Registered {
    /// In the order of the request.
    pub features: Vec<RegisteredFeature>,
    pub entity_types_created: Vec<String>,
    /// The registry's revision after the call.
    pub revision: u64,
}

/// A feature as registered, and what the registration did to it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RegisteredFeature {
    pub outcome: Outcome,
    #[serde(flatten)]
    pub feature: Feature,
}

/// What a registration did to a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Created,
    Changed,
    Unchanged,
    /// Of a newer server.
    #[schemars(skip)]
    Unknown,
}

/// A page of features, ordered by group, name and version.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FeatureList {
    pub features: Vec<Feature>,
    /// Empty = this was the last page.
    pub next_page_token: String,
}

/// One version of a feature as it is registered.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Feature {
    pub name: String,
    /// The full reference, `group.name@version`, or `name@version` where the group has the feature's name.
    pub r#ref: String,
    pub id: u64,
    pub version: u32,
    /// The registry revision that last changed it.
    pub revision: u64,
    pub status: Status,
    pub entity_type: String,
    #[schemars(with = "DtypeName")]
    pub dtype: String,
    pub group: String,
    pub ttl: Option<Span>,
    pub cache_ttl: Option<Span>,
    pub description: String,
    pub owner: String,
    pub tags: BTreeMap<String, String>,
    pub default: Raw,
    pub allow_non_finite: bool,
    pub window: Option<Window>,
    #[schemars(required)]
    pub created_at: Option<Time>,
    /// When a row of its group was last written; null = not since this server started.
    pub last_written_at: Option<Time>,
}

/// How far a version of a feature has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Written and read as `name@version` only.
    Draft,
    /// The newest active version is what the bare name means.
    Active,
    /// Still readable by `name@version`; the bare name passes it over.
    Deprecated,
    /// Of a newer server.
    #[schemars(skip)]
    Unknown,
}

/// The window of a feature as it is registered.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Window {
    pub event_type: String,
    pub function: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[schemars(required)]
    pub size: Option<Span>,
    #[schemars(required)]
    pub slide: Option<Span>,
    pub start: String,
}

impl Registration {
    pub fn into_proto(self) -> Result<proto::RegisterFeaturesRequest> {
        let features = self.features.into_iter().enumerate().map(|(position, definition)| {
            definition.into_proto().map_err(|error| error.within(format_args!("features[{position}]")))
        });
        Ok(proto::RegisterFeaturesRequest {
            features: features.collect::<Result<_>>()?,
            entity_types: self.entity_types.into_iter().map(EntityType::into_proto).collect(),
            dry_run: self.dry_run,
        })
    }
}

impl EntityType {
    pub fn into_proto(self) -> proto::EntityType {
        proto::EntityType { name: self.name, keys: self.keys }
    }
}

impl FeatureDefinition {
    /// Errors name the field below the definition.
    pub fn into_proto(self) -> Result<proto::FeatureDefinition> {
        if self.version == Some(0) {
            return Err(Error::invalid("version", "versions count from 1"));
        }
        let dtype: Dtype = self.dtype.parse().map_err(|why: String| Error::invalid("dtype", why))?;
        let default = self.default.map(|raw| raw.read(dtype).map_err(|error| error.within("default")));
        Ok(proto::FeatureDefinition {
            name: self.name,
            entity_type: self.entity_type,
            dtype: dtype_to(dtype).into(),
            decimal_type: decimal_to(dtype),
            group: self.group.unwrap_or_default(),
            version: self.version.unwrap_or_default(),
            ttl: duration(self.ttl, "ttl")?,
            cache_ttl: duration(self.cache_ttl, "cache_ttl")?,
            description: self.description.unwrap_or_default(),
            owner: self.owner.unwrap_or_default(),
            tags: self.tags.unwrap_or_default().into_iter().collect(),
            default_value: default.transpose()?.flatten().map(|value| value_to(Some(&value))),
            allow_non_finite: self.allow_non_finite.unwrap_or_default(),
            window: self.window.map(WindowDefinition::into_proto).transpose()?,
        })
    }
}

impl WindowDefinition {
    fn into_proto(self) -> Result<proto::WindowDefinition> {
        Ok(proto::WindowDefinition {
            event_type: self.event_type,
            function: self.function,
            size: duration(Some(self.size), "window.size")?,
            slide: duration(self.slide, "window.slide")?,
            field: self.field.unwrap_or_default(),
            quantile: self.quantile,
            k: self.k,
            counts: self.counts,
            start: self.start.unwrap_or_default(),
        })
    }
}

impl StatusChange {
    pub fn status(&self) -> Result<FeatureVersionStatus> {
        match self.status.as_deref() {
            Some("draft") => Ok(FeatureVersionStatus::Draft),
            Some("active") => Ok(FeatureVersionStatus::Active),
            Some("deprecated") => Ok(FeatureVersionStatus::Deprecated),
            Some(other) => {
                let other = crate::feature::json::short(other);
                Err(Error::invalid("status", format!("{other:?} is no status; use active or deprecated")))
            }
            None => Err(Error::invalid("status", "say which status: active or deprecated")),
        }
    }
}

impl From<FeaturesQuery> for proto::ListFeaturesRequest {
    fn from(query: FeaturesQuery) -> Self {
        let FeaturesQuery { entity_type, group, tag, name_prefix, page_size, page_token } = query;
        Self { entity_type, group, tag, name_prefix, page_size: page_size.0, page_token }
    }
}

from_message!(RegisterFeaturesResponse => Registered { features: list, entity_types_created, revision });

impl From<proto::RegisteredFeature> for RegisteredFeature {
    fn from(registered: proto::RegisteredFeature) -> Self {
        Self { outcome: registered.outcome().into(), feature: registered.feature.unwrap_or_default().into() }
    }
}

impl From<RegistrationOutcome> for Outcome {
    fn from(outcome: RegistrationOutcome) -> Self {
        match outcome {
            RegistrationOutcome::Created => Self::Created,
            RegistrationOutcome::Changed => Self::Changed,
            RegistrationOutcome::Unchanged => Self::Unchanged,
            RegistrationOutcome::Unspecified => Self::Unknown,
        }
    }
}

from_message!(ListFeaturesResponse => FeatureList { features: list, next_page_token });

impl From<proto::Feature> for Feature {
    fn from(feature: proto::Feature) -> Self {
        let status = feature.status().into();
        let definition = feature.definition.unwrap_or_default();
        let dtype = dtype(definition.dtype, definition.decimal_type);
        Self {
            name: definition.name,
            r#ref: feature.r#ref,
            id: feature.id,
            version: definition.version,
            revision: feature.revision,
            status,
            entity_type: definition.entity_type,
            dtype: dtype_name(dtype),
            group: definition.group,
            ttl: span(definition.ttl),
            cache_ttl: span(definition.cache_ttl),
            description: definition.description,
            owner: definition.owner,
            tags: definition.tags.into_iter().collect(),
            default: Raw::value(definition.default_value.as_ref(), dtype, Int64Form::Number),
            allow_non_finite: definition.allow_non_finite,
            window: option(definition.window),
            created_at: time(feature.created_at),
            last_written_at: time(feature.last_written_at),
        }
    }
}

impl From<FeatureVersionStatus> for Status {
    fn from(status: FeatureVersionStatus) -> Self {
        match status {
            FeatureVersionStatus::Draft => Self::Draft,
            FeatureVersionStatus::Active => Self::Active,
            FeatureVersionStatus::Deprecated => Self::Deprecated,
            FeatureVersionStatus::Unspecified => Self::Unknown,
        }
    }
}

/// What only some functions take, out of a definition.
impl From<&proto::WindowDefinition> for Parameters {
    fn from(window: &proto::WindowDefinition) -> Self {
        Parameters { quantile: window.quantile, k: window.k, counts: window.counts }
    }
}

/// A definition of nothing but these.
impl From<Parameters> for proto::WindowDefinition {
    fn from(Parameters { quantile, k, counts }: Parameters) -> Self {
        Self { quantile, k, counts, ..Self::default() }
    }
}

from_message!(WindowDefinition => Window {
    event_type, function, quantile, k, counts, field: given, size: span, slide: span, start,
});

fn duration(text: Option<String>, field: &str) -> Result<Option<prost_types::Duration>> {
    let parse = |text: String| text.parse::<Duration>().map_err(|why| Error::invalid(field, why));
    Ok(text.map(parse).transpose()?.map(duration_to))
}
