//! The online answer: the newest values of some entities, judged as of one moment.
//!
//! ```text
//! features → plan ─┐
//! entities → keys ─┴→ newest rows, one read an entity type → rows from the future again, from history → judged when written
//! ```
//!
//! The answer keeps the rows as the store holds them; `wire::online` judges each group of each row once, while it
//! writes, so that a full and fresh group is copied whole.

use super::{Limits, Service};
use crate::{
    access::{Caller, Scope},
    error::{Error, Result},
    feature::{AgeLimit, CellStatus, Duration, PackedRow, RowId, Timestamp, entity, row::RowPacker},
    registry::{FeatureList, Plan, PlanEntityType},
    store::{AsOf, EntityRows, GroupRead, KnownAt, LatestRead, NO_ROW, Picks, RowRef, Snapshot, StoredRow},
};
use arrow::array::StringArray;
use std::{borrow::Cow, sync::Arc};

/// Which features of which entities, as of when.
#[derive(Clone, Copy, Debug)]
pub struct OnlineRequest<'a> {
    pub features: FeatureList<'a>,
    pub entities: Entities<'a>,
    /// None = now.
    pub as_of: Option<Timestamp>,
    /// Tightens every feature's ttl.
    pub max_age: Option<Duration>,
    /// Puts defaults into empty cells.
    pub use_defaults: bool,
}

/// The entities of a request, one row each.
#[derive(Clone, Copy, Debug)]
pub enum Entities<'a> {
    /// For features of one entity type with one key.
    Ids(&'a [&'a str]),
    /// Columns of one length by key name.
    Columns(&'a [(&'a str, Vec<&'a str>)]),
}

impl<'a> Entities<'a> {
    /// The first id, which stands for all of them in a log line.
    pub fn first(&self) -> Option<&'a str> {
        match self {
            Self::Ids(ids) => ids.first().copied(),
            Self::Columns(columns) => columns.first().and_then(|(_, ids)| ids.first().copied()),
        }
    }
}

/// Rows of groups as they were found, with all that is needed to judge them.
#[derive(Debug)]
pub struct OnlineAnswer {
    pub plan: Arc<Plan>,
    /// How many entities were asked for.
    pub rows: usize,
    pub as_of: Timestamp,
    pub max_age: AgeLimit,
    pub use_defaults: bool,
    /// Something was answered around a part that is down.
    pub degraded: bool,
    /// By the plan's entity types.
    reads: Vec<TypeRead>,
}

/// What was found for one entity type.
#[derive(Debug)]
struct TypeRead {
    /// By row; empty when nothing could be read.
    rows: Vec<EntityRows>,
    /// Places (row × the type's groups) that could not be read, ascending, and why.
    failed: Option<(Vec<usize>, Error)>,
}

