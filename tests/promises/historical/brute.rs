//! Random histories against the rules applied by brute force.

use super::{
    rules::at,
    ways::{Way, ask},
};
use crate::support::TestApp;
use larder::feature::{Round, Timestamp};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

/// A row as it was written.
#[derive(Clone, Debug)]
struct Written {
    entity: u8,
    event: u16,
    value: Option<u8>,
}

fn histories() -> impl Strategy<Value = (Vec<Vec<Written>>, Vec<(u8, u16)>)> {
    // Few entities and moments, so that ties, corrections and edges are common.
    let row = (0..4u8, 0..40u16, proptest::option::of(0..5u8));
    let row = row.prop_map(|(entity, event, value)| Written { entity, event, value });
    (vec(vec(row, 1..12), 1..6), vec((0..5u8, 0..80u16), 1..60))
}

#[tokio::test(flavor = "multi_thread")]
async fn training_sets_agree_with_the_rules() {
    let app = TestApp::start().await;
    let mut runner = TestRunner::new(Config::default());
    for case in 0..12 {
        let (commits, spine) = histories().new_tree(&mut runner).unwrap().current();
        let name = format!("f{case}");
        let feature =
            json!({"features": [{"name": name, "entity_type": "user", "dtype": "int64", "ttl": "20s"}]});
        app.rest().post("/api/v1/features/register", &feature).await.json(200);
        // Rows in the order they were learned, each with when.
        let mut learned: Vec<(Timestamp, Written)> = Vec::new();
        let mut moments = Vec::new();
        for commit in commits {
            let rows: Vec<Value> = commit
                .iter()
                .map(|row| json!({"entity_type": "user", "entity_id": row.entity.to_string(), "event_timestamp": at(row.event.into()), "values": {&name: row.value}}))
                .collect();
            app.rest().post("/api/v1/features/write", &json!({"rows": rows})).await.json(200);
            let request = json!({"features": [name], "details": true});
            let settled = ask(&app, app.key(), Way::Json, &request, &[]).await.unwrap().settled_at;
            let settled = Timestamp::parse(&settled, Round::Down).unwrap();
            learned.extend(commit.into_iter().map(|row| (settled, row)));
            moments.push(settled);
        }
        let asked: Vec<Value> = spine
            .iter()
            .map(|(entity, time)| json!({"entity_id": entity.to_string(), "timestamp": at(f64::from(*time))}))
            .collect();
        for (position, known) in moments.iter().map(Some).chain([None]).enumerate() {
            let expected: Vec<(Value, String)> =
                spine.iter().map(|(entity, time)| cell(&learned, known, *entity, *time)).collect();
            let mut request = json!({"features": [name], "details": true});
            if let Some(known) = known {
                request["known_at"] = known.to_string().into();
            }
            let ways =
                [Way::Json, Way::Lines, Way::Arrow, Way::GrpcRows, Way::GrpcArrow, Way::ArrowToParquet];
            let way = ways[(case + position) % ways.len()];
            let got = ask(&app, app.key(), way, &request, &asked).await.unwrap();
            let cells: Vec<(Value, String)> = got
                .rows
                .iter()
                .map(|row| (row[&name].clone(), row[&format!("{name}__status")].as_str().unwrap().to_owned()))
                .collect();
            assert_eq!(cells, expected, "{way:?} known at {known:?}: {learned:?} asked {spine:?}");
        }
    }
}

/// Rules 2 and 5, word for word.
fn cell(
    learned: &[(Timestamp, Written)],
    known: Option<&Timestamp>,
    entity: u8,
    time: u16,
) -> (Value, String) {
    let newest = learned
        .iter()
        .filter(|(created, row)| {
            known.is_none_or(|known| created <= known) && row.entity == entity && row.event <= time
        })
        // The last of those with the greatest event: learned later wins.
        .max_by_key(|(_, row)| row.event)
        .map(|(_, row)| row);
    match newest {
        None => (Value::Null, "NOT_FOUND".into()),
        Some(row) if row.event + 20 <= time => (Value::Null, "OUTSIDE_MAX_AGE".into()),
        Some(Written { value: None, .. }) => (Value::Null, "NULL_VALUE".into()),
        Some(Written { value: Some(value), .. }) => (json!(value), "PRESENT".into()),
    }
}
