//! Histories to run, and the rows that an aggregator gives for them.

use super::{
    Aggregator, DeadReason, Event, Judgement, Options, Position, Span, WindowFeature, WindowGroup, WindowRows,
};
use crate::{
    event::FieldValue,
    feature::{Cell, Dtype, Duration, RowId, TenantId, Timestamp, WindowFunction},
};

mod brute;
mod functions;
mod memory;
mod properties;
mod rules;

/// 2023-11-14T22:13:20Z.
pub const START: i64 = 1_700_000_000_000_000;
pub const SECOND: i64 = 1_000_000;

/// A value that owns its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Missing,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Time(i64),
    Other,
}

impl Field {
    pub fn borrow(&self) -> FieldValue<'_> {
        match self {
            Field::Missing => FieldValue::Missing,
            Field::Int(v) => FieldValue::Int(*v),
            Field::Float(v) => FieldValue::Float(*v),
            Field::Bool(v) => FieldValue::Bool(*v),
            Field::Text(v) => FieldValue::Text(v),
            Field::Time(micros) => FieldValue::Time(Timestamp::from_stored(*micros)),
            Field::Other => FieldValue::Other,
        }
    }
}

/// An event that owns its parts; values by field name.
#[derive(Clone, Debug)]
pub struct OwnedEvent {
    pub tenant: u64,
    pub entity_type: Option<&'static str>,
    pub entity: String,
    pub event_type: &'static str,
    pub timestamp: i64,
    pub event_id: Option<String>,
    pub values: Vec<(&'static str, Field)>,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// (log time, event)
    Event(i64, OwnedEvent),
    Tick(i64),
    Dead(i64),
    Register(WindowGroup, Span),
}

/// An emitted row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub group: u64,
    pub end: i64,
    pub key: String,
    pub created: i64,
    pub sequence: u64,
    pub cells: Vec<Cell>,
}

/// What an aggregator said to an event: its judgement, and (group, end) of the windows that it missed.
pub type Said = (Judgement, Vec<(u64, i64)>);

/// Takes a step; an event's answer comes back. `offset` counts records.
pub fn take(aggregator: &mut Aggregator, step: &Step, offset: &mut u64) -> Option<Said> {
    let mut at = |log_time: i64| {
        *offset += 1;
        Position { offset: *offset - 1, log_time: Timestamp::from_stored(log_time) }
    };
    match step {
        Step::Register(group, span) => aggregator.register(group.clone(), *span).unwrap(),
        Step::Tick(log_time) => aggregator.tick(at(*log_time)).unwrap(),
        Step::Dead(log_time) => aggregator.dead(at(*log_time)).unwrap(),
        Step::Event(log_time, event) => {
            let tenant = TenantId::from_stored(event.tenant);
            let fields = aggregator.fields(tenant, event.event_type).to_vec();
            let value = |name: &String| {
                let found = event.values.iter().find(|(field, _)| field == name);
                found.map_or(FieldValue::Missing, |(_, value)| value.borrow())
            };
            let values: Vec<_> = fields.iter().map(value).collect();
            let borrowed = Event {
                tenant,
                entity_type: event.entity_type,
                entity: &event.entity,
                event_type: event.event_type,
                timestamp: Timestamp::from_stored(event.timestamp),
                event_id: event.event_id.as_deref(),
                values: &values,
            };
            let verdict = aggregator.event(at(*log_time), &borrowed).unwrap();
            let missed = verdict.missed.iter().flat_map(|missed| {
                missed.ends().map(|end| (missed.group.get(), end.micros())).collect::<Vec<_>>()
            });
            return Some((verdict.judgement, missed.collect()));
        }
    }
    None
}

pub fn rows(batches: Vec<WindowRows>, groups: &[WindowGroup]) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches {
        let features = &groups.iter().find(|group| group.id == batch.group).unwrap().features;
        for at in 0..batch.event_timestamps.len() {
            let cells = batch.columns.iter().zip(features);
            rows.push(Row {
                group: batch.group.get(),
                end: batch.event_timestamps[at],
                key: batch.keys.value(at).to_owned(),
                created: batch.created[at],
                sequence: batch.sequences[at],
                cells: cells.map(|(column, feature)| column.cell(at, feature.dtype)).collect(),
            });
        }
    }
    rows
}

/// All rows and answers of a history, without any cut.
pub fn run(steps: &[Step], options: Options) -> (Vec<Row>, Vec<Said>, Aggregator) {
    let mut aggregator = Aggregator::new(options);
    let (mut offset, mut said) = (0, Vec::new());
    for step in steps {
        said.extend(take(&mut aggregator, step, &mut offset));
    }
    let rows = rows(aggregator.take_rows(), &groups_of(steps));
    (rows, said, aggregator)
}

pub fn groups_of(steps: &[Step]) -> Vec<WindowGroup> {
    let groups = steps.iter().filter_map(|step| match step {
        Step::Register(group, _) => Some(group.clone()),
        _ => None,
    });
    groups.collect()
}

pub fn seconds(seconds: i64) -> Duration {
    Duration::from_micros(seconds * SECOND).unwrap()
}

pub fn feature(function: WindowFunction, field: Option<&str>, dtype: Dtype) -> WindowFeature {
    WindowFeature { function, field: field.map(str::to_owned), dtype, allow_non_finite: false }
}

/// A group over purchases of users.
pub fn group(id: u64, size: i64, slide: i64, features: Vec<WindowFeature>) -> WindowGroup {
    WindowGroup {
        id: RowId::from_stored(id),
        tenant: TenantId::from_stored(1),
        entity_type: "user".into(),
        event_type: "purchase".into(),
        size: seconds(size),
        slide: seconds(slide),
        features,
    }
}

pub fn count_and_sum() -> Vec<WindowFeature> {
    vec![
        feature(WindowFunction::Count, None, Dtype::Int64),
        feature(WindowFunction::Sum, Some("value"), Dtype::Float64),
    ]
}

/// A purchase; times in seconds after [`START`].
pub fn purchase(log_time: i64, entity: &str, timestamp: i64, value: f64) -> Step {
    let event = OwnedEvent {
        tenant: 1,
        entity_type: None,
        entity: entity.into(),
        event_type: "purchase",
        timestamp: START + timestamp * SECOND,
        event_id: None,
        values: vec![("value", Field::Float(value))],
    };
    Step::Event(START + log_time * SECOND, event)
}

pub fn tick(log_time: i64) -> Step {
    Step::Tick(START + log_time * SECOND)
}
