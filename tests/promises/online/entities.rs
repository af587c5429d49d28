//! Whose features: ids, composite keys, several entity types in one question, tenants.

use super::{
    NOW,
    ask::{Ask, Ways, not_found, present},
    register, register_with, server, write, write_rows,
};
use crate::support::TestApp;
use larder::access::Scope;
use serde_json::json;

/// Users, merchants, and what is between them.
async fn market() -> TestApp {
    let app = server().await;
    let types = json!([{"name": "user_merchant", "keys": ["user", "merchant"]}]);
    let features = json!([
        {"name": "country", "entity_type": "user", "dtype": "string"},
        {"name": "sector", "entity_type": "merchant", "dtype": "string"},
        {"name": "visits", "entity_type": "user_merchant", "dtype": "int64", "group": "between"},
        {"name": "spent", "entity_type": "user_merchant", "dtype": "float64", "group": "between"},
    ]);
    register_with(&app, types, features).await;
    app
}

fn visit(user: &str, merchant: &str, visits: i64) -> serde_json::Value {
    json!({"entity_type": "user_merchant", "entities": {"user": user, "merchant": merchant},
        "event_timestamp": NOW, "values": {"visits": visits, "spent": 0.5}})
}

#[tokio::test]
async fn one_question_names_entities_of_several_types() {
    let app = market().await;
    let rows = json!([
        {"entity_type": "user", "entity_id": "u1", "event_timestamp": NOW, "values": {"country": "GB"}},
        {"entity_type": "merchant", "entity_id": "m7", "event_timestamp": NOW, "values": {"sector": "toys"}},
        visit("u1", "m7", 3),
        visit("m7", "u1", 4),
    ]);
    write_rows(&app, rows).await;
    let features = ["visits", "country", "spent", "sector"];
    let entities: [(&str, &[&str]); 2] = [("user", &["u1", "u1", "m7"]), ("merchant", &["m7", "m8", "u1"])];
    let cells = Ask::by_key(&features, &entities).cells(&app).await;
    assert_eq!(cells[0], [present(3, NOW), present("GB", NOW), present(0.5, NOW), present("toys", NOW)]);
    assert_eq!(cells[1], [not_found(), present("GB", NOW), not_found(), not_found()]);
    assert_eq!(cells[2], [present(4, NOW), not_found(), present(0.5, NOW), not_found()]);
    let past = Ask::by_key(&features, &entities).as_of("2024-01-15T14:25:29Z").cells(&app).await;
    assert_eq!(past, vec![vec![not_found(); 4]; 3]);
}

#[tokio::test]
async fn keys_are_exactly_those_that_the_features_need() {
    let app = market().await;
    for (features, entities, field) in [
        (&["visits"][..], &[("user", &["u"][..])][..], "entities.merchant"),
        (&["country"], &[("user", &["u"]), ("merchant", &["m"])], "entities.merchant"),
        (&["country"], &[("usr", &["u"])], "entities.usr"),
        (&["visits"], &[("user", &["u", "v"]), ("merchant", &["m"])], "entities.merchant"),
        (&["country"], &[("user", &[])], "entities"),
        (&["visits"], &[("user", &["u"]), ("merchant", &[""])], "entities.merchant[0]"),
    ] {
        let refused = Ask::by_key(features, entities).refused(&app).await;
        assert_eq!(
            (refused.status, refused.field.as_deref()),
            (400, Some(field)),
            "{features:?} {entities:?}"
        );
    }
    for features in [&["visits"][..], &["country", "sector"]] {
        let refused = Ask::new(features, &["u"]).refused(&app).await;
        assert_eq!((refused.status, refused.field.as_deref()), (400, Some("entity_ids")), "{features:?}");
    }
    let mut both = Ask::new(&["country"], &["u"]);
    both.entities = vec![("user".into(), vec!["u".into()])];
    assert_eq!(both.refused(&app).await.field.as_deref(), Some("entities"));
    assert_eq!(Ask::new(&["country"], &[]).refused(&app).await.field.as_deref(), Some("entity_ids"));
}

