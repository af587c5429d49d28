//! How a feature's values are spread, as `larder feature --statistics` shows it.

use super::{
    output::{Output, table},
    shape, value,
};
use crate::{
    error::Result,
    feature::Value,
    wire::{
        control,
        proto::{FeatureStatistics, GetFeatureStatisticsResponse},
    },
};

/// A line for each hour that has rows, and one for all of them.
pub(super) fn print(output: Output, found: &GetFeatureStatisticsResponse) -> Result<()> {
    output.print(&control::FeatureStatistics::from(found.clone()), || people(found))
}

fn people(found: &GetFeatureStatisticsResponse) -> String {
    let hours = found.hours.iter().map(|hour| line(shape::moment_text(hour.hour.as_ref()), hour));
    let all =
        format!("{} – {}", shape::moment_text(found.from.as_ref()), shape::moment_text(found.to.as_ref()));
    let total = found.total.as_ref().map(|total| line(all, total));
    let header = ["hour", "rows", "nulls", "entities", "min", "max", "mean", "newest"];
    table(header, hours.chain(total)).trim_fmt()
}

fn line(hour: String, of: &FeatureStatistics) -> [String; 8] {
    let number = |number: Option<f64>| {
        number.map_or_else(|| "–".to_owned(), |number| value::text(&Value::Float64(number)))
    };
    [
        hour,
        of.rows.to_string(),
        of.nulls.to_string(),
        of.distinct_entities.to_string(),
        number(of.min),
        number(of.max),
        number(of.mean),
        shape::moment_text(of.newest_event_timestamp.as_ref()),
    ]
}
