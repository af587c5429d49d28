//! `larder get`: the online answer, with the status and age of every cell.

use super::{
    args::{Connection, EntityArgs, FeatureArgs, Moment},
    output::table,
    value,
};
use crate::{
    client::{OnlineAnswer, OnlineCell},
    clock::Clock,
    error::Result,
    feature::{Duration, Timestamp},
    wire::{
        control::{Members, Raw, Time},
        online::shape,
        proto::{EntityIds, FeatureStatus, GetOnlineFeaturesRequest},
        value::{duration_to, timestamp_to},
    },
};
use clap::Args;
use comfy_table::{Cell, Color, Table};
use std::collections::BTreeMap;

#[derive(Args, Debug)]
pub(super) struct GetArgs {
    #[command(flatten)]
    entities: EntityArgs,
    #[command(flatten)]
    features: FeatureArgs,
    /// As things were at this moment, or this long ago (1h) [default: now]
    #[arg(long, value_name = "TIME")]
    as_of: Option<Moment>,
    /// Take values older than this for stale, whatever their ttl
    #[arg(long, value_name = "AGE")]
    max_age: Option<Duration>,
    /// Put defaults into empty cells; the status still says what happened
    #[arg(long)]
    use_defaults: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Which entities each row of an answer is of: ids by key, `entity_id` where the request named no key.
pub(super) type Entities = Vec<BTreeMap<String, String>>;

pub(super) async fn get(args: GetArgs) -> Result<()> {
    let as_of = args.as_of.map(Moment::resolve);
    let columns = args.entities.columns()?;
    let entities = match columns.is_empty() {
        true => args
            .entities
            .ids
            .iter()
            .map(|id| BTreeMap::from([("entity_id".to_owned(), id.clone())]))
            .collect(),
        false => rows_of(&columns),
    };
    let request = GetOnlineFeaturesRequest {
        features: args.features.features,
        feature_set: args.features.feature_set.unwrap_or_default(),
        entity_ids: args.entities.ids,
        entities: columns,
        as_of: as_of.map(timestamp_to),
        max_age: args.max_age.map(duration_to),
        use_defaults: args.use_defaults,
        ..Default::default()
    };
    let answer = args.connection.client().await?.online(request).await?;
    if answer.degraded {
        args.connection.output().note("A part of the server is down; it answered around it.");
    }
    args.connection.output().print(&shape(&answer, &entities), || {
        answer_table(&answer, &entities, as_of.unwrap_or_else(|| Clock::system().now())).trim_fmt()
    })
}

fn rows_of(columns: &std::collections::HashMap<String, EntityIds>) -> Entities {
    let rows = columns.values().map(|column| column.ids.len()).max().unwrap_or_default();
    let row =
        |row: usize| columns.iter().map(|(key, column)| (key.clone(), column.ids[row].clone())).collect();
    (0..rows).map(row).collect()
}

/// A line for each cell; the entity stands on its first line. `now` is what ages are counted to.
pub(super) fn answer_table(answer: &OnlineAnswer, entities: &Entities, now: Timestamp) -> Table {
    let mut table = table::<&str, Vec<Cell>, Cell>(["entity", "feature", "value", "status", "age"], []);
    for (row, entity) in entities.iter().enumerate().take(answer.rows.len()) {
        for (position, feature) in answer.schema.features.iter().enumerate() {
            let cell = answer.cell(row, position);
            let name = if position == 0 { entity_text(entity) } else { String::new() };
            let shown = cell.value.as_ref().map_or_else(|| "–".to_owned(), value::text);
            let age = cell.event_timestamp.map_or_else(|| "–".to_owned(), |at| value::age(at, now));
            let cells = [
                Cell::new(name),
                Cell::new(&feature.name),
                Cell::new(shown),
                status_cell(&cell),
                Cell::new(age),
            ];
            table.add_row(cells.to_vec());
        }
    }
    table
}

fn status_cell(cell: &OnlineCell) -> Cell {
    let name = cell.status.as_str_name();
    match (cell.status, &cell.reason) {
        (FeatureStatus::Present, _) => Cell::new(name).fg(Color::Green),
        (FeatureStatus::Error, Some(reason)) => Cell::new(format!("{name}: {reason}")).fg(Color::Red),
        _ => Cell::new(name).fg(Color::Yellow),
    }
}

fn entity_text(entity: &BTreeMap<String, String>) -> String {
    match entity.get("entity_id") {
        Some(id) if entity.len() == 1 => id.clone(),
        _ => entity.iter().map(|(key, id)| format!("{key}={id}")).collect::<Vec<_>>().join(" "),
    }
}

/// The shape that REST answers with.
fn shape(answer: &OnlineAnswer, entities: &Entities) -> shape::OnlineAnswer {
    let features = &answer.schema.features;
    let results = entities.iter().enumerate().take(answer.rows.len()).map(|(row, entity)| {
        let id = entity.get("entity_id").filter(|_| entity.len() == 1).cloned();
        let mut result = shape::OnlineEntity {
            entities: id.is_none().then(|| entity.clone()),
            entity_id: id,
            ..Default::default()
        };
        for (position, feature) in features.iter().enumerate() {
            let (name, cell) = (|| feature.name.clone(), answer.cell(row, position));
            result.values.0.push((name(), Raw::of(cell.value.as_ref())));
            result.statuses.0.push((name(), cell.status.as_str_name()));
            result.event_timestamps.0.push((name(), cell.event_timestamp.map(Time)));
            result.errors.0.extend(cell.reason.map(|reason| (name(), reason)));
        }
        result
    });
    shape::OnlineAnswer {
        request_id: answer.request_id.clone(),
        degraded: answer.degraded,
        features: Members(
            features
                .iter()
                .map(|feature| (feature.name.clone(), shape::OnlineFeature::from(feature)))
                .collect(),
        ),
        results: results.collect(),
    }
}
