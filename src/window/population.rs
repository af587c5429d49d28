//! The entities of one type that a source's events are about.

use super::{WindowGroup, entities::Entities, rows::Cause, store::PaneStore};

/// All entities of one type, with their panes.
pub struct Population {
    pub entity_type: Box<str>,
    pub entities: Entities,
    pub stores: Vec<PaneStore>,
}

impl Population {
    pub fn new(entity_type: &str) -> Self {
        Self { entity_type: entity_type.into(), entities: Entities::new(), stores: Vec::new() }
    }

    /// Registers a group: with the panes that suit it, else with new ones.
    pub fn add_group(
        &mut self,
        group: WindowGroup,
        fields: &[usize],
        (first, before): (i64, i64),
        new: impl FnOnce(&WindowGroup) -> PaneStore,
    ) {
        let at = self.stores.iter().position(|store| store.suits(&group, fields)).unwrap_or_else(|| {
            self.stores.push(new(&group));
            self.stores.len() - 1
        });
        self.stores[at].add_group(group, fields, first, before);
    }

    pub fn emit(&mut self, emission: i64, cause: Cause) {
        let Self { entities, stores, .. } = self;
        for store in stores {
            store.emit(
                emission.div_euclid(store.slide),
                |entity| entities.key(entity).unwrap_or_default(),
                cause,
            );
        }
    }

    /// Closes what the watermark has passed; an entity goes when its last pane goes.
    pub fn close(&mut self, watermark: i64, cause: Cause) {
        let mut released = Vec::new();
        let Self { entities, stores, .. } = self;
        for store in &mut *stores {
            let closed = watermark.div_euclid(store.slide);
            let key = |entity| entities.key(entity).unwrap_or_default();
            store.close(closed, key, cause, |entity| released.push(entity));
        }
        for entity in released {
            if !stores.iter().any(|store| store.has_panes(entity)) {
                entities.release(entity);
            }
        }
    }
}
