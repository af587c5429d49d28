//! How values are spread.

use super::forms::{DtypeName, Edge, Time, dtype, dtype_name, float, from_message, time};
use crate::wire::{proto, value::timestamp_to};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which values to sum up.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatisticsQuery {
    /// Inclusive; left out = 24 hours before `to`.
    pub from: Option<Edge>,
    /// Exclusive; left out = now.
    pub to: Option<Edge>,
}

/// How the values of one feature are spread, by hour of event time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FeatureStatistics {
    /// The full reference.
    pub feature: String,
    #[schemars(with = "DtypeName")]
    pub dtype: String,
    #[schemars(required)]
    pub from: Option<Time>,
    #[schemars(required)]
    pub to: Option<Time>,
    /// Of the whole range.
    pub total: Statistics,
    /// Of each hour that has rows, oldest first.
    pub hours: Vec<HourStatistics>,
}

/// Of one hour.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HourStatistics {
    /// The beginning of the hour, in UTC.
    #[schemars(required)]
    pub hour: Option<Time>,
    #[serde(flatten)]
    pub statistics: Statistics,
}

/// Of the newest row of each entity and event timestamp; corrected rows are left out.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Statistics {
    pub rows: u64,
    pub nulls: u64,
    pub distinct_entities: u64,
    /// Of finite numbers; null where there is none.
    #[serde(serialize_with = "float")]
    pub min: Option<f64>,
    #[serde(serialize_with = "float")]
    pub max: Option<f64>,
    #[serde(serialize_with = "float")]
    pub mean: Option<f64>,
    pub newest_event_timestamp: Option<Time>,
}

impl StatisticsQuery {
    pub fn of(self, feature: String) -> proto::GetFeatureStatisticsRequest {
        proto::GetFeatureStatisticsRequest {
            feature,
            from: self.from.map(|Edge(time)| timestamp_to(time)),
            to: self.to.map(|Edge(time)| timestamp_to(time)),
        }
    }
}

impl From<proto::GetFeatureStatisticsResponse> for FeatureStatistics {
    fn from(answer: proto::GetFeatureStatisticsResponse) -> Self {
        let hours =
            answer.hours.into_iter().map(|of| HourStatistics { hour: time(of.hour), statistics: of.into() });
        Self {
            feature: answer.feature,
            dtype: dtype_name(dtype(answer.dtype, answer.decimal_type)),
            from: time(answer.from),
            to: time(answer.to),
            total: answer.total.unwrap_or_default().into(),
            hours: hours.collect(),
        }
    }
}

from_message!(FeatureStatistics => Statistics {
    rows, nulls, distinct_entities, min, max, mean, newest_event_timestamp: time,
});
