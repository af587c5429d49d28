//! Why one cell is what it is: the row that was chosen, how it was judged, and the events behind it.
//!
//! The cell is read and judged by the online read itself, so this can never tell another story than that. What an online
//! answer has no need of (when the row was learned, what it corrected) is looked up afterwards.

mod reason;
mod window;

pub use window::ExplainedWindow;

use super::{
    Service,
    entity::EntityName,
    online::{Entities, OnlineRequest},
};
use crate::{
    access::{Caller, Scope},
    error::{Error, Result},
    feature::{Cell, CellStatus, Duration, Timestamp, Value, definition::Feature},
    registry::FeatureList,
    store::Scan,
};
use std::sync::Arc;

/// Rows of one moment that are looked at in one read.
const PAGE_ROWS: usize = 1_000;

/// Which cell to explain.
#[derive(Clone, Debug, Default)]
pub struct ExplainRequest {
    pub feature: String,
    pub entity: EntityName,
    /// None = now.
    pub as_of: Option<Timestamp>,
}

/// A cell and why it is so.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub feature: Arc<Feature>,
    pub as_of: Timestamp,
    pub status: CellStatus,
    /// The newest row at or before `as_of`, served or not.
    pub row: Option<ExplainedRow>,
    /// Of a windowed feature that has a row.
    pub window: Option<ExplainedWindow>,
    /// A sentence for a person.
    pub reason: String,
}

/// A row with its place in the order of rows.
#[derive(Clone, Debug)]
pub struct ExplainedRow {
    pub event_timestamp: Timestamp,
    pub created: Timestamp,
    pub sequence: u64,
    pub cell: Cell,
    /// Earlier rows of the same moment, which this one replaced.
    pub corrections: u32,
}

impl Explanation {
    /// What an online read answers.
    pub fn value(&self) -> Option<&Value> {
        let row = self.row.as_ref().filter(|_| self.status == CellStatus::Present)?;
        row.cell.value()
    }

    /// How old the row was.
    pub fn age(&self) -> Option<Duration> {
        let row = self.row.as_ref()?;
        Duration::from_micros(self.as_of.micros() - row.event_timestamp.micros())
    }

    pub fn ttl(&self) -> Option<Duration> {
        self.feature.describing.ttl
    }
}

impl Service {
    /// Explains one cell.
    pub async fn explain_feature(&self, caller: &Caller, request: &ExplainRequest) -> Result<Explanation> {
        caller.require(Scope::Read)?;
        if request.feature.is_empty() {
            return Err(Error::invalid("feature", "say which feature to explain"));
        }
        let catalogue = self.registry.catalogue(caller);
        let feature = catalogue.feature(&request.feature).map_err(|error| error.at("feature"))?;
        request.entity.check()?;
        let entity_type = catalogue.entity_type_by_id(feature.entity_type);
        let entity_type = entity_type.expect("a feature's entity type is in its catalogue");
        let key = request.entity.expect_storage_key(entity_type)?;
        let (status, as_of, chosen) = self.read_cell(caller, feature, request).await?;
        let row = match chosen {
            Some((event, cell)) => Some(self.explained_row(caller, feature, &key, event, cell).await?),
            None => None,
        };
        let window = match (&feature.window, &row) {
            (Some(window), Some(row)) => {
                Some(self.explained_window(caller, feature, window, &key, row).await?)
            }
            _ => None,
        };
        let mut explanation =
            Explanation { feature: feature.clone(), as_of, status, row, window, reason: String::new() };
        explanation.reason = reason::of(&explanation);
        Ok(explanation)
    }

    /// Reads the cell as anybody would: its status, the moment it was judged at, and the row's moment and cell.
    async fn read_cell(
        &self,
        caller: &Caller,
        feature: &Feature,
        request: &ExplainRequest,
    ) -> Result<(CellStatus, Timestamp, Option<(Timestamp, Cell)>)> {
        let name = feature.full_ref().to_string();
        let EntityName { entity_id, entities } = &request.entity;
        let columns: Vec<(&str, Vec<&str>)> =
            entities.iter().map(|(key, id)| (key.as_str(), vec![id.as_str()])).collect();
        let ids = [entity_id.as_str()];
        let entities = match columns.is_empty() {
            true => Entities::Ids(&ids),
            false => Entities::Columns(&columns),
        };
        let answer = self
            .online(
                caller,
                OnlineRequest {
                    features: FeatureList::Names(&[&name]),
                    entities,
                    as_of: request.as_of,
                    max_age: None,
                    use_defaults: false,
                },
            )
            .await?;
        let cells = answer.cells(0, 0);
        let row = cells.event().zip(cells.row());
        let chosen = row.map(|(event, row)| {
            (Timestamp::from_stored(event), row.cell(feature.column as usize, feature.dtype))
        });
        Ok((answer.status(0, &cells), answer.as_of, chosen))
    }

    /// Finds the row of a moment that holds this cell: the newest such, for rows may have come since it was read.
    async fn explained_row(
        &self,
        caller: &Caller,
        feature: &Feature,
        key: &str,
        event: Timestamp,
        cell: Cell,
    ) -> Result<ExplainedRow> {
        let catalogue = self.registry.catalogue(caller);
        let group = catalogue.group_of(feature).schema.clone();
        let snapshot = self.store.snapshot(std::slice::from_ref(&group)).await?;
        let (mut found, mut before, mut after) = (None, 0, None);
        loop {
            let to = Timestamp::from_stored(event.micros() + 1);
            let (group, key) = (group.clone(), key.to_owned());
            let rows = snapshot.scan(Scan { group, key, from: event, to, after, limit: PAGE_ROWS }).await?;
            for row in &rows {
                if row.packed().cell(feature.column as usize, feature.dtype) == cell {
                    found = Some((row.created, row.sequence, before));
                }
                before += 1;
            }
            after = rows.last().map(|row| row.order());
            if rows.len() < PAGE_ROWS {
                break;
            }
        }
        let (created, sequence, corrections) = found.ok_or_else(|| {
            Error::unavailable("retention dropped the row while it was being explained; ask again")
        })?;
        Ok(ExplainedRow { event_timestamp: event, created, sequence, cell, corrections })
    }
}
