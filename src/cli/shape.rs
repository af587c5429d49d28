//! What `--json` prints: the shapes of the REST answers, made from what gRPC said.

use super::{args::from_proto, value};
use crate::{
    feature::{Duration, Timestamp},
    wire::{
        json::JsonWriter,
        proto::{self, Dtype, FeatureVersionStatus, RegistrationOutcome, value::Kind},
    },
};

/// A feature as it is stored.
pub(super) fn feature(w: &mut JsonWriter<'_>, feature: &proto::Feature) {
    w.object(|w| feature_members(w, feature));
}

/// A feature as it is stored, and what a registration did to it.
pub(super) fn registered(w: &mut JsonWriter<'_>, registered: &proto::RegisteredFeature) {
    w.object(|w| {
        feature_members(w, registered.feature.as_ref().unwrap_or(&proto::Feature::default()));
        w.key("outcome").string(outcome(registered.outcome()));
    });
}

fn feature_members(w: &mut JsonWriter<'_>, feature: &proto::Feature) {
    let empty = proto::FeatureDefinition::default();
    let definition = feature.definition.as_ref().unwrap_or(&empty);
    w.key("ref").string(&feature.r#ref);
    w.key("id").uint(feature.id);
    w.key("name").string(&definition.name);
    w.key("entity_type").string(&definition.entity_type);
    w.key("dtype").string(dtype(definition.dtype()));
    w.key("group").string(&definition.group);
    w.key("version").uint(definition.version.into());
    w.key("status").string(status(feature.status()));
    for (name, span) in [("ttl", &definition.ttl), ("cache_ttl", &definition.cache_ttl)] {
        match span {
            Some(span) => w.key(name).string(&duration(span)),
            None => w.key(name).null(),
        }
    }
    w.key("description").string(&definition.description);
    w.key("owner").string(&definition.owner);
    let mut tags: Vec<_> = definition.tags.iter().collect();
    tags.sort();
    w.key("tags").object(|w| tags.iter().for_each(|(tag, value)| w.key(tag).string(value)));
    let default = definition.default_value.as_ref().and_then(value::from_proto);
    w.key("default").value(default.as_ref());
    w.key("allow_non_finite").boolean(definition.allow_non_finite);
    w.key("revision").uint(feature.revision);
    moment(w.key("created_at"), feature.created_at.as_ref());
    moment(w.key("last_written_at"), feature.last_written_at.as_ref());
}

/// A feature set: what each member is called, and the version that is pinned.
pub(super) fn feature_set(w: &mut JsonWriter<'_>, set: &proto::FeatureSet) {
    w.object(|w| {
        w.key("name").string(&set.name);
        w.key("version").uint(set.version.into());
        w.key("features").array(|w| set.features.iter().for_each(|reference| w.string(reference)));
        w.key("names").array(|w| set.names.iter().for_each(|name| w.string(name)));
        moment(w.key("created_at"), set.created_at.as_ref());
    });
}

/// A moment, or null.
pub(super) fn moment(w: &mut JsonWriter<'_>, timestamp: Option<&prost_types::Timestamp>) {
    timestamp_or_null(w, timestamp.map(from_proto));
}

pub(super) fn timestamp_or_null(w: &mut JsonWriter<'_>, timestamp: Option<Timestamp>) {
    match timestamp {
        Some(timestamp) => w.timestamp(timestamp),
        None => w.null(),
    }
}

/// What an online read would call what a row holds, whatever its age.
pub(super) fn value_status(value: Option<&proto::Value>) -> &'static str {
    match value.map(|value| matches!(value.kind, Some(Kind::NullValue(_)))) {
        None => "NOT_FOUND",
        Some(true) => "NULL_VALUE",
        Some(false) => "PRESENT",
    }
}

/// A moment as tables show it.
pub(super) fn moment_text(timestamp: Option<&prost_types::Timestamp>) -> String {
    timestamp.map_or_else(|| "–".to_owned(), |at| from_proto(at).to_string())
}

/// In the largest unit that divides it.
pub(super) fn duration(duration: &prost_types::Duration) -> String {
    let micros = duration.seconds.saturating_mul(1_000_000).saturating_add(i64::from(duration.nanos) / 1_000);
    Duration::from_micros(micros).map_or_else(|| format!("{micros}us"), |duration| duration.to_string())
}

pub(super) fn dtype(dtype: Dtype) -> &'static str {
    value::dtype(dtype).map_or("unknown", |dtype| dtype.name())
}

pub(super) fn status(status: FeatureVersionStatus) -> &'static str {
    match status {
        FeatureVersionStatus::Unspecified => "unknown",
        FeatureVersionStatus::Draft => "draft",
        FeatureVersionStatus::Active => "active",
        FeatureVersionStatus::Deprecated => "deprecated",
    }
}

pub(super) fn outcome(outcome: RegistrationOutcome) -> &'static str {
    match outcome {
        RegistrationOutcome::Unspecified => "unknown",
        RegistrationOutcome::Created => "created",
        RegistrationOutcome::Changed => "changed",
        RegistrationOutcome::Unchanged => "unchanged",
    }
}
