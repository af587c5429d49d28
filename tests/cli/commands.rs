//! Registering, asking, looking around.

use super::{Terminal, shop};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing_and_applying_twice_changes_nothing_more() {
    let terminal = Terminal::new().await;
    let file = shop("features.yaml").to_string_lossy().into_owned();
    let plan = terminal.run(&["apply", &file, "--plan"]).await.ok();
    assert!(
        plan.contains("created") && plan.contains("profile.country@1") && plan.contains("checkout@1"),
        "{plan}"
    );
    assert_eq!(terminal.run(&["features", "--json"]).await.json(), json!([]));
    let applied = terminal.run(&["apply", &file, "--json"]).await.json();
    assert_eq!(applied["features"].as_array().unwrap().len(), 10);
    assert_eq!(applied["feature_sets"], json!([{"ref": "checkout@1", "outcome": "created"}]));
    let again = terminal.run(&["apply", &file]).await.ok();
    assert!(again.contains("Nothing to change"), "{again}");
    assert_eq!(terminal.run(&["features", "--json"]).await.json().as_array().unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_what_changes_and_which_sets_it_touches() {
    let terminal = Terminal::with_shop().await;
    terminal.run(&["sets", "put", "baskets", "-f", "basket_value", "basket_items"]).await.ok();
    let file = terminal.file(
        "change.yaml",
        "features: [{name: basket_value, entity_type: user, group: basket, dtype: float64, ttl: 2h}]\n\
         feature_sets: [{name: checkout, features: [country]}]\n",
    );
    let plan = terminal.run(&["apply", &file, "--plan"]).await.ok();
    for part in
        ["changed", "ttl: 30m → 2h", "checkout@2", "touched", "baskets@1", "holds basket.basket_value@1"]
    {
        assert!(plan.contains(part), "{part} is missing in\n{plan}");
    }
    terminal.run(&["apply", &file]).await.ok();
    let feature = terminal.run(&["feature", "basket_value", "--json"]).await.json();
    assert_eq!((&feature["ttl"], &feature["ref"]), (&json!("2h"), &json!("basket.basket_value@1")));
    for args in [["sets", "list", "--json"], ["sets", "--json", "list"]] {
        let sets = terminal.run(&args).await.json();
        assert_eq!(sets.as_array().unwrap().len(), 2);
    }
    let set = terminal.run(&["sets", "get", "checkout", "--json"]).await.json();
    assert_eq!((&set["version"], &set["features"]), (&json!(2), &json!(["profile.country@1"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_online_answer_is_that_of_rest() {
    let terminal = Terminal::with_shop().await;
    let as_of = "2025-11-28T15:00:00Z";
    let features = ["country", "newsletter", "basket_value"];
    let args =
        ["get", "ann", "ben", "cleo", "dan", "-f", "country,newsletter,basket_value", "--as-of", as_of];
    let table = terminal.run(&args).await.ok();
    for part in ["PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND", "129.0", "12m", "20d 19h"] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
    let mut said = terminal.run(&[&args[..], &["--json"]].concat()).await.json();
    let question = json!({"entity_ids": ["ann", "ben", "cleo", "dan"], "features": features, "as_of": as_of});
    let answer = terminal.app.rest().post("/api/v1/features/online", &question).await;
    let mut answer: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    said["request_id"] = json!("");
    answer["request_id"] = json!("");
    assert_eq!(said, answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_entities_stand_in_one_row() {
    let terminal = Terminal::with_shop().await;
    let said = terminal.run(&[
        "get",
        "--entity",
        "user=ann",
        "--entity",
        "product=lamp",
        "--set",
        "checkout",
        "--as-of",
        "2025-11-28T15:00:00Z",
        "--use-defaults",
        "--json",
    ]);
    let said = said.await.json();
    let row = &said["results"][0];
    assert_eq!(row["entities"], json!({"user": "ann", "product": "lamp"}));
    assert_eq!((&row["values"]["price"], &row["values"]["views"]), (&json!(48.99), &json!(3)));
    let uneven = terminal.run(&[
        "get",
        "--entity",
        "user=ann",
        "--entity",
        "user=ben",
        "--entity",
        "product=lamp",
        "--set",
        "checkout",
    ]);
    assert!(uneven.await.complaint().contains("same number of ids"));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_shows_both_times() {
    let terminal = Terminal::with_shop().await;
    let history = terminal.run(&["history", "ann", "-f", "tier", "--json"]).await.json();
    let values: Vec<_> = history["values"].as_array().unwrap().iter().map(|value| &value["value"]).collect();
    assert_eq!(values, [&json!("bronze"), &json!("gold")]);
    assert!(history["values"][0]["created_timestamp"].as_str().unwrap() > "2025-11-28");
    let one = terminal.run(&["history", "ann", "-f", "tier", "--limit", "1", "--json"]).await.json();
    assert_eq!((one["values"].as_array().unwrap().len(), &one["more"]), (1, &json!(true)));
    let from = terminal.run(&["history", "ann", "-f", "tier", "--since", "2025-11-28T00:00:00Z"]).await.ok();
    assert!(from.contains("gold") && !from.contains("bronze"), "{from}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_caches() {
    let terminal = Terminal::with_shop().await;
    let file = terminal
        .file("v2.yaml", "features: [{name: price, entity_type: product, dtype: float32, version: 2}]");
    terminal.run(&["apply", &file]).await.ok();
    let draft = terminal.run(&["feature", "price@2", "--json"]).await.json();
    assert_eq!((&draft["status"], &draft["dtype"]), (&json!("draft"), &json!("float32")));
    terminal.run(&["feature", "price@2", "--status", "active"]).await.ok();
    assert_eq!(terminal.run(&["feature", "price", "--json"]).await.json()["version"], json!(2));
    let dropped = terminal.run(&["invalidate", "ann", "--entity-type", "user", "--json"]).await.json();
    assert_eq!(dropped, json!({"invalidated": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn complaints_say_what_to_do() {
    let terminal = Terminal::with_shop().await;
    let unknown = terminal.run(&["get", "ann", "-f", "countri"]).await.complaint();
    assert!(unknown.contains("features[0]") && unknown.contains("countri"), "{unknown}");
    let file = terminal.file("bad.yaml", "features:\n- {name: x, entity_type: user, dtype: int32}\n");
    let dtype = terminal.run(&["apply", &file]).await.complaint();
    assert!(dtype.contains("int32") && dtype.contains("int64"), "{dtype}");
    let missing = terminal.run(&["apply", "none.yaml"]).await.complaint();
    assert!(missing.contains("none.yaml"), "{missing}");
    let json = terminal.run(&["feature", "countri", "--json"]).await.complaint();
    assert!(
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["error"]
            .as_str()
            .unwrap()
            .contains("countri")
    );
    let gone = terminal.run(&["features", "--url", "http://127.0.0.1:1"]).await.complaint();
    assert!(gone.contains("larder serve"), "{gone}");
    let key = terminal.run(&["features", "--key", "lrd_no"]).await.complaint();
    assert!(key.contains("key"), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_found_where_the_server_left_it() {
    let terminal = Terminal::with_shop().await;
    terminal.file("admin.key", &format!("{}\n", terminal.app.key()));
    let mut command = terminal.command(env!("CARGO_BIN_EXE_larder"));
    command.env_remove("LARDER_KEY").args(["features", "--data-dir", "."]);
    assert!(super::said(command).await.ok().contains("profile.country@1"));
    let mut command = terminal.command(env!("CARGO_BIN_EXE_larder"));
    command.env_remove("LARDER_KEY").args(["features", "--data-dir", "elsewhere"]);
    assert!(super::said(command).await.complaint().contains("LARDER_KEY"));
}
