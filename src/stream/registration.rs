//! Which windows the registry asks for.

use crate::{
    feature::{GroupId, GroupSchema, TenantId, WindowStart, definition::Feature},
    registry::RegistrySnapshot,
    store::RecordBody,
    window::{WindowFeature, WindowGroup},
};
use std::{collections::HashMap, sync::Arc};

/// A group of windowed features as it is registered.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub group: WindowGroup,
    pub schema: Arc<GroupSchema>,
    pub start: WindowStart,
}

/// Every group of windowed features of every tenant, in the order of their registration. Such a group is closed, so what is
/// known of it never changes.
pub fn wanted(snapshot: &RegistrySnapshot) -> Vec<Wanted> {
    let mut by_group: HashMap<GroupId, (TenantId, Vec<&Feature>)> = HashMap::new();
    for record in &snapshot.state.records {
        if let RecordBody::Feature(feature) = &record.body
            && feature.window.is_some()
        {
            by_group.entry(feature.group).or_insert((record.tenant, Vec::new())).1.push(feature);
        }
    }
    let mut wanted: Vec<Wanted> = by_group
        .into_values()
        .filter_map(|(tenant, mut features)| {
            features.sort_by_key(|feature| feature.column);
            let first = *features.first()?;
            let window = first.window.as_ref()?;
            let schema = snapshot.catalogue(tenant).group(&first.group_name)?.schema.clone();
            let group = WindowGroup {
                id: first.group,
                tenant,
                entity_type: first.entity_type_name.clone(),
                event_type: window.event_type.clone(),
                size: window.size,
                slide: window.slide,
                features: features.iter().copied().filter_map(WindowFeature::of).collect(),
            };
            Some(Wanted { group, schema, start: window.start })
        })
        .collect();
    wanted.sort_by_key(|wanted| wanted.group.id);
    wanted
}
