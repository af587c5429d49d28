//! How values are spread, as the contract has it.

use super::{
    proto,
    value::{decimal_to, dtype_to, timestamp_from, timestamp_to},
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
        decimal_type: decimal_to(found.feature.dtype),
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