#[tokio::test]
async fn hostile_ids_are_ids_like_any_other() {
    let app = market().await;
    let ids = [
        "a:b",
        "a",
        "b",
        "%00",
        "{}",
        "*",
        "..",
        "a/b",
        "🦀",
        "é",
        "e\u{301}",
        " ",
        "2:u1,2:m7,",
        "'; --",
        "null",
        "0",
        "00",
        "-0",
    ];
    let mut rows: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            json!({"entity_type": "user", "entity_id": id, "event_timestamp": NOW,
                "values": {"country": n.to_string()}})
        })
        .collect();
    let longest = "x".repeat(256);
    rows.push(json!({"entity_type": "user", "entity_id": longest, "event_timestamp": NOW, "values": {"country": "L"}}));
    // Pairs that fall together when ids are joined without care.
    let pairs = [("a", "bc"), ("ab", "c"), ("a:", "b"), ("a", ":b"), ("1:a,", "b"), ("1", "a,1:b")];
    rows.extend(pairs.iter().enumerate().map(|(n, (user, merchant))| visit(user, merchant, n as i64)));
    write_rows(&app, rows.into()).await;

    let asked: Vec<&str> = ids.iter().copied().chain([longest.as_str()]).collect();
    let cells = Ask::new(&["country"], &asked).cells(&app).await;
    for (n, row) in cells.iter().take(ids.len()).enumerate() {
        assert_eq!(row[..], [present(n.to_string(), NOW)], "{:?}", ids[n]);
    }
    assert_eq!(cells[ids.len()], [present("L", NOW)]);
    let (users, merchants): (Vec<&str>, Vec<&str>) = pairs.into_iter().unzip();
    let cells = Ask::by_key(&["visits"], &[("user", &users), ("merchant", &merchants)]).cells(&app).await;
    for (n, row) in cells.iter().enumerate() {
        assert_eq!(row[..], [present(n as i64, NOW)], "{:?}", pairs[n]);
    }
}

#[tokio::test]
async fn what_is_no_id_is_refused_by_its_place() {
    let app = market().await;
    for id in ["", "a\u{0}", "a\n", "\u{7f}", "\u{85}", &"x".repeat(257), &"é".repeat(129)] {
        let mut ways = Ways::to(&app).await;
        // NUL cannot stand in a JSON text at all: there the reader refuses it earlier.
        if id.contains('\0') {
            let message = Ask::new(&["country"], &["u", id]).message();
            assert!(ways.grpc.get_online_features(message).await.is_err());
            continue;
        }
        let refused = ways.ask(&Ask::new(&["country"], &["u", id])).await.unwrap_err();
        assert_eq!((refused.status, refused.field.as_deref()), (400, Some("entity_ids[1]")), "{id:?}");
    }
}

#[tokio::test]
async fn an_integer_is_an_id_by_its_digits() {
    let app = market().await;
    write(&app, "42", NOW, json!({"country": "GB"})).await;
    let body = json!({"features": ["country"], "entity_ids": [42, "42", 43]});
    let answer = app.rest().post("/api/v1/features/online", &body).await.json(200);
    let values: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|row| &row["values"]["country"]).collect();
    assert_eq!(values, [&json!("GB"), &json!("GB"), &json!(null)]);
    assert_eq!(answer["results"][0]["entity_id"], "42");
    let body = json!({"features": ["country"], "entity_ids": [1.5]});
    let answer = app.rest().post("/api/v1/features/online", &body).await;
    assert_eq!(answer.problem(400).0.as_deref(), Some("entity_ids[0]"));
}

#[tokio::test]
async fn an_entity_asked_twice_is_answered_twice() {
    let app = market().await;
    write(&app, "u", NOW, json!({"country": "GB"})).await;
    let cells = Ask::new(&["country"], &["u", "v", "u"]).cells(&app).await;
    assert_eq!(cells, [[present("GB", NOW)], [not_found()], [present("GB", NOW)]]);
    let past = Ask::new(&["country"], &["u", "v", "u"]).as_of("2024-01-15T14:25:29Z").cells(&app).await;
    assert_eq!(past, vec![[not_found()]; 3]);
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let app = market().await;
    write(&app, "u", NOW, json!({"country": "GB"})).await;
    let key = app.key_of("other", &Scope::ALL).await;
    let mut other = Ways { rest: app.rest_with(Some(&key)), grpc: app.grpc_with(Some(&key)).await };
    let ask = Ask::new(&["country"], &["u"]);
    let refused = other.ask(&ask).await.unwrap_err();
    assert_eq!((refused.status, refused.field.as_deref()), (404, Some("features[0]")));

    let features = json!([{"name": "country", "entity_type": "user", "dtype": "string"}]);
    other.rest.post("/api/v1/features/register", &json!({"features": features})).await.json(200);
    assert_eq!(other.ask(&ask).await.unwrap(), [[not_found()]]);
    let past = ask.clone().as_of("2024-01-15T14:25:30Z");
    assert_eq!(other.ask(&past).await.unwrap(), [[not_found()]]);
    assert_eq!(ask.cells(&app).await, [[present("GB", NOW)]]);
}

#[tokio::test]
async fn a_key_without_the_scope_reads_nothing() {
    let app = server().await;
    register(&app, json!([{"name": "country", "entity_type": "user", "dtype": "string"}])).await;
    let key = app.key_of("default", &[Scope::Write]).await;
    let mut ways = Ways { rest: app.rest_with(Some(&key)), grpc: app.grpc_with(Some(&key)).await };
    assert_eq!(ways.ask(&Ask::new(&["country"], &["u"])).await.unwrap_err().status, 403);
}
