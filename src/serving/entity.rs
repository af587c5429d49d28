//! Which entity a request means: an id for a type with one key, or ids by key name.

use crate::{
    error::{Error, Result},
    feature::{definition::EntityType, entity},
};

/// An entity as a request names it.
#[derive(Clone, Debug, Default)]
pub struct EntityName {
    /// Empty = `entities` says it.
    pub entity_id: String,
    /// Ids by key name.
    pub entities: Vec<(String, String)>,
}

impl EntityName {
    /// The id that stands for it in a log line; empty if it has none.
    pub fn first(&self) -> &str {
        match self.entities.first() {
            Some((_, id)) if self.entity_id.is_empty() => id,
            _ => &self.entity_id,
        }
    }

    /// Refuses ids that cannot be, both forms at once, and neither.
    pub(super) fn check(&self) -> Result<()> {
        match (self.entity_id.is_empty(), self.entities.is_empty()) {
            (true, true) => {
                Err(Error::invalid("entity_id", "say which entity: entity_id, or entities by key"))
            }
            (false, false) => {
                Err(Error::invalid("entities", "entity_id and entities exclude each other; give one of them"))
            }
            (false, true) => {
                entity::check_id(&self.entity_id).map_err(|why| Error::invalid("entity_id", why))
            }
            (true, false) => self.entities.iter().try_for_each(|(key, id)| {
                entity::check_id(id).map_err(|why| Error::invalid(format!("entities.{key}"), why))
            }),
        }
    }

    /// The storage key of an entity of this type; `None` if the name lacks one of its keys.
    pub(super) fn storage_key(&self, entity_type: &EntityType) -> Option<String> {
        let ids: Vec<&str> = match self.entity_id.as_str() {
            "" => entity_type.keys.iter().map(|key| self.id(key)).collect::<Option<_>>()?,
            id if entity_type.keys.len() == 1 => vec![id],
            _ => return None,
        };
        let mut key = String::new();
        entity::encode_key(ids.into_iter(), &mut key);
        Some(key)
    }

    /// As above for a type that is meant: a missing or foreign key is refused.
    pub(super) fn expect_storage_key(&self, entity_type: &EntityType) -> Result<String> {
        if let Some((foreign, _)) = self.entities.iter().find(|(key, _)| !entity_type.keys.contains(key)) {
            let message = format!("an entity of the type {:?} has no such key", entity_type.name);
            return Err(Error::invalid(format!("entities.{foreign}"), message));
        }
        self.storage_key(entity_type).ok_or_else(|| {
            let field = if self.entity_id.is_empty() { "entities" } else { "entity_id" };
            let keys = entity_type.keys.join(", ");
            let message =
                format!("an entity of the type {:?} is named by its keys: {keys}", entity_type.name);
            Error::invalid(field, message)
        })
    }

    fn id(&self, key: &str) -> Option<&str> {
        self.entities.iter().find(|(given, _)| given == key).map(|(_, id)| id.as_str())
    }
}
