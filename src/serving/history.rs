//! All values of one feature of one entity over time.

use super::{Service, entity::EntityName, page::PageRequest};
use crate::{
    access::{Caller, Scope},
    error::{Error, Kind, Result},
    feature::{Cell, Timestamp, definition::Feature},
    store::{Scan, StoredRow},
};
use std::sync::Arc;

/// Which values to list.
#[derive(Clone, Debug, Default)]
pub struct HistoryRequest {
    pub feature: String,
    pub entity: EntityName,
    /// Inclusive; None = from the beginning.
    pub from: Option<Timestamp>,
    /// Exclusive; None = without end.
    pub to: Option<Timestamp>,
    pub page: PageRequest,
}

/// A page of values, oldest first.
#[derive(Clone, Debug)]
pub struct History {
    pub feature: Arc<Feature>,
    pub values: Vec<HistoryValue>,
    /// Empty = this was the last page.
    pub next_page_token: String,
}

/// A value, when it was true and when we learned it.
#[derive(Clone, Debug)]
pub struct HistoryValue {
    pub event_timestamp: Timestamp,
    pub created: Timestamp,
    /// Left out where the row is older than the feature, or did not give it.
    pub cell: Cell,
}

impl Service {
    /// A page of the values of one feature of one entity, ordered by (event timestamp, created, sequence).
    pub async fn feature_history(&self, caller: &Caller, request: &HistoryRequest) -> Result<History> {
        caller.require(Scope::Read)?;
        let catalogue = self.registry.catalogue(caller);
        let feature = catalogue.feature(&request.feature).map_err(|error| error.at("feature"))?;
        request.entity.check()?;
        let entity_type = catalogue.entity_type_by_id(feature.entity_type);
        let entity_type = entity_type.expect("a feature's entity type is in its catalogue");
        let key = request.entity.expect_storage_key(entity_type)?;
        if let (Some(from), Some(to)) = (request.from, request.to)
            && from >= to
        {
            return Err(Error::invalid("from", format!("from ({from}) must be before to ({to})")));
        }
        let from = request.from.unwrap_or(Timestamp::MIN);
        let to = request.to.unwrap_or(Timestamp::from_stored(Timestamp::MAX.micros() + 1));
        let question = [
            "history",
            &feature.full_ref().to_string(),
            &key,
            &from.micros().to_string(),
            &to.micros().to_string(),
        ];
        let pages = request.page.open(caller, &question)?;
        let after = pages.after.as_deref().map(read_position).transpose()?;
        let group = catalogue.group_of(feature).schema.clone();
        let snapshot = self.store.snapshot(std::slice::from_ref(&group)).await?;
        let scan = Scan { group, key, from, to, after, limit: pages.size + 1 };
        let mut rows = snapshot.scan(scan).await?;
        let next_page_token = pages.cut(&mut rows, position);
        let value = |row: &StoredRow| HistoryValue {
            event_timestamp: row.event_timestamp,
            created: row.created,
            cell: row.packed().cell(feature.column as usize, feature.dtype),
        };
        Ok(History { feature: feature.clone(), values: rows.iter().map(value).collect(), next_page_token })
    }
}

fn position(row: &StoredRow) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&row.event_timestamp.micros().to_le_bytes());
    bytes[8..16].copy_from_slice(&row.created.micros().to_le_bytes());
    bytes[16..].copy_from_slice(&row.sequence.to_le_bytes());
    bytes
}

fn read_position(bytes: &[u8]) -> Result<(Timestamp, Timestamp, u64)> {
    let (parts, rest) = bytes.as_chunks::<8>();
    match (parts, rest) {
        ([event, created, sequence], []) => Ok((
            Timestamp::from_stored(i64::from_le_bytes(*event)),
            Timestamp::from_stored(i64::from_le_bytes(*created)),
            u64::from_le_bytes(*sequence),
        )),
        // The seal was ours, so only another version of the server can have written it.
        _ => Err(Error::new(Kind::InvalidArgument, "this page token is of another version; begin again")
            .at("page_token")),
    }
}
