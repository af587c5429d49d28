//! How the values of one feature are spread, by hour of event time.

use super::Service;
use crate::{
    access::{Caller, Scope},
    error::{Error, Result},
    feature::{Timestamp, definition::Feature},
    store::{
        GroupRead,
        statistics::{ColumnStatistics, StatisticsQuery},
    },
};
use std::sync::Arc;

const HOUR_MICROS: i64 = 3_600_000_000;
/// Hours that one answer sums up.
const HOURS_MAX: i64 = 10_000;
/// How far back an answer goes where the request does not say.
const HOURS_DEFAULT: i64 = 24;

/// Which values to sum up.
#[derive(Clone, Debug, Default)]
pub struct StatisticsRequest {
    pub feature: String,
    /// Inclusive; None = 24 hours before `to`.
    pub from: Option<Timestamp>,
    /// Exclusive; None = now.
    pub to: Option<Timestamp>,
}

/// What was asked, and how it is spread.
#[derive(Clone, Debug)]
pub struct FeatureStatistics {
    pub feature: Arc<Feature>,
    pub from: Timestamp,
    pub to: Timestamp,
    pub values: ColumnStatistics,
}

impl Service {
    /// Counts and numbers of one feature over a span of event time.
    pub async fn feature_statistics(
        &self,
        caller: &Caller,
        request: &StatisticsRequest,
    ) -> Result<FeatureStatistics> {
        caller.require(Scope::Read)?;
        let catalogue = self.registry.catalogue(caller);
        let feature = catalogue.feature(&request.feature).map_err(|error| error.at("feature"))?;
        let to = request.to.unwrap_or_else(|| self.clock.now());
        let from = request.from.unwrap_or_else(|| to.saturating_add(-HOURS_DEFAULT * HOUR_MICROS));
        if from >= to {
            return Err(Error::invalid("from", format!("from ({from}) must be before to ({to})")));
        }
        if to.micros() - from.micros() > HOURS_MAX * HOUR_MICROS {
            let message = format!(
                "{from} to {to} is more than {HOURS_MAX} hours; ask for a shorter span, or for several"
            );
            return Err(Error::invalid("from", message));
        }
        let group = catalogue.group_of(feature).schema.clone();
        let snapshot = self.store.snapshot(std::slice::from_ref(&group)).await?;
        let read = GroupRead { group, columns: vec![feature.column] };
        let found = snapshot.statistics(StatisticsQuery { read, from, to }).await?;
        let values = found.into_iter().next().ok_or_else(|| Error::internal("no column was summed up"))?;
        Ok(FeatureStatistics { feature: feature.clone(), from, to, values })
    }
}
