//! Which windows the registry asks for.

use crate::{
    feature::{RowId, RowSchema, TenantId, WindowStart},
    registry::RegistrySnapshot,
    window::{WindowFeature, WindowGroup},
};
use std::sync::Arc;

/// A group of windowed features as it is registered.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub group: WindowGroup,
    pub schema: Arc<RowSchema>,
    pub start: WindowStart,
}

impl Wanted {
    /// A group of windowed features as the snapshot has it. Such a group is closed, so what is known of it never changes.
    pub fn of(snapshot: &RegistrySnapshot, tenant: TenantId, id: RowId) -> Option<Self> {
        let catalogue = snapshot.catalogue(tenant);
        let entry = catalogue.group_by_id(id)?;
        let first = entry.features.first()?;
        let window = first.window.as_ref()?;
        let group = WindowGroup {
            id,
            tenant,
            entity_type: first.entity_type_name.clone(),
            event_type: window.event_type.clone(),
            size: window.size,
            slide: window.slide,
            features: entry.features.iter().filter_map(|feature| WindowFeature::of(feature)).collect(),
        };
        Some(Self { group, schema: entry.schema.clone(), start: window.start })
    }
}
