//! Parts of messages as tables show them.

use super::{args::from_proto, value};
use crate::{
    feature::Duration,
    wire::{
        control::dtype_name,
        proto::{FeatureDefinition, FeatureVersionStatus, RegistrationOutcome},
    },
};

/// A moment as tables show it.
pub(super) fn moment_text(timestamp: Option<&prost_types::Timestamp>) -> String {
    timestamp.map_or_else(|| "–".to_owned(), |at| from_proto(at).to_string())
}

/// In the largest unit that divides it.
pub(super) fn duration(duration: &prost_types::Duration) -> String {
    let micros = duration.seconds.saturating_mul(1_000_000).saturating_add(i64::from(duration.nanos) / 1_000);
    Duration::from_micros(micros).map_or_else(|| format!("{micros}us"), |duration| duration.to_string())
}

pub(super) fn dtype(definition: &FeatureDefinition) -> String {
    dtype_name(value::dtype(definition))
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
