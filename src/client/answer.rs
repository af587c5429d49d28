//! An online answer, cell by cell: `name → value` without knowing how rows are packed.

use super::error;
use crate::{
    error::Result,
    feature::{Timestamp, Value},
    wire::{
        online,
        proto::{self, FeatureStatus},
        value::dtype_from,
    },
};

/// The answer to an online request, with its schema.
#[derive(Clone, Debug)]
pub struct OnlineAnswer {
    pub schema: proto::Schema,
    /// In the order of the request's entities.
    pub rows: Vec<proto::Row>,
    /// The reasons of cells with status ERROR.
    pub errors: Vec<proto::CellError>,
    pub request_id: String,
    /// A part of the server was down, and it answered all the same.
    pub degraded: bool,
    /// The request asked for defaults in empty cells.
    use_defaults: bool,
}

/// One feature of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct OnlineCell {
    pub status: FeatureStatus,
    /// There when the status is PRESENT, or when the request asked for defaults and the feature has one.
    pub value: Option<Value>,
    /// When the row that was found became true.
    pub event_timestamp: Option<Timestamp>,
    /// Why the status is ERROR.
    pub reason: Option<String>,
}

impl OnlineAnswer {
    pub(super) fn new(answer: proto::GetOnlineFeaturesResponse, use_defaults: bool) -> Result<Self> {
        Ok(Self {
            schema: answer.schema.ok_or_else(|| error::missing("schema"))?,
            rows: answer.rows,
            errors: answer.errors,
            request_id: answer.request_id,
            degraded: answer.degraded,
            use_defaults,
        })
    }

    /// The cell of the `row`-th entity and the `feature`-th feature of the request. Panics beyond either.
    pub fn cell(&self, row: usize, feature: usize) -> OnlineCell {
        let (schema, cells) = (&self.schema.features[feature], &self.rows[row]);
        let status = cells.statuses[feature];
        let status = FeatureStatus::try_from(status).unwrap_or(FeatureStatus::Invalid);
        let event_timestamp = cells.event_timestamps_us.get(schema.group as usize);
        let reason =
            self.errors.iter().find(|error| (error.row, error.feature) == (row as u32, feature as u32));
        let filled = match status {
            FeatureStatus::Present => true,
            FeatureStatus::Error | FeatureStatus::Invalid => false,
            _ => self.use_defaults && schema.has_default,
        };
        OnlineCell {
            value: filled.then(|| packed(schema, cells)).flatten(),
            event_timestamp: event_timestamp.copied().and_then(Timestamp::from_micros),
            reason: reason.map(|error| error.reason.clone()),
            status,
        }
    }
}

fn packed(feature: &proto::schema::Feature, row: &proto::Row) -> Option<Value> {
    online::get(row, dtype_from(feature.dtype, feature.decimal_type).ok()?, feature.slot as usize)
}
