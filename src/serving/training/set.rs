//! What a training set answers: beside every row of a spine, the features as they were at its moment.
//!
//! ```text
//!   open(options) ──> one snapshot, one plan, the settled time
//!   answer(spine) ──> for each entity type one read as of the rows' times,
//!                     for each cell: found? given? young enough? null?  ──> columns and statuses
//! ```
//!
//! A training set is opened once and then asked piece by piece. Row `i` of an answer belongs to row `i` of its spine,
//! duplicates included; how a spine is cut into pieces changes nothing in what is answered.
//!
//! A training set holds no ERROR cells: when a group cannot be read the whole call fails, because a model that was
//! trained around a hole would be worse than none.

use super::judge;
use crate::{
    access::{Caller, Scope},
    error::{Error, Kind, Result},
    feature::{AgeLimit, Column, Dtype, Duration, Timestamp, entity},
    registry::{FeatureList, Plan},
    serving::{Limits, Service},
    store::{AsOf, GroupRead, KnownAt, Picks, Snapshot},
};
use arrow::{
    array::{Array, ArrayRef, StringArray, StringBuilder},
    buffer::ScalarBuffer,
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio::sync::Semaphore;

/// How long a call waits for a `known_at` to become settled.
const SETTLE_WAIT: std::time::Duration = std::time::Duration::from_secs(1);
const SETTLE_POLL: std::time::Duration = std::time::Duration::from_millis(10);
/// Rows of the first answer when the width of its features is not known beforehand: a text may have 64 KiB.
const FIRST_ROWS: usize = 256;
/// Of a piece's memory, the part that answers of unknown width may take: such columns stand in memory twice while they
/// are written, and the next rows may be wider than those before.
const VARYING_SHARE: usize = 4;

/// What to put beside every row of the spine.
#[derive(Clone, Debug)]
pub struct TrainingSetOptions {
    /// References as the caller wrote them; they name the answer's columns.
    pub features: Vec<String>,
    /// A feature set instead of `features`.
    pub feature_set: Option<String>,
    /// What counts as known: all that is visible, what was learned by one moment, or by each row's own.
    pub known_at: KnownAt,
    /// Tightens every feature's ttl.
    pub max_age: Option<Duration>,
    /// Puts a feature's default in its empty cells; the status still says what happened.
    pub use_defaults: bool,
    /// Whether answers carry statuses.
    pub statuses: bool,
}

/// One call's view of the store, ready to answer any number of pieces.
pub struct TrainingSet {
    service: Service,
    plan: Arc<Plan>,
    options: TrainingSetOptions,
    snapshot: Mutex<Arc<dyn Snapshot>>,
    settled_at: Timestamp,
    repeatable: bool,
    /// For each group of the plan, the positions of its features' columns in its rows.
    columns: Vec<Vec<u32>>,
    /// The widest row of an answer so far, in bytes.
    row_bytes: AtomicUsize,
}

/// Rows of a spine, in order. All arrays are of one length.
#[derive(Clone, Debug)]
pub struct Spine {
    /// Position of the first row in the whole spine.
    pub first_row: usize,
    /// For each of the plan's keys the ids, never null.
    pub ids: Vec<StringArray>,
    /// UTC microseconds.
    pub times: ScalarBuffer<i64>,
    pub names: Arc<SpineNames>,
}

/// What the caller calls the columns of a spine, for errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpineNames {
    /// By the plan's keys.
    pub keys: Vec<String>,
    pub time: String,
}

/// The features of some rows of a spine, by position.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In the order of the plan's features.
    pub features: Vec<AnswerColumn>,
    /// In the order of the plan's groups: the chosen rows' event timestamps, or `NO_ROW`.
    pub event_timestamps: Vec<ScalarBuffer<i64>>,
}

/// One feature of some rows.
#[derive(Clone, Debug)]
pub struct AnswerColumn {
    /// Of the dtype's Arrow type; empty cells are null.
    pub values: ArrayRef,
    /// Numbers of [`CellStatus`](crate::feature::CellStatus), where the options ask for them.
    pub statuses: Option<ScalarBuffer<u8>>,
}

impl Spine {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Some of the rows, without copying.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self {
            first_row: self.first_row + offset,
            ids: self.ids.iter().map(|ids| ids.slice(offset, len)).collect(),
            times: self.times.slice(offset, len),
            names: self.names.clone(),
        }
    }
}

