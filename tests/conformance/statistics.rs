//! Statistics by brute force, and what a snapshot says of the same rows.

use super::model::Model;
use larder::{
    feature::{Cell, RowSchema, Timestamp, Value},
    store::{
        GroupRead, Snapshot,
        statistics::{Numbers, Statistics, StatisticsQuery},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const HOUR: i64 = 3_600_000_000;

/// Asks for every column over a span, and compares.
pub async fn check(
    snapshot: &dyn Snapshot,
    model: &Model,
    keys: &[String],
    group: &Arc<RowSchema>,
    (from, to): (i64, i64),
) {
    let query = StatisticsQuery {
        read: GroupRead { group: group.clone(), columns: (0..group.columns.len() as u32).rev().collect() },
        from: Timestamp::from_stored(from),
        to: Timestamp::from_stored(to),
    };
    let found = snapshot.statistics(query).await.unwrap();
    assert_eq!(found.len(), group.columns.len());
    for (column, found) in found.iter().rev().enumerate() {
        let what = format!("column {column} of {:?} from {from} to {to}", group.id);
        let cells = newest_cells(model, keys, group, column, from, to);
        assert_same(&found.total, &sum_up(cells.iter()), &what);
        let mut hours: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for cell in &cells {
            hours.entry(cell.1.div_euclid(HOUR) * HOUR).or_default().push(cell);
        }
        let beginnings: Vec<i64> = found.hours.iter().map(|(hour, _)| hour.micros()).collect();
        assert_eq!(beginnings, hours.keys().copied().collect::<Vec<_>>(), "{what}");
        for ((hour, found), cells) in found.hours.iter().zip(hours.values()) {
            assert_same(found, &sum_up(cells.iter().copied()), &format!("{what}, {hour}"));
        }
    }
}

/// An entity, a moment, and what its newest row holds.
type Newest<'a> = (&'a str, i64, &'a Cell);

fn newest_cells<'a>(
    model: &'a Model,
    keys: &'a [String],
    group: &RowSchema,
    column: usize,
    from: i64,
    to: i64,
) -> Vec<Newest<'a>> {
    let mut newest = Vec::new();
    for key in keys {
        let by_moment: BTreeMap<i64, _> =
            model.scan(group.id, key, from, to).into_iter().map(|row| (row.event, row)).collect();
        newest.extend(by_moment.into_iter().filter_map(|(event, row)| {
            let cell = row.cells.get(column).filter(|cell| **cell != Cell::LeftOut)?;
            Some((key.as_str(), event, cell))
        }));
    }
    newest
}

fn sum_up<'a>(cells: impl Iterator<Item = &'a Newest<'a>> + Clone) -> Statistics {
    let numbers: Vec<f64> = cells
        .clone()
        .filter_map(|(_, _, cell)| match cell {
            Cell::Value(Value::Int64(number)) => Some(*number as f64),
            Cell::Value(Value::Float64(number)) => Some(*number),
            Cell::Value(Value::Float32(number)) => Some((*number).into()),
            Cell::Value(Value::Decimal(number)) => Some(number.to_string().parse().unwrap()),
            _ => None,
        })
        .collect();
    let entities: BTreeSet<&str> = cells.clone().map(|(entity, ..)| *entity).collect();
    Statistics {
        rows: cells.clone().count() as u64,
        nulls: cells.clone().filter(|(_, _, cell)| **cell == Cell::Null).count() as u64,
        distinct_entities: entities.len() as u64,
        numbers: (!numbers.is_empty()).then(|| Numbers {
            min: numbers.iter().copied().fold(f64::INFINITY, f64::min),
            max: numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            mean: numbers.iter().sum::<f64>() / numbers.len() as f64,
        }),
        newest: cells.map(|(_, event, _)| Timestamp::from_stored(*event)).max(),
    }
}

/// The same but for the last digits of the mean, which depend on the order of its numbers.
fn assert_same(found: &Statistics, expected: &Statistics, what: &str) {
    let mut found = found.clone();
    if let (Some(found), Some(expected)) = (&mut found.numbers, &expected.numbers) {
        assert!((found.mean - expected.mean).abs() <= 1e-12 * expected.mean.abs(), "{what}: {found:?}");
        found.mean = expected.mean;
    }
    assert_eq!(&found, expected, "{what}");
}