/// What was found in one group for one entity.
#[derive(Clone, Copy, Debug)]
pub enum GroupCells<'a> {
    /// No row: every cell is NOT_FOUND.
    Absent,
    /// It could not be read: every cell is ERROR.
    Failed(&'a Error),
    /// A row whose every asked cell is PRESENT.
    Whole { event: i64, row: PackedRow<'a> },
    /// A row to be judged cell by cell.
    Judged { event: i64, row: PackedRow<'a> },
}

impl Service {
    /// The newest values of some entities. Absent entities and stale values are statuses on cells, never errors.
    pub async fn online(&self, caller: &Caller, request: OnlineRequest<'_>) -> Result<OnlineAnswer> {
        caller.require(Scope::Read)?;
        let plan = self.registry.catalogue(caller).plan_of(&request.features, self.limits.features_max)?;
        let rows = count_entities(&plan, &request.entities, &self.limits)?;
        let bounds = self.time_bounds();
        let now = bounds.now();
        let as_of = request.as_of.unwrap_or(now);
        bounds.check(as_of).map_err(|why| Error::invalid("as_of", why))?;
        // The past is read from history alone, never through what is kept for the newest rows.
        let past = as_of < now;
        let mut reads = Vec::with_capacity(plan.entity_types.len());
        for entity_type in &plan.entity_types {
            let mut encoded = Vec::new();
            let keys = keys(&plan, entity_type, &request.entities, &mut encoded)?;
            reads.push(self.read_type(&plan, entity_type, &keys, as_of, past).await);
        }
        if let Some(error) = nothing_was_read(&plan, &reads) {
            return Err(error);
        }
        let max_age = AgeLimit::new(request.max_age);
        Ok(OnlineAnswer {
            plan,
            rows,
            as_of,
            max_age,
            use_defaults: request.use_defaults,
            degraded: false,
            reads,
        })
    }

    async fn read_type(
        &self,
        plan: &Plan,
        entity_type: &PlanEntityType,
        keys: &[&str],
        as_of: Timestamp,
        past: bool,
    ) -> TypeRead {
        let width = entity_type.groups.len();
        let mut read = TypeRead { rows: Vec::new(), failed: None };
        if past {
            read.rows.extend(keys.iter().map(|key| EntityRows::new(key, [])));
            let every = (0..keys.len() * width).collect();
            self.read_history(plan, entity_type, keys, as_of, every, &mut read).await;
            return read;
        }
        let latest = LatestRead { entity_type: entity_type.id, groups: &entity_type.schemas, keys };
        match self.store.latest(latest).await {
            Ok(rows) => read.rows = rows,
            Err(error) => {
                read.failed = Some((Vec::new(), error.into()));
                return read;
            }
        }
        let ahead: Vec<usize> = read
            .rows
            .iter()
            .enumerate()
            .flat_map(|(row, rows)| {
                let newest =
                    entity_type.schemas.iter().enumerate().map(|(at, schema)| (at, rows.row(schema.id, at)));
                newest
                    .filter(|(_, newest)| newest.is_some_and(|newest| newest.event_timestamp > as_of))
                    .map(move |(at, _)| row * width + at)
            })
            .collect();
        if !ahead.is_empty() {
            self.read_history(plan, entity_type, keys, as_of, ahead, &mut read).await;
        }
        read
    }

    /// Puts the rows as they were into the given places of a read.
    async fn read_history(
        &self,
        plan: &Plan,
        entity_type: &PlanEntityType,
        keys: &[&str],
        as_of: Timestamp,
        places: Vec<usize>,
        read: &mut TypeRead,
    ) {
        match self.store.snapshot(&entity_type.schemas).await {
            Err(error) => read.failed = Some((places, error.into())),
            Ok(snapshot) => {
                let history = History { plan, entity_type, keys, as_of };
                if let Err(error) = history.fill(&*snapshot, &places, read).await {
                    read.failed = Some((places, error));
                }
            }
        }
    }
}

/// Rows as they were at one moment.
struct History<'a> {
    plan: &'a Plan,
    entity_type: &'a PlanEntityType,
    keys: &'a [&'a str],
    as_of: Timestamp,
}

impl History<'_> {
    async fn fill(&self, snapshot: &dyn Snapshot, places: &[usize], read: &mut TypeRead) -> Result<()> {
        let width = self.entity_type.groups.len();
        let mut keys: Vec<usize> = places.iter().map(|place| place / width).collect();
        keys.dedup();
        let mut groups: Vec<usize> = places.iter().map(|place| place % width).collect();
        groups.sort_unstable();
        groups.dedup();
        let group_reads = groups.iter().map(|group| GroupRead {
            group: self.entity_type.schemas[*group].clone(),
            columns: self.columns(*group),
        });
        let query = AsOf {
            reads: group_reads.collect(),
            keys: StringArray::from_iter_values(keys.iter().map(|key| self.keys[*key])),
            times: vec![self.as_of.micros(); keys.len()].into(),
            known_at: KnownAt::Snapshot,
        };
        let picks = snapshot.as_of(query).await?;
        let mut packer = RowPacker::default();
        for in_row in places.chunk_by(|a, b| a / width == b / width) {
            let row = in_row[0] / width;
            let key = keys.binary_search(&row).expect("every place's key was asked for");
            let mut past: Vec<(RowId, Option<StoredRow>)> = in_row
                .iter()
                .map(|place| {
                    let group = place % width;
                    let picks =
                        &picks[groups.binary_search(&group).expect("every place's group was asked for")];
                    (self.entity_type.schemas[group].id, self.row_of(group, picks, key, &mut packer))
                })
                .collect();
            past.sort_unstable_by_key(|(group, _)| *group);
            let past = past.iter().map(|(group, row)| (*group, row.as_ref().map(RowRef::from)));
            read.rows[row] = read.rows[row].overlaid(self.keys[row], past);
        }
        Ok(())
    }

    /// The row that was chosen in one of the type's groups.
    fn row_of(&self, group: usize, picks: &Picks, at: usize, packer: &mut RowPacker) -> Option<StoredRow> {
        let event = picks.event_timestamps[at];
        if event == NO_ROW {
            return None;
        }
        let mut asked = self.columns(group).into_iter().zip(&picks.columns).peekable();
        for (position, column) in self.entity_type.schemas[group].columns.iter().enumerate() {
            match asked.next_if(|(at, _)| *at as usize == position) {
                Some((_, values)) => values.pack(at, column.dtype, packer),
                None => packer.push_left_out(),
            }
        }
        let mut values = Vec::new();
        packer.finish(&mut values);
        let event_timestamp = Timestamp::from_stored(event);
        // Which knowledge made the row does not matter to an online answer.
        Some(StoredRow { event_timestamp, created: event_timestamp, sequence: 0, values: values.into() })
    }

    /// The columns asked of one of the type's groups, ascending.
    fn columns(&self, group: usize) -> Vec<u32> {
        let features = &self.plan.groups[self.entity_type.groups[group]].features;
        let mut columns: Vec<u32> =
            features.iter().map(|feature| self.plan.features[*feature].feature.column).collect();
        columns.sort_unstable();
        columns
    }
}

