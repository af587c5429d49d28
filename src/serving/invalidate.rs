//! Dropping an entity from the caches: the next read comes from where it is durable. Idempotent.

use super::{Service, entity::EntityName};
use crate::{
    access::{Caller, Scope},
    error::{Error, Result},
    feature::definition::EntityType,
};
use std::sync::Arc;

/// What to drop.
#[derive(Clone, Debug, Default)]
pub struct Invalidation {
    pub entity: EntityName,
    /// Empty = every entity type that the entity's name can mean.
    pub entity_type: String,
    /// Empty = every feature.
    pub features: Vec<String>,
}

impl Service {
    /// Drops an entity from the caches, whether or not it is there.
    pub fn invalidate_cache(&self, caller: &Caller, request: &Invalidation) -> Result<()> {
        caller.require(Scope::Write)?;
        request.entity.check()?;
        for (entity_type, key) in self.invalidated(caller, request)? {
            self.store.invalidate(entity_type.id, &key);
        }
        Ok(())
    }

    /// The entity types that a request means, and the entity's key in each.
    fn invalidated(&self, caller: &Caller, request: &Invalidation) -> Result<Vec<(Arc<EntityType>, String)>> {
        let catalogue = self.registry.catalogue(caller);
        let mut meant: Vec<Arc<EntityType>> = Vec::new();
        if !request.entity_type.is_empty() {
            let known = catalogue.entity_type(&request.entity_type).ok_or_else(|| {
                let message = format!("no entity type {:?} is registered", request.entity_type);
                Error::not_found(message).at("entity_type")
            });
            meant.push(known?.clone());
        }
        for (position, name) in request.features.iter().enumerate() {
            let field = || format!("features[{position}]");
            let feature = catalogue.feature(name).map_err(|error| error.at(field()))?;
            if !request.entity_type.is_empty() && feature.entity_type_name != request.entity_type {
                let (of, not) = (&feature.entity_type_name, &request.entity_type);
                let message = format!("{name:?} is of the entity type {of:?}, not {not:?}");
                return Err(Error::invalid(field(), message));
            }
            if meant.iter().all(|known| known.id != feature.entity_type) {
                meant.extend(catalogue.entity_type_by_id(feature.entity_type).cloned());
            }
        }
        if meant.is_empty() {
            let named = catalogue.entity_types().filter_map(|entity_type| {
                Some((entity_type.clone(), request.entity.storage_key(entity_type)?))
            });
            return Ok(named.collect());
        }
        let keyed = meant.into_iter().map(|entity_type| {
            let key = request.entity.expect_storage_key(&entity_type)?;
            Ok((entity_type, key))
        });
        keyed.collect()
    }
}
