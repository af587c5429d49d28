//! Looking into values and streams.

use super::Terminal;
use serde_json::{Value as Json, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_explained_as_in_rest() {
    let terminal = Terminal::with_shop().await;
    let args = ["explain", "ann", "basket_value", "--as-of", "2025-11-28T15:00:00Z"];
    let said = terminal.run(&args).await.ok();
    for part in ["basket.basket_value@1", "PRESENT", "129.0", "12m", "ttl", "it is served."] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    let said = terminal.run(&[&args[..], &["--json"]].concat()).await.json();
    let question = json!({"entity_id": "ann", "feature": "basket_value", "as_of": "2025-11-28T15:00:00Z"});
    let answer = terminal.app.rest().post("/api/v1/features/explain", &question).await.json(200);
    assert_eq!(said, answer);
    let by_key = terminal.run(&["explain", "--entity", "user=ann", "--", "basket_value"]).await.ok();
    assert!(by_key.contains("basket.basket_value@1"), "{by_key}");
    let absent = terminal.run(&["explain", "nobody", "country"]).await.ok();
    assert!(absent.contains("NOT_FOUND") && absent.contains("no row of this entity"), "{absent}");
    let whose = terminal.run(&["explain", "country"]).await.complaint();
    assert!(whose.contains("larder explain ENTITY country"), "{whose}");
    let both = terminal.run(&["explain", "ann", "country", "--entity", "user=ann"]).await.complaint();
    assert!(both.contains("exclude each other"), "{both}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_those_of_rest() {
    let terminal = Terminal::with_shop().await;
    let (from, to) = ("2025-11-28T00:00:00Z", "2025-11-29T00:00:00Z");
    let args = ["feature", "basket_value", "--statistics", "--since", from, "--until", to];
    let table = terminal.run(&args).await.ok();
    for part in ["hour", "entities", "mean", "2025-11-28T00:00:00Z – 2025-11-29T00:00:00Z"] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
    let said = terminal.run(&[&args[..], &["--json"]].concat()).await.json();
    let path = format!("/api/v1/features/basket_value/statistics?from={from}&to={to}");
    assert_eq!(said, terminal.app.rest().get(&path).await.json(200));
    assert!(said["total"]["rows"].as_u64() > Some(0), "{said}");
    let alone = terminal.run(&["feature", "basket_value", "--since", "7d"]).await.complaint();
    assert!(alone.contains("--statistics"), "{alone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_what_was_not_counted() {
    let terminal = Terminal::new().await;
    let streams = terminal.run(&["streams"]).await.ok();
    for part in ["partition", "lag", "durable to", "up to date"] {
        assert!(streams.contains(part), "{part} is missing in\n{streams}");
    }
    let rest = terminal.app.rest();
    let window = json!({"event_type": "buy", "function": "sum", "size": "5m", "slide": "1m"});
    let feature = json!({"name": "spent", "entity_type": "user", "dtype": "float64", "window": window});
    rest.post("/api/v1/features/register", &json!({"features": [feature]})).await.json(200);
    let event = |time: &str| json!({"entity_id": "ann", "event_type": "buy", "value": 2, "timestamp": time});
    for time in ["2025-11-28T15:00:00Z", "2025-11-28T14:00:00Z"] {
        rest.post("/api/v1/events", &event(time)).await.json(200);
    }
    // The late table is committed with everything else, a little later than events are judged.
    let started = std::time::Instant::now();
    let late = loop {
        let late = terminal.run(&["late", "--entity-id", "ann", "--json"]).await.json();
        if late != json!([]) {
            break late;
        }
        assert!(started.elapsed().as_secs() < 20, "no late event");
    };
    let listed = rest.get("/api/v1/admin/late-events").await.json(200);
    assert_eq!(late, listed["late_events"]);
    let table = terminal.run(&["late"]).await.ok();
    for part in ["ann", "buy", "2025-11-28T14:00:00Z", "5 of spent"] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
    for (args, path, list) in [
        (&["streams", "--json"][..], "streams", "streams"),
        (&["streams", "--backfills", "--json"], "backfills", "backfills"),
        (&["dead", "--json"], "dead-letters", "dead_letters"),
    ] {
        let listed = rest.get(&format!("/api/v1/admin/{path}")).await.json(200);
        let said: Json = terminal.run(args).await.json();
        let shape = |list: &Json| list.as_array().map(Vec::len);
        assert_eq!(shape(&said), shape(&listed[list]), "{said}");
        let members = |list: &Json| Some(list.get(0)?.as_object()?.keys().cloned().collect::<Vec<_>>());
        assert_eq!(members(&said), members(&listed[list]));
    }
    terminal.run(&["dead"]).await.ok();
    assert!(terminal.run(&["late", "--limit", "0"]).await.complaint().contains("--limit"));
}