impl TrainingSet {
    /// Resolves the features and takes the snapshot that the whole call reads.
    pub async fn open(service: &Service, caller: &Caller, options: TrainingSetOptions) -> Result<Self> {
        caller.require(Scope::Read)?;
        let catalogue = service.registry.catalogue(caller);
        let names: Vec<&str> = options.features.iter().map(String::as_str).collect();
        let features = match &options.feature_set {
            Some(_) if !names.is_empty() => {
                let message = "features and feature_set exclude each other; give one of them";
                return Err(Error::invalid("feature_set", message));
            }
            Some(set) => FeatureList::Set(set),
            None => FeatureList::Names(&names),
        };
        let plan = catalogue.plan_of(&features, service.limits.features_max)?;
        let at = match options.known_at {
            KnownAt::At(at) => Some(at),
            KnownAt::Snapshot | KnownAt::Row => None,
        };
        let snapshot = settled_snapshot(service, &plan, at, "known_at").await?;
        let columns = plan.groups.iter().map(|group| {
            group.features.iter().map(|feature| plan.features[*feature].feature.column).collect()
        });
        let columns: Vec<_> = columns.collect();
        Ok(Self {
            service: service.clone(),
            // A single `known_at` is stated as it was asked, so that a repeat has the same bytes.
            settled_at: at.unwrap_or_else(|| snapshot.settled_at()),
            repeatable: options.known_at != KnownAt::Snapshot || snapshot.is_settled(),
            columns,
            snapshot: Mutex::new(snapshot),
            row_bytes: AtomicUsize::new(0),
            options,
            plan,
        })
    }

    /// Whether answers carry statuses from here on.
    pub fn carry_statuses(&mut self, statuses: bool) {
        self.options.statuses = statuses;
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.service.limits
    }

    /// The memory that all training sets share.
    pub(super) fn memory(&self) -> Arc<Semaphore> {
        self.service.training_memory.clone()
    }

