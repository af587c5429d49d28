//! How values are spread, in both encodings.

use super::{
    json::JsonWriter,
    proto,
    query::Query,
    value::{dtype_to, timestamp_from, timestamp_to},
};
use crate::{
    error::Result,
    feature::{Round, Timestamp},
    serving::statistics::{FeatureStatistics, StatisticsRequest},
    store::statistics::Statistics,
};

pub fn statistics_from(request: proto::GetFeatureStatisticsRequest) -> Result<StatisticsRequest> {
    let proto::GetFeatureStatisticsRequest { feature, from, to } = request;
    Ok(StatisticsRequest {
        feature,
        from: from.map(|time| timestamp_from(time, Round::Up, "from")).transpose()?,
        to: to.map(|time| timestamp_from(time, Round::Up, "to")).transpose()?,
    })
}

pub fn statistics_to(found: &FeatureStatistics) -> proto::GetFeatureStatisticsResponse {
    let hours = found.values.hours.iter().map(|(hour, of)| part_to(Some(*hour), of));
    proto::GetFeatureStatisticsResponse {
        feature: found.feature.full_ref().to_string(),
        dtype: dtype_to(found.feature.dtype) as i32,
        total: Some(part_to(None, &found.values.total)),
        hours: hours.collect(),
        from: Some(timestamp_to(found.from)),
        to: Some(timestamp_to(found.to)),
    }
}

fn part_to(hour: Option<Timestamp>, of: &Statistics) -> proto::FeatureStatistics {
    proto::FeatureStatistics {
        hour: hour.map(timestamp_to),
        rows: of.rows,
        nulls: of.nulls,
        distinct_entities: of.distinct_entities,
        min: of.numbers.map(|numbers| numbers.min),
        max: of.numbers.map(|numbers| numbers.max),
        mean: of.numbers.map(|numbers| numbers.mean),
        newest_event_timestamp: of.newest.map(timestamp_to),
    }
}

/// `?from=&to=`
pub fn read_statistics(feature: String, query: Option<&str>) -> Result<StatisticsRequest> {
    let mut query = Query::parse(query)?;
    let (from, to) = (query.take_time("from", Round::Up)?, query.take_time("to", Round::Up)?);
    query.finish()?;
    Ok(StatisticsRequest { feature, from, to })
}

pub fn write_statistics(found: &FeatureStatistics) -> Vec<u8> {
    let mut out = Vec::new();
    JsonWriter::new(&mut out).object(|w| {
        w.key("feature").string(&found.feature.full_ref().to_string());
        w.key("dtype").string(found.feature.dtype.name());
        w.key("from").timestamp(found.from);
        w.key("to").timestamp(found.to);
        w.key("total").object(|w| write_part(w, &found.values.total));
        w.key("hours").array(|w| {
            for (hour, of) in &found.values.hours {
                w.object(|w| {
                    w.key("hour").timestamp(*hour);
                    write_part(w, of);
                });
            }
        });
    });
    out
}

fn write_part(w: &mut JsonWriter<'_>, of: &Statistics) {
    w.key("rows").uint(of.rows);
    w.key("nulls").uint(of.nulls);
    w.key("distinct_entities").uint(of.distinct_entities);
    w.key("min").option(of.numbers, |w, numbers| w.float64(numbers.min));
    w.key("max").option(of.numbers, |w, numbers| w.float64(numbers.max));
    w.key("mean").option(of.numbers, |w, numbers| w.float64(numbers.mean));
    w.key("newest_event_timestamp").option(of.newest, JsonWriter::timestamp);
}
