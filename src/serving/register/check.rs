//! What can be judged of a registration without looking at what is registered.

use super::EntityTypeDeclaration;
use crate::{
    error::{Error, Result},
    feature::{
        definition::{Describing, FeatureDefinition},
        name,
    },
    serving::Limits,
};

/// Longest description, owner or tag, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;
const TAGS_MAX: usize = 64;
/// Most keys of one entity type.
const KEYS_MAX: usize = 16;

/// Names and keys; keys are columns of a spine, so they must not be words that answers use.
pub(super) fn entity_type(declared: &EntityTypeDeclaration) -> Result<()> {
    name::check_feature(&declared.name).map_err(|why| Error::invalid("name", why))?;
    let keys = &declared.keys;
    if keys.len() > KEYS_MAX {
        return Err(Error::invalid("keys", format!("an entity type has at most {KEYS_MAX} keys")));
    }
    for (i, key) in keys.iter().enumerate() {
        name::check_feature(key).map_err(|why| Error::invalid(format!("keys[{i}]"), why))?;
        if keys[..i].contains(key) {
            return Err(Error::invalid(format!("keys[{i}]"), format!("the key {key:?} stands twice")));
        }
    }
    Ok(())
}

/// One definition by itself.
pub(super) fn definition(definition: &FeatureDefinition, limits: &Limits) -> Result<()> {
    name::check_feature(&definition.name).map_err(|why| Error::invalid("name", why))?;
    name::check_feature(&definition.entity_type).map_err(|why| Error::invalid("entity_type", why))?;
    if let Some(group) = &definition.group {
        name::check_feature(group).map_err(|why| Error::invalid("group", why))?;
    }
    if definition.version == Some(0) {
        return Err(Error::invalid("version", "versions count from 1"));
    }
    if let Some(window) = &definition.window {
        window
            .check(definition.dtype, limits.window_slides_max.into())
            .map_err(|(part, why)| Error::invalid(format!("window.{part}"), why))?;
    }
    describing(&definition.describing)?;
    if let Some(default) = &definition.describing.default {
        let checked = default.clone().checked(definition.dtype, definition.allow_non_finite);
        checked.map_err(|why| Error::invalid("default", why))?;
    }
    Ok(())
}

fn describing(describing: &Describing) -> Result<()> {
    text("description", &describing.description)?;
    text("owner", &describing.owner)?;
    if describing.tags.len() > TAGS_MAX {
        return Err(Error::invalid("tags", format!("a feature has at most {TAGS_MAX} tags")));
    }
    for (key, value) in &describing.tags {
        text("tags", key)?;
        text("tags", value)?;
        if key.is_empty() || key.contains('=') {
            let message = format!("{key:?} is no key of a tag: it must not be empty or hold =");
            return Err(Error::invalid("tags", message));
        }
    }
    Ok(())
}

fn text(field: &str, text: &str) -> Result<()> {
    if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
        let message = format!("a text has at most {TEXT_BYTES_MAX} bytes and no NUL");
        return Err(Error::invalid(field, message));
    }
    Ok(())
}