    /// About the memory that the answer to so many rows takes, in bytes.
    pub fn answer_bytes(&self, rows: usize) -> usize {
        rows * self.service.limits.spine_piece_bytes_max / self.rows_max()
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The same call with `known_at` at or before this repeats what it answers.
    pub fn settled_at(&self) -> Timestamp {
        self.settled_at
    }

    /// Nothing newer than `settled_at` is used.
    pub fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Rows that the next answer may hold within the memory of a piece.
    pub fn rows_max(&self) -> usize {
        let widths = self.plan.features.iter().map(|feature| feature.feature.dtype.width());
        let known = widths.sum::<Option<usize>>();
        let row_bytes = match (known, self.row_bytes.load(Relaxed)) {
            (None, 0) => return FIRST_ROWS,
            (None, seen) => seen * VARYING_SHARE,
            (Some(known), _) => known + 8 * self.plan.groups.len(),
        };
        (self.service.limits.spine_piece_bytes_max / row_bytes.max(1)).max(1)
    }

    /// The features of some rows of the spine.
    pub async fn answer(&self, spine: &Spine) -> Result<Answer> {
        if spine.is_empty() {
            return Ok(self.empty());
        }
        self.check(spine)?;
        let snapshot = self.snapshot_for(spine).await?;
        self.check_kept(spine)?;
        let mut picked: Vec<Option<Picks>> = vec![None; self.plan.groups.len()];
        for (position, entity_type) in self.plan.entity_types.iter().enumerate() {
            let reads = entity_type.groups.iter().map(|group| GroupRead {
                group: self.plan.groups[*group].schema.clone(),
                columns: self.columns[*group].clone(),
            });
            let query = AsOf {
                reads: reads.collect(),
                keys: self.keys(spine, position),
                times: spine.times.clone(),
                known_at: self.options.known_at,
            };
            for (group, picks) in entity_type.groups.iter().zip(snapshot.as_of(query).await?) {
                picked[*group] = Some(picks);
            }
        }
        let mut features: Vec<Option<AnswerColumn>> = vec![None; self.plan.features.len()];
        let mut event_timestamps = Vec::with_capacity(picked.len());
        for (group, picks) in self.plan.groups.iter().zip(picked) {
            let picks = picks.ok_or_else(|| Error::internal("a group belongs to no entity type"))?;
            for (position, column) in group.features.iter().zip(picks.columns) {
                features[*position] =
                    Some(self.judge(*position, column, &picks.event_timestamps, &spine.times)?);
            }
            event_timestamps.push(picks.event_timestamps);
        }
        let features: Option<Vec<_>> = features.into_iter().collect();
        let features = features.ok_or_else(|| Error::internal("the store left out a column"))?;
        let bytes: usize = features.iter().map(|column| column.values.get_array_memory_size()).sum();
        let row_bytes = bytes.div_ceil(spine.len().max(1)) + 8 * event_timestamps.len();
        self.row_bytes.fetch_max(row_bytes, Relaxed);
        Ok(Answer { features, event_timestamps })
    }

    fn empty(&self) -> Answer {
        let column = |dtype: Dtype| AnswerColumn {
            values: arrow::array::new_empty_array(&dtype.arrow()),
            statuses: self.options.statuses.then(|| Vec::new().into()),
        };
        let features = self.plan.features.iter().map(|feature| column(feature.feature.dtype));
        let event_timestamps = self.plan.groups.iter().map(|_| Vec::new().into());
        Answer { features: features.collect(), event_timestamps: event_timestamps.collect() }
    }

    fn judge(
        &self,
        feature: usize,
        column: Column,
        events: &ScalarBuffer<i64>,
        times: &ScalarBuffer<i64>,
    ) -> Result<AnswerColumn> {
        let feature = &self.plan.features[feature];
        let age_limit = feature.age_limit.min(AgeLimit::new(self.options.max_age));
        let default = feature.feature.describing.default.as_ref().filter(|_| self.options.use_defaults);
        let judged = judge::Cells { column, events, times, age_limit };
        judged.answer(default, self.options.statuses).map_err(Error::internal)
    }

    /// Ids are what ids may be, and no row lies in the future.
    fn check(&self, spine: &Spine) -> Result<()> {
        let row = |position: usize, column: &str| format!("spine[{}].{column}", spine.first_row + position);
        for (ids, name) in spine.ids.iter().zip(&spine.names.keys) {
            for position in 0..ids.len() {
                entity::check_id(ids.value(position))
                    .map_err(|why| Error::invalid(row(position, name), why))?;
            }
        }
        let bounds = self.service.time_bounds();
        let latest = bounds.latest().micros();
        check_time(spine, |time| time <= latest, |time| bounds.check_ahead(time))
    }

    /// No row lies before what is kept. Asked once the snapshot is taken: the bound moves on with the clock, so that what
    /// this lets through was kept then.
    fn check_kept(&self, spine: &Spine) -> Result<()> {
        let bounds = self.service.time_bounds();
        let earliest = bounds.earliest().micros();
        check_time(spine, |time| time >= earliest, |time| bounds.check(time))
    }

    /// The snapshot to read: with each row's own knowledge, one that is settled at the latest row.
    ///
    /// A newer snapshot changes nothing for the rows that an older one could answer, because each row sees only what
    /// was learned by its own time.
    async fn snapshot_for(&self, spine: &Spine) -> Result<Arc<dyn Snapshot>> {
        let snapshot = Arc::clone(&*self.lock_snapshot());
        let latest = match self.options.known_at {
            KnownAt::Row => spine.times.iter().copied().enumerate().max_by_key(|(_, time)| *time),
            KnownAt::Snapshot | KnownAt::At(_) => None,
        };
        match latest.map(|(row, time)| (row, Timestamp::from_stored(time))) {
            Some((position, time)) if time > snapshot.settled_at() => {
                let field = format!("spine[{}].{}", spine.first_row + position, spine.names.time);
                let newer = settled_snapshot(&self.service, &self.plan, Some(time), &field).await?;
                *self.lock_snapshot() = newer.clone();
                Ok(newer)
            }
            _ => Ok(snapshot),
        }
    }

    fn lock_snapshot(&self) -> MutexGuard<'_, Arc<dyn Snapshot>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The storage keys of one entity type.
    fn keys(&self, spine: &Spine, entity_type: usize) -> StringArray {
        let keys = &self.plan.entity_types[entity_type].keys;
        if let [key] = keys[..] {
            return spine.ids[key].clone();
        }
        let mut builder = StringBuilder::with_capacity(spine.len(), 24 * spine.len());
        let mut text = String::new();
        for row in 0..spine.len() {
            text.clear();
            entity::encode_key(keys.iter().map(|key| spine.ids[*key].value(row)), &mut text);
            builder.append_value(&text);
        }
        builder.finish()
    }
}

/// Refuses the first row whose time is not `fine`, naming it and saying why.
fn check_time(
    spine: &Spine,
    fine: impl Fn(i64) -> bool,
    why: impl Fn(Timestamp) -> Result<(), String>,
) -> Result<()> {
    let Some(position) = spine.times.iter().position(|time| !fine(*time)) else { return Ok(()) };
    let field = format!("spine[{}].{}", spine.first_row + position, spine.names.time);
    why(Timestamp::from_stored(spine.times[position])).map_err(|why| Error::invalid(field, why))
}

/// A snapshot whose settled time has reached `at`; waits a little for it.
async fn settled_snapshot(
    service: &Service,
    plan: &Plan,
    at: Option<Timestamp>,
    field: &str,
) -> Result<Arc<dyn Snapshot>> {
    let groups: Vec<_> = plan.groups.iter().map(|group| group.schema.clone()).collect();
    let started = tokio::time::Instant::now();
    loop {
        let snapshot = service.store.snapshot(&groups).await?;
        let settled_at = snapshot.settled_at();
        let Some(at) = at.filter(|at| *at > settled_at) else { return Ok(snapshot) };
        if started.elapsed() >= SETTLE_WAIT {
            return Err(Error::new(
                Kind::InvalidArgument,
                format!("{at} is not settled: rows may still appear up to {settled_at}; ask for that moment or an earlier one"),
            )
            .at(field));
        }
        tokio::time::sleep(SETTLE_POLL).await;
    }
}
