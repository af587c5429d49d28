//! Who, what and when an event is about, and the rules of it that need neither clock nor catalogue.

use crate::{
    error::{Error, Result},
    feature::{Timestamp, entity},
};
use std::borrow::Cow;

/// What every event says, borrowed from its text where that needs no unescaping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHead<'a> {
    pub entity_id: Cow<'a, str>,
    pub event_type: Cow<'a, str>,
    /// Rounded up to microseconds.
    pub timestamp: Timestamp,
    /// Makes a repeat harmless.
    pub event_id: Option<Cow<'a, str>>,
    /// Needed only where one event type feeds features of two entity types.
    pub entity_type: Option<Cow<'a, str>>,
}

impl<'a> EventHead<'a> {
    /// A head of these parts, checked; errors name the part. Always in place, or its parts are moved twice on the way.
    #[inline(always)]
    pub fn new(
        entity_id: Option<Cow<'a, str>>,
        event_type: Option<Cow<'a, str>>,
        timestamp: Option<Timestamp>,
        event_id: Option<Cow<'a, str>>,
        entity_type: Option<Cow<'a, str>>,
    ) -> Result<Self> {
        let head = Self {
            entity_id: entity_id.ok_or_else(|| missing("entity_id", "say whose event it is"))?,
            event_type: event_type
                .ok_or_else(|| missing("event_type", "an event needs a type, such as purchase"))?,
            timestamp: timestamp.ok_or_else(|| {
                missing("timestamp", "an event needs a timestamp, such as 2024-01-15T14:22:00Z")
            })?,
            event_id,
            entity_type,
        };
        entity::check_id(&head.entity_id).map_err(|why| Error::invalid("entity_id", why))?;
        check_text(&head.event_type, "event_type", "an event type")?;
        head.event_id.as_ref().map_or(Ok(()), |id| check_text(id, "event_id", "an event id"))?;
        head.entity_type.as_ref().map_or(Ok(()), |name| check_text(name, "entity_type", "an entity type"))?;
        Ok(head)
    }
}

fn missing(field: &str, message: &str) -> Error {
    Error::invalid(field, message)
}

/// Names of events obey the rule of entity ids.
#[inline]
fn check_text(text: &str, field: &str, what: &str) -> Result<()> {
    entity::check_id(text).map_err(|_| {
        let bytes_max = entity::ID_BYTES_MAX;
        Error::invalid(field, format!("{what} has 1 to {bytes_max} bytes and no control characters"))
    })
}
