//! Random histories against a model that is nothing but the rules: a list of rows, searched from end to end.

use super::{
    HandClock, NOW,
    ask::{Ask, Cell, Ways, cell, not_found},
    now_plus, register, write_rows,
};
use crate::support::TestApp;
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000;
const ENTITIES: usize = 4;
/// By feature: group, ttl in seconds.
const FEATURES: [(&str, usize, Option<i64>); 4] =
    [("a", 0, Some(5)), ("b", 0, None), ("c", 1, Some(20)), ("d", 1, Some(0))];

/// A row that was acknowledged. Later ones stand later in the list.
struct Row {
    entity: usize,
    group: usize,
    /// Seconds from `NOW`.
    event: i64,
    values: [Option<i64>; 2],
}

#[tokio::test]
async fn answers_are_those_of_the_model() {
    for seed in 0..12 {
        let clock = HandClock::at(NOW);
        let app = TestApp::start_at(clock.clock(), |_| ()).await;
        let features: Vec<Value> = FEATURES
            .iter()
            .map(|(name, group, ttl)| {
                let ttl = ttl.map(|seconds| format!("{seconds}s"));
                json!({"name": name, "entity_type": "user", "dtype": "int64", "group": format!("g{group}"),
                    "ttl": ttl})
            })
            .collect();
        register(&app, features.into()).await;
        check(&app, &mut fastrand::Rng::with_seed(seed)).await;
    }
}

async fn check(app: &TestApp, random: &mut fastrand::Rng) {
    let mut history: Vec<Row> = Vec::new();
    let mut ways = Ways::to(app).await;
    for _ in 0..12 {
        let rows: Vec<Row> = (0..random.usize(1..4)).map(|_| row(random)).collect();
        write_rows(app, rows.iter().map(body).collect()).await;
        history.extend(rows);
        for _ in 0..6 {
            let (as_of, max_age) = (random.i64(-30..=60), random.bool().then(|| random.i64(0..25)));
            let ask = ask(random.bool().then_some(as_of), max_age);
            let at = if ask.as_of.is_some() { as_of } else { 0 };
            let expected: Vec<Vec<Cell>> = (0..ENTITIES)
                .map(|entity| {
                    (0..FEATURES.len()).map(|feature| model(&history, entity, feature, at, max_age)).collect()
                })
                .collect();
            assert_eq!(ways.ask(&ask).await.unwrap(), expected, "{ask:?}");
        }
    }
}

fn row(random: &mut fastrand::Rng) -> Row {
    let value = |random: &mut fastrand::Rng| (random.u8(..4) > 0).then(|| random.i64(0..3));
    Row {
        entity: random.usize(..ENTITIES),
        group: random.usize(..2),
        event: random.i64(-25..=30),
        values: [value(random), value(random)],
    }
}

fn body(row: &Row) -> Value {
    let names =
        FEATURES.iter().filter(|(_, group, _)| *group == row.group).map(|(name, ..)| (*name).to_owned());
    let values: serde_json::Map<String, Value> =
        names.zip(row.values).map(|(name, value)| (name, json!(value))).collect();
    json!({"entity_type": "user", "entity_id": format!("u{}", row.entity),
        "event_timestamp": now_plus(row.event * SECOND), "values": values})
}

fn ask(as_of: Option<i64>, max_age: Option<i64>) -> Ask {
    let names: Vec<&str> = FEATURES.iter().map(|(name, ..)| *name).collect();
    let ids: Vec<String> = (0..ENTITIES).map(|entity| format!("u{entity}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut ask = Ask::new(&names, &ids);
    ask.as_of = as_of.map(|seconds| now_plus(seconds * SECOND));
    ask.max_age = max_age.map(|seconds| format!("{seconds}s"));
    ask
}

/// SEMANTICS in five lines: the newest event at or before, of equals the last learned; younger than its limit.
fn model(history: &[Row], entity: usize, feature: usize, as_of: i64, max_age: Option<i64>) -> Cell {
    let (_, group, ttl) = FEATURES[feature];
    let rows = history.iter().filter(|row| (row.entity, row.group) == (entity, group) && row.event <= as_of);
    // max_by_key returns the last of equals.
    let Some(row) = rows.max_by_key(|row| row.event) else { return not_found() };
    let event = Some(now_plus(row.event * SECOND));
    let limit = [ttl, max_age].into_iter().flatten().min();
    match row.values[feature % 2] {
        _ if limit.is_some_and(|limit| row.event <= as_of - limit) => {
            cell(Value::Null, "OUTSIDE_MAX_AGE", event)
        }
        None => cell(Value::Null, "NULL_VALUE", event),
        Some(value) => cell(value, "PRESENT", event),
    }
}