impl OnlineAnswer {
    /// What was found for one entity in one of the plan's groups.
    #[inline]
    pub fn cells(&self, row: usize, group: usize) -> GroupCells<'_> {
        let group = &self.plan.groups[group];
        let read = &self.reads[group.entity_type];
        if let Some((places, error)) = &read.failed {
            let place = row * self.plan.entity_types[group.entity_type].groups.len() + group.position;
            if read.rows.is_empty() || places.binary_search(&place).is_ok() {
                return GroupCells::Failed(error);
            }
        }
        let Some(found) = read.rows[row].row(group.schema.id, group.position) else {
            return GroupCells::Absent;
        };
        let (event, packed) = (found.event_timestamp.micros(), found.packed());
        let fresh = group.age_limit_least.min(self.max_age).admits(event, self.as_of.micros());
        if fresh && packed.is_full() && packed.columns() >= group.columns_asked {
            GroupCells::Whole { event, row: packed }
        } else {
            GroupCells::Judged { event, row: packed }
        }
    }

    /// The status of a feature's cell, by the feature's position in the plan.
    #[inline]
    pub fn status(&self, feature: usize, cells: &GroupCells<'_>) -> CellStatus {
        match cells {
            GroupCells::Absent => CellStatus::NotFound,
            GroupCells::Failed(_) => CellStatus::Error,
            GroupCells::Whole { .. } => CellStatus::Present,
            GroupCells::Judged { event, row } => {
                let feature = &self.plan.features[feature];
                let fresh = feature.age_limit.min(self.max_age).admits(*event, self.as_of.micros());
                CellStatus::judge(row.state(feature.feature.column as usize), fresh)
            }
        }
    }

    /// Whether some cell may have status ERROR.
    pub fn has_failures(&self) -> bool {
        self.reads.iter().any(|read| read.failed.is_some())
    }
}

impl<'a> GroupCells<'a> {
    /// The status of all cells, where it is one.
    pub fn uniform(&self) -> Option<CellStatus> {
        match self {
            Self::Absent => Some(CellStatus::NotFound),
            Self::Failed(_) => Some(CellStatus::Error),
            Self::Whole { .. } => Some(CellStatus::Present),
            Self::Judged { .. } => None,
        }
    }

    /// When the row that was found became true, stale or not; UTC µs.
    pub fn event(&self) -> Option<i64> {
        match self {
            Self::Whole { event, .. } | Self::Judged { event, .. } => Some(*event),
            Self::Absent | Self::Failed(_) => None,
        }
    }

    pub fn row(&self) -> Option<PackedRow<'a>> {
        match self {
            Self::Whole { row, .. } | Self::Judged { row, .. } => Some(*row),
            Self::Absent | Self::Failed(_) => None,
        }
    }
}

/// Checks the entities against the plan and the limits, and counts them.
fn count_entities(plan: &Plan, entities: &Entities<'_>, limits: &Limits) -> Result<usize> {
    let (field, rows) = match entities {
        Entities::Ids(ids) => {
            if plan.keys.len() != 1 || plan.entity_types.len() != 1 {
                let message = format!(
                    "these features are keyed by {}; give \"entities\" with a column for each key instead",
                    plan.keys.join(", ")
                );
                return Err(Error::invalid("entity_ids", message));
            }
            ("entity_ids", ids.len())
        }
        Entities::Columns(columns) => ("entities", check_columns(plan, columns)?),
    };
    if rows == 0 {
        return Err(Error::invalid(field, "no entities are asked for; name at least one"));
    }
    if rows > limits.entities_max {
        let message =
            format!("{rows} entities are over the limit of {}; split the request", limits.entities_max);
        return Err(Error::invalid(field, message));
    }
    let features = plan.features.len();
    if rows * features > limits.cells_max {
        let message = format!(
            "{rows} entities × {features} features are over the limit of {} cells; with these features {} entities fit",
            limits.cells_max,
            limits.cells_max / features
        );
        return Err(Error::invalid(field, message));
    }
    Ok(rows)
}

