//! How a feature's values are spread, as `larder feature --statistics` shows it.

use super::{
    args::from_proto,
    output::{Output, table},
    shape, value,
};
use crate::{
    error::Result,
    feature::Value,
    wire::{
        json::JsonWriter,
        proto::{FeatureStatistics, GetFeatureStatisticsResponse},
    },
};

/// A line for each hour that has rows, and one for all of them.
pub(super) fn print(output: Output, found: &GetFeatureStatisticsResponse) -> Result<()> {
    output.print(|w| json(w, found), || people(found))
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

/// The shape that REST answers with.
fn json(w: &mut JsonWriter<'_>, found: &GetFeatureStatisticsResponse) {
    w.object(|w| {
        w.key("feature").string(&found.feature);
        w.key("dtype").string(shape::dtype(found.dtype()));
        shape::moment(w.key("from"), found.from.as_ref());
        shape::moment(w.key("to"), found.to.as_ref());
        w.key("total").object(|w| members(w, &found.total.unwrap_or_default()));
        w.key("hours").array(|w| {
            for hour in &found.hours {
                w.object(|w| {
                    w.key("hour").option(hour.hour.as_ref(), |w, hour| w.timestamp(from_proto(hour)));
                    members(w, hour);
                });
            }
        });
    });
}

fn members(w: &mut JsonWriter<'_>, of: &FeatureStatistics) {
    w.key("rows").uint(of.rows);
    w.key("nulls").uint(of.nulls);
    w.key("distinct_entities").uint(of.distinct_entities);
    w.key("min").option(of.min, JsonWriter::float64);
    w.key("max").option(of.max, JsonWriter::float64);
    w.key("mean").option(of.mean, JsonWriter::float64);
    shape::moment(w.key("newest_event_timestamp"), of.newest_event_timestamp.as_ref());
}
