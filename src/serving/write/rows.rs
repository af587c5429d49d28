//! Rows as they come in: one at a time, by the names their writer uses, judged before anything is kept.

use super::{Judge, RejectedRow, group_rows::GroupRows};
use crate::{
    error::{Error, Result},
    feature::{Cell, Dtype, RowId, Timestamp, Value, ValueRef, entity},
    registry::Catalogue,
    serving::{Limits, time_bounds::TimeBounds},
    store::RowBatch,
};
use hashbrown::HashMap;
use std::{borrow::Cow, sync::Arc};

/// Gathers the rows of one transaction. For each row: [`row`](Self::row), in it [`target`](Self::target) and
/// [`give`](Self::give) for every value, then [`end`](Self::end).
pub struct RowsBuilder {
    catalogue: Arc<Catalogue>,
    limits: Arc<Limits>,
    judge: Judge,
    bounds: TimeBounds,
    /// What the names in use mean.
    targets: HashMap<String, Target>,
    groups: Vec<GroupRows>,
    positions: HashMap<RowId, usize>,
    /// The groups of the row being judged.
    touched: Vec<usize>,
    row_bytes: usize,
    count: Count,
    rejected: Vec<RejectedRow>,
}

/// How many rows there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub good: u64,
    /// One past the last row, bad ones counted.
    pub end: usize,
}

/// Where the values of a name go, and what they must be.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub dtype: Dtype,
    allow_non_finite: bool,
    group: u32,
    column: u32,
}

/// Who and when a row is about.
#[derive(Clone, Debug, Default)]
pub struct RowHead<'a> {
    /// May be left out where the values say it.
    pub entity_type: Option<Cow<'a, str>>,
    /// The id, for an entity type with one key. Or `entities`.
    pub entity_id: Option<Cow<'a, str>>,
    /// Ids by key name.
    pub entities: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub event_timestamp: Option<Timestamp>,
}

impl RowsBuilder {
    pub(super) fn new(
        catalogue: Arc<Catalogue>,
        limits: Arc<Limits>,
        bounds: TimeBounds,
        judge: Judge,
    ) -> Self {
        Self {
            catalogue,
            judge,
            limits,
            bounds,
            targets: HashMap::new(),
            groups: Vec::new(),
            positions: HashMap::new(),
            touched: Vec::new(),
            row_bytes: 0,
            count: Count::default(),
            rejected: Vec::new(),
        }
    }

    /// Rows seen so far, bad ones counted.
    pub fn len(&self) -> usize {
        self.count.end
    }

    pub fn is_empty(&self) -> bool {
        self.count.end == 0
    }

    /// Takes the next row with `read`. A bad one is refused or set aside, as the judge says. Errors name the field within
    /// the row.
    pub fn row(&mut self, read: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let position = self.count.end;
        self.count.end += 1;
        let Err(error) = read(self) else {
            self.count.good += 1;
            return Ok(());
        };
        self.discard();
        match self.judge {
            Judge::AllOrNothing => Err(error),
            Judge::RowByRow => {
                self.rejected.push(RejectedRow::new(position as u64, error));
                Ok(())
            }
        }
    }