/// Exactly the keys that the features need, in columns of one length.
fn check_columns(plan: &Plan, columns: &[(&str, Vec<&str>)]) -> Result<usize> {
    for (key, _) in columns {
        if !plan.keys.iter().any(|needed| needed == key) {
            let message =
                format!("no feature asked for has the key {key:?}; they need {}", plan.keys.join(", "));
            return Err(Error::invalid(format!("entities.{key}"), message));
        }
    }
    let mut length = None;
    for needed in &plan.keys {
        let Some((_, ids)) = columns.iter().find(|(key, _)| key == needed) else {
            let types = plan
                .entity_types
                .iter()
                .filter(|entity_type| entity_type.keys.iter().any(|key| &plan.keys[*key] == needed));
            let types: Vec<_> = types.map(|entity_type| entity_type.name.as_str()).collect();
            let message = format!("the key {needed:?} is missing; features of {} need it", types.join(", "));
            return Err(Error::invalid(format!("entities.{needed}"), message));
        };
        let expected = *length.get_or_insert(ids.len());
        if ids.len() != expected {
            let message =
                format!("this column has {} ids and another {expected}; give one for each row", ids.len());
            return Err(Error::invalid(format!("entities.{needed}"), message));
        }
    }
    Ok(length.unwrap_or_default())
}

/// The storage keys of one entity type, one for each row. Composite ones are kept in `encoded`.
fn keys<'a>(
    plan: &Plan,
    entity_type: &PlanEntityType,
    entities: &'a Entities<'_>,
    encoded: &'a mut Vec<String>,
) -> Result<Cow<'a, [&'a str]>> {
    let columns = match entities {
        Entities::Ids(ids) => {
            check_ids(ids, "entity_ids")?;
            return Ok(Cow::Borrowed(ids));
        }
        Entities::Columns(columns) => columns,
    };
    let mut of_type: Vec<&[&str]> = Vec::with_capacity(entity_type.keys.len());
    for key in &entity_type.keys {
        let key = &plan.keys[*key];
        let (_, ids) = columns.iter().find(|(name, _)| name == key).expect("the columns were checked");
        check_ids(ids, &format!("entities.{key}"))?;
        of_type.push(ids);
    }
    if let [ids] = of_type.as_slice() {
        return Ok(Cow::Borrowed(ids));
    }
    let rows = of_type.first().map_or(0, |ids| ids.len());
    encoded.extend((0..rows).map(|row| {
        let mut key = String::new();
        entity::encode_key(of_type.iter().map(|ids| ids[row]), &mut key);
        key
    }));
    Ok(encoded.iter().map(String::as_str).collect())
}

fn check_ids(ids: &[&str], field: &str) -> Result<()> {
    match ids.iter().enumerate().find_map(|(row, id)| Some((row, entity::check_id(id).err()?))) {
        Some((row, why)) => Err(Error::invalid(format!("{field}[{row}]"), why)),
        None => Ok(()),
    }
}

/// The error of a request of which no cell at all could be read.
fn nothing_was_read(plan: &Plan, reads: &[TypeRead]) -> Option<Error> {
    let of_read = |(entity_type, read): (&PlanEntityType, &TypeRead)| match &read.failed {
        Some((places, error)) if places.len() == read.rows.len() * entity_type.groups.len() => {
            Some(error.clone())
        }
        _ => None,
    };
    let errors: Option<Vec<Error>> = plan.entity_types.iter().zip(reads).map(of_read).collect();
    errors?.into_iter().next()
}

#[cfg(test)]
impl OnlineAnswer {
    /// An answer of given rows: `rows[row][group]`, and the groups that could not be read.
    pub(crate) fn of_rows(
        plan: Arc<Plan>,
        rows: &[Vec<Option<StoredRow>>],
        failed: &[usize],
        as_of: Timestamp,
        max_age: Option<Duration>,
        use_defaults: bool,
    ) -> Self {
        let of_type = |entity_type: &PlanEntityType| {
            let of_row = |row: &Vec<Option<StoredRow>>| {
                let known = entity_type
                    .groups
                    .iter()
                    .map(|group| (plan.groups[*group].schema.id, row[*group].as_ref().map(RowRef::from)));
                let mut known: Vec<_> = known.collect();
                known.sort_by_key(|(group, _)| *group);
                EntityRows::new("u", known)
            };
            let places = rows.iter().flat_map(|_| &entity_type.groups).enumerate();
            let failed: Vec<usize> =
                places.filter(|(_, group)| failed.contains(group)).map(|(place, _)| place).collect();
            TypeRead {
                rows: rows.iter().map(of_row).collect(),
                failed: (!failed.is_empty()).then(|| (failed, Error::unavailable("the disk is gone"))),
            }
        };
        let reads = plan.entity_types.iter().map(of_type).collect();
        let max_age = AgeLimit::new(max_age);
        Self { plan, rows: rows.len(), as_of, max_age, use_defaults, degraded: false, reads }
    }
}
