//! Which columns of a spine are ids and times.

use crate::{
    error::{Error, Result},
    registry::Plan,
    serving::training::SpineNames,
};
use std::{collections::BTreeMap, sync::Arc};

const ENTITY_ID: &str = "entity_id";
const TIMESTAMP: &str = "timestamp";
const EVENT_TIMESTAMP: &str = "event_timestamp";
/// What features' columns of details end with.
const DETAILS: [&str; 2] = ["__status", "__event_timestamp"];
/// Members of JSON rows that hold details.
const JSON_DETAILS: [&str; 2] = ["statuses", "event_timestamps"];

/// The spine's own column names, by what they hold: an entity key, `entity_id`, `timestamp` or `event_timestamp`.
pub(super) type ColumnNames = BTreeMap<String, String>;

/// Refuses names of things that no spine of this plan holds.
pub(super) fn check(plan: &Plan, columns: &ColumnNames) -> Result<()> {
    for name in columns.keys() {
        let known = [TIMESTAMP, EVENT_TIMESTAMP].contains(&name.as_str())
            || plan.keys.contains(name)
            || (name == ENTITY_ID && plan.keys.len() == 1);
        if !known {
            let keys = plan.keys.join(", ");
            let message =
                format!("{name:?} is not a column that these features need; name {keys} or timestamp");
            return Err(Error::invalid(format!("columns.{name}"), message));
        }
    }
    if columns.contains_key(TIMESTAMP) && columns.contains_key(EVENT_TIMESTAMP) {
        return Err(Error::invalid("columns.event_timestamp", "name the rows' time once, as timestamp"));
    }
    Ok(())
}

/// The usual names, for a spine that ended before it had a row.
pub(super) fn of_nothing(plan: &Plan) -> Arc<SpineNames> {
    Arc::new(SpineNames { keys: plan.keys.clone(), time: TIMESTAMP.into() })
}

/// Finds the columns that hold ids and times, among those that `has` says are there. Errors name the missing column.
pub(super) fn resolve(plan: &Plan, columns: &ColumnNames, has: impl Fn(&str) -> bool) -> Result<SpineNames> {
    let mapped = |name: &str| columns.get(name).cloned();
    let present = |name: &str| has(name).then(|| name.to_owned());
    let missing = |name: &str, otherwise: &str| {
        Error::invalid(
            name,
            format!("the spine has no column {name:?}{otherwise}; name its own under columns"),
        )
    };
    let key = |key: &String| {
        let alone = plan.keys.len() == 1;
        let named = mapped(key).or_else(|| mapped(ENTITY_ID).filter(|_| alone));
        if let Some(named) = named {
            return if has(&named) { Ok(named) } else { Err(missing(&named, "")) };
        }
        if other_name(plan, columns, key).is_some_and(&has) && has(key) {
            return Err(Error::invalid(ENTITY_ID, named_twice(key)));
        }
        let found = present(key).or_else(|| present(ENTITY_ID).filter(|_| alone));
        found.ok_or_else(|| missing(key, if alone { " (nor entity_id)" } else { "" }))
    };
    let keys = plan.keys.iter().map(key).collect::<Result<_>>()?;
    let time = match mapped(TIMESTAMP).or_else(|| mapped(EVENT_TIMESTAMP)) {
        Some(named) if has(&named) => named,
        Some(named) => return Err(missing(&named, "")),
        None => present(TIMESTAMP)
            .or_else(|| present(EVENT_TIMESTAMP))
            .ok_or_else(|| missing(TIMESTAMP, " (nor event_timestamp)"))?,
    };
    Ok(SpineNames { keys, time })
}

/// The name under which a row could say its entity a second time, where one has been found under `name`.
pub(super) fn other_name<'a>(plan: &'a Plan, columns: &ColumnNames, name: &str) -> Option<&'a str> {
    let [key] = plan.keys.as_slice() else { return None };
    if columns.contains_key(key) || columns.contains_key(ENTITY_ID) {
        return None;
    }
    Some(if name == ENTITY_ID { key } else { ENTITY_ID })
}

/// Why a row that says its entity twice is refused.
pub(super) fn named_twice(key: &str) -> String {
    format!("a row has both entity_id and {key:?}; leave one out, or name the one that counts under columns")
}

/// The columns that an answer adds, so that no column of the spine may bear their names.
pub(super) struct AddedNames {
    features: hashbrown::HashSet<String>,
    json_details: bool,
}

impl AddedNames {
    /// `json_details`: rows get members that hold details.
    pub fn new(plan: &Plan, json_details: bool) -> Self {
        let features = plan.features.iter().map(|feature| feature.name.clone()).collect();
        Self { features, json_details }
    }

    /// Refuses a column of the spine that would stand twice in the answer.
    pub fn check(&self, column: &str) -> Result<(), String> {
        let feature = DETAILS.iter().find_map(|end| column.strip_suffix(end)).unwrap_or(column);
        let clashes = self.features.contains(column)
            || self.features.contains(feature)
            || (self.json_details && JSON_DETAILS.contains(&column));
        match clashes {
            true => Err(format!("the answer has a column {column:?} of its own; rename the spine's")),
            false => Ok(()),
        }
    }
}