    /// What the values of this name must be; None = nobody knows the name.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.catalogue.feature(name).ok().map(|feature| feature.dtype)
    }

    /// Where the values of this name go. Errors name no field: `values.name` is for who calls.
    pub fn target(&mut self, name: &str) -> Result<Target> {
        if let Some(target) = self.targets.get(name) {
            return Ok(*target);
        }
        let feature = self.catalogue.feature(name)?;
        if feature.window.is_some() {
            let message = format!("{name:?} is computed from events; it cannot be written");
            return Err(Error::refused(message));
        }
        let group = *self.positions.entry(feature.group).or_insert_with(|| {
            self.groups.push(GroupRows::new(&self.catalogue, self.catalogue.group_of(feature)));
            self.groups.len() - 1
        });
        let target = Target {
            dtype: feature.dtype,
            allow_non_finite: feature.allow_non_finite,
            group: group as u32,
            column: feature.column,
        };
        self.targets.insert(name.to_owned(), target);
        Ok(target)
    }

    /// Gives the current row a value; `None` is null. Errors name no field, as above.
    pub fn give(&mut self, target: Target, value: Option<Value>) -> Result<()> {
        let cell = match value {
            None => Cell::Null,
            Some(value) => {
                self.row_bytes += ValueRef::from(&value).size();
                Cell::Value(value.checked(target.dtype, target.allow_non_finite).map_err(Error::refused)?)
            }
        };
        let group = target.group as usize;
        if !self.touched.contains(&group) {
            self.touched.push(group);
        }
        if !self.groups[group].stage(target.column as usize, cell) {
            return Err(Error::refused("this feature is given twice, by two of its names"));
        }
        Ok(())
    }

    /// Judges the current row as a whole and keeps it.
    pub fn end(&mut self, head: &RowHead<'_>) -> Result<()> {
        if self.touched.is_empty() {
            return Err(Error::invalid("values", "a row needs at least one value"));
        }
        if self.row_bytes > self.limits.row_bytes_max {
            let message =
                format!("{} bytes are over the limit of {}", self.row_bytes, self.limits.row_bytes_max);
            return Err(Error::invalid("values", message));
        }
        let event_timestamp = self.event_timestamp(head)?;
        self.touched.sort_unstable();
        for group in &self.touched {
            self.groups[*group].check_whole()?;
        }
        self.set_keys(head)?;
        let sequence = self.count.end as u32 - 1;
        for group in self.touched.drain(..) {
            self.groups[group].push(event_timestamp, sequence);
        }
        self.row_bytes = 0;
        Ok(())
    }

    pub(super) fn finish(self) -> (Vec<RowBatch>, Count, Vec<RejectedRow>) {
        let batches = self.groups.into_iter().filter_map(GroupRows::finish).collect();
        (batches, self.count, self.rejected)
    }

    fn discard(&mut self) {
        for group in self.touched.drain(..) {
            self.groups[group].discard();
        }
        self.row_bytes = 0;
    }

    fn event_timestamp(&self, head: &RowHead<'_>) -> Result<Timestamp> {
        let refused = |message: String| Err(Error::invalid("event_timestamp", message));
        let Some(time) = head.event_timestamp else {
            return refused("a row needs an event_timestamp".into());
        };
        match self.bounds.check(time) {
            Ok(()) => Ok(time),
            Err(why) => refused(why),
        }
    }

    /// Finds the entity of each touched group.
    fn set_keys(&mut self, head: &RowHead<'_>) -> Result<()> {
        if let Some(wanted) = &head.entity_type {
            self.check_entity_type(wanted)?;
        }
        match (&head.entity_id, head.entities.is_empty()) {
            (Some(id), true) => self.set_one_id(id),
            (None, false) => self.set_ids(&head.entities),
            (None, true) => Err(Error::invalid("entity_id", "say whose row it is: entity_id or entities")),
            (Some(_), false) => {
                Err(Error::invalid("entities", "entity_id and entities exclude each other; give one of them"))
            }
        }
    }

    fn check_entity_type(&self, wanted: &str) -> Result<()> {
        if self.catalogue.entity_type(wanted).is_none() {
            let message = format!("no entity type {wanted:?} is registered");
            return Err(Error::not_found(message).at("entity_type"));
        }
        match self.touched.iter().map(|group| &self.groups[*group]).find(|g| g.entity_type.name != wanted) {
            Some(group) => {
                let (name, is) = (&group.name, &group.entity_type.name);
                let message = format!("the group {name:?} is of the entity type {is:?}, not {wanted:?}");
                Err(Error::invalid("entity_type", message))
            }
            None => Ok(()),
        }
    }

    fn set_one_id(&mut self, id: &str) -> Result<()> {
        entity::check_id(id).map_err(|why| Error::invalid("entity_id", why))?;
        let first = self.groups[self.touched[0]].entity_type.clone();
        for group in &self.touched {
            let entity_type = &self.groups[*group].entity_type;
            if entity_type.keys.len() != 1 || entity_type.id != first.id {
                let names = entity_type.keys.join(" and ");
                let message = format!("name the ids by key in entities instead: {names}");
                return Err(Error::invalid("entity_id", message));
            }
        }
        for group in &self.touched {
            self.groups[*group].set_key(std::iter::once(id));
        }
        Ok(())
    }

    fn set_ids(&mut self, entities: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<()> {
        for (key, id) in entities {
            entity::check_id(id).map_err(|why| Error::invalid(format!("entities.{key}"), why))?;
            let used = self
                .touched
                .iter()
                .any(|group| self.groups[*group].entity_type.keys.iter().any(|k| k == key));
            if !used {
                let message = "no value of this row is of an entity type with this key";
                return Err(Error::invalid(format!("entities.{key}"), message));
            }
        }
        for group in &self.touched {
            let entity_type = self.groups[*group].entity_type.clone();
            let id = |key: &String| entities.iter().find(|(given, _)| given == key).map(|(_, id)| &**id);
            if let Some(missing) = entity_type.keys.iter().find(|key| id(key).is_none()) {
                let message = format!("an entity of the type {:?} needs this id too", entity_type.name);
                return Err(Error::invalid(format!("entities.{missing}"), message));
            }
            self.groups[*group].set_key(entity_type.keys.iter().map(|key| id(key).unwrap_or_default()));
        }
        Ok(())
    }
}
