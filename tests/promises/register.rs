//! Registering features: outcomes, versions, contradictions, windows.

use super::{
    records::{Row, string},
    via::{each, expect, with_key},
};
use larder::access::Scope;
use serde_json::{Value as Json, json};

/// One feature with more members.
fn feature(name: &str, more: Json) -> Json {
    let mut feature = json!({"name": name, "entity_type": "user", "dtype": "string"});
    feature.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    feature
}

fn one(name: &str, more: Json) -> Json {
    json!({"features": [feature(name, more)]})
}

fn outcomes(answer: &Json) -> Vec<&str> {
    answer["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| feature["outcome"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_example_is_stored_as_it_reads() {
    each(async |_, via| {
        let request = json!({
            "entity_types": [{"name": "user_merchant", "keys": ["user", "merchant"]}],
            "features": [
                {"name": "country", "entity_type": "user", "dtype": "string", "group": "profile", "ttl": "30d",
                 "cache_ttl": "1h", "description": "ISO country of the account", "owner": "growth",
                 "tags": {"pii": "no"}, "default": "unknown"},
                {"name": "purchase_sum_5m", "entity_type": "user", "dtype": "float64", "ttl": "1h",
                 "window": {"event_type": "purchase", "function": "sum", "size": "5m", "slide": "1m"}}]});
        let answer = via.register(request.clone()).await.unwrap();
        assert_eq!(outcomes(&answer), ["created", "created"]);
        assert_eq!(answer["entity_types_created"], json!(["user_merchant", "user"]));
        let country = &answer["features"][0];
        for (member, value) in request["features"][0].as_object().unwrap() {
            assert_eq!(&country[member], value, "{member}");
        }
        assert_eq!(country["ref"], "profile.country@1");
        assert_eq!(country["status"], "active");
        assert_eq!(country["version"], 1);
        assert_eq!(country["revision"], answer["revision"]);
        assert_eq!(country["last_written_at"], Json::Null);
        let window = json!({"event_type": "purchase", "function": "sum", "field": "value", "size": "5m",
                            "slide": "1m", "start": "earliest"});
        assert_eq!(answer["features"][1]["window"], window);
        assert_eq!(answer["features"][1]["group"], "purchase_sum_5m");

        let again = via.register(request).await.unwrap();
        assert_eq!(outcomes(&again), ["unchanged", "unchanged"]);
        assert_eq!(again["entity_types_created"], json!([]));
        assert_eq!(again["revision"], answer["revision"]);
        assert_eq!(again["features"][0]["id"], country["id"]);
        via.write(&[Row::new("u", 1.0, &[("country", string("GB"))])]).await.unwrap();
        assert_ne!(via.feature("country").await.unwrap()["last_written_at"], Json::Null);
    })
    .await;
}

#[tokio::test]
async fn what_describes_a_feature_changes_in_place() {
    each(async |_, via| {
        let created = via.register(one("country", json!({"ttl": "1d"}))).await.unwrap();
        let changes = [
            json!({"ttl": "2d"}),
            json!({"cache_ttl": "5m"}),
            json!({"description": "where"}),
            json!({"owner": "growth"}),
            json!({"tags": {"pii": "no"}}),
            json!({"default": "unknown"}),
            json!({}),
        ];
        let mut revision = created["revision"].as_u64().unwrap();
        for change in changes {
            let changed = via.register(one("country", change.clone())).await.unwrap();
            assert_eq!(outcomes(&changed), ["changed"], "{change}");
            assert_eq!(changed["features"][0]["id"], created["features"][0]["id"]);
            assert!(changed["features"][0]["revision"].as_u64().unwrap() > revision);
            revision = changed["features"][0]["revision"].as_u64().unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn contradictions_name_what_differs() {
    each(async |_, via| {
        let window = |size: &str| json!({"event_type": "e", "function": "count", "size": size});
        let first = json!({
            "entity_types": [{"name": "pair", "keys": ["user", "merchant"]}],
            "features": [
                feature("country", json!({"group": "profile"})), feature("alone", json!({})),
                {"name": "sums", "entity_type": "user", "dtype": "int64", "window": window("5m")}]});
        via.register(first).await.unwrap();
        let refused = [
            (one("country", json!({"group": "profile", "dtype": "int64"})), "features[0].dtype"),
            (one("country", json!({"group": "profile", "entity_type": "shop"})), "features[0].entity_type"),
            (one("country", json!({"group": "profile", "allow_non_finite": true})), "features[0].allow_non_finite"),
            // A bare name belongs to the first feature registered with it.
            (one("country", json!({})), "features[0].name"),
            (one("country", json!({"group": "country"})), "features[0].name"),
            // A name is a group of one entity type.
            (one("city", json!({"group": "profile", "entity_type": "shop"})), "features[0].entity_type"),
            (one("profile", json!({})), "features[0].name"),
            (json!({"features": [{"name": "sums", "entity_type": "user", "dtype": "int64", "window": window("10m")}]}),
             "features[0].window"),
            (json!({"features": [{"name": "sums", "entity_type": "user", "dtype": "int64"}]}), "features[0].window"),
            // A windowed group is closed.
            (one("more", json!({"group": "sums"})), "features[0].group"),
            (json!({"entity_types": [{"name": "pair", "keys": ["merchant", "user"]}]}), "entity_types[0].keys"),
        ];
        let before = via.features(&[]).await.unwrap();
        for (request, field) in refused {
            expect(via.register(request).await, "already-exists", field);
        }
        // All or nothing: a good definition beside a bad one is not kept.
        let mixed = json!({"features": [feature("good", json!({})), feature("alone", json!({"dtype": "bool"}))]});
        expect(via.register(mixed).await, "already-exists", "features[1].dtype");
        assert_eq!(via.features(&[]).await.unwrap(), before);
    })
    .await;
}

#[tokio::test]
async fn bad_definitions_name_their_field() {
    each(async |_, via| {
        let refused = [
            (json!({"features": []}), "features"),
            (one("Country", json!({})), "features[0].name"),
            (one(&"a".repeat(65), json!({})), "features[0].name"),
            (one("label", json!({})), "features[0].name"),
            (one("x__status", json!({})), "features[0].name"),
            (one("x", json!({"group": "no way"})), "features[0].group"),
            (one("x", json!({"entity_type": ""})), "features[0].entity_type"),
            (one("x", json!({"description": "d".repeat(4_097)})), "features[0].description"),
            (one("x", json!({"tags": {"a=b": "c"}})), "features[0].tags"),
            (json!({"features": [feature("x", json!({})), feature("x", json!({}))]}), "features[1].name"),
            (
                json!({"entity_types": [{"name": "pair", "keys": ["user", "user"]}]}),
                "entity_types[0].keys[1]",
            ),
            (json!({"entity_types": [{"name": "pair", "keys": ["label"]}]}), "entity_types[0].keys[0]"),
        ];
        for (request, field) in refused {
            expect(via.register(request).await, "invalid-argument", field);
        }
        assert!(via.register(one(&"a".repeat(64), json!({}))).await.is_ok());
        assert_eq!(via.features(&[]).await.unwrap().0.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn windows_are_checked_and_filled_in() {
    each(async |_, via| {
        let windowed = |name: &str, dtype: &str, window: Json| {
            json!({"features": [{"name": name, "entity_type": "user", "dtype": dtype, "window": window}]})
        };
        let size = |size: &str, slide: &str| json!({"event_type": "e", "function": "sum", "size": size, "slide": slide});
        let refused = [
            (windowed("x", "float64", size("5m", "2m")), "size"),
            (windowed("x", "float64", size("361s", "1s")), "slide"),
            (windowed("x", "float64", size("5s", "999ms")), "slide"),
            (windowed("x", "string", size("5m", "1m")), "function"),
            (windowed("x", "float64", json!({"event_type": "e", "function": "median", "size": "5m"})), "function"),
            (windowed("x", "float64", json!({"event_type": "e", "function": "percentile", "size": "5m"})), "quantile"),
            (windowed("x", "float64", json!({"event_type": "e", "function": "percentile", "size": "5m", "quantile": 1.5})),
             "quantile"),
            (windowed("x", "list<string>", json!({"event_type": "e", "function": "topk", "size": "5m"})), "k"),
            (windowed("x", "list<string>", json!({"event_type": "e", "function": "topk", "size": "5m", "k": 0})), "k"),
            (windowed("x", "list<string>", json!({"event_type": "e", "function": "topk", "size": "5m", "k": 101})), "k"),
            (windowed("x", "float64", json!({"event_type": "e", "function": "sum", "size": "5m", "k": 10})), "k"),
            (windowed("x", "float64", json!({"event_type": "e", "function": "sum", "size": "5m", "counts": false})), "counts"),
            (windowed("x", "list<string>", json!({"event_type": "e", "function": "topk", "size": "5m", "k": 1, "quantile": 0.5})),
             "quantile"),
            (windowed("x", "list<float64>", json!({"event_type": "e", "function": "topk", "size": "5m", "k": 1})), "function"),
            (windowed("x", "json", json!({"event_type": "e", "function": "topk", "size": "5m", "k": 1})), "function"),
            (windowed("x", "list<string>", json!({"event_type": "e", "function": "topk", "size": "5m", "k": 1, "counts": true})),
             "function"),
            (windowed("x", "float64", json!({"event_type": "", "function": "sum", "size": "5m"})), "event_type"),
            (windowed("x", "float64", json!({"event_type": "e", "function": "sum"})), "size"),
            (windowed("x", "float64", json!({"event_type": "e", "function": "sum", "size": "5m", "field": "x"})), "field"),
            (windowed("x", "float64", json!({"event_type": "e", "function": "sum", "size": "5m", "start": "x"})), "start"),
        ];
        for (request, part) in refused {
            expect(via.register(request).await, "invalid-argument", &format!("features[0].window.{part}"));
        }
        assert!(via.register(windowed("edge", "float64", size("360s", "1s"))).await.is_ok());
        let percentile = json!({"event_type": "e", "function": "percentile", "size": "1h", "quantile": 0.95,
                                "field": "metadata.price", "start": "now"});
        let answer = via.register(windowed("p95", "float64", percentile)).await.unwrap();
        let window = &answer["features"][0]["window"];
        assert_eq!((&window["slide"], &window["quantile"]), (&json!("5m"), &json!(0.95)));
        let topk = json!({"event_type": "e", "function": "topk", "size": "1h", "k": 100, "counts": true});
        let answer = via.register(windowed("top", "json", topk.clone())).await.unwrap();
        let window = &answer["features"][0]["window"];
        assert_eq!((&window["k"], &window["counts"], &window["field"]), (&json!(100), &json!(true), &json!("value")));
        let fewer = json!({"event_type": "e", "function": "topk", "size": "1h", "k": 99, "counts": true});
        expect(via.register(windowed("top", "json", fewer)).await, "already-exists", "features[0].window");
        assert_eq!(outcomes(&via.register(windowed("top", "json", topk)).await.unwrap()), ["unchanged"]);
        let row = Row::new("u", 1.0, &[("p95", Some(larder::feature::Value::Float64(1.0)))]);
        expect(via.write(&[row]).await, "invalid-argument", "rows[0].values.p95");

        // One call, one source, one window: one closed group. Later ones form their own.
        let window = json!({"event_type": "buy", "function": "count", "size": "5m"});
        let member = |name: &str| json!({"name": name, "entity_type": "user", "dtype": "int64", "window": window});
        let both = via.register(json!({"features": [member("a"), member("b")]})).await.unwrap();
        assert_eq!(both["features"][1]["ref"], "a.b@1");
        let later = via.register(json!({"features": [member("a"), member("b"), member("c")]})).await.unwrap();
        assert_eq!(outcomes(&later), ["unchanged", "unchanged", "created"]);
        assert_eq!(later["features"][2]["ref"], "c@1");
    })
    .await;
}

#[tokio::test]
async fn versions_live_from_draft_to_deprecated() {
    each(async |_, via| {
        via.register(one("country", json!({"group": "profile"}))).await.unwrap();
        let version = |version: u32, dtype: &str| {
            one("country", json!({"group": "profile", "version": version, "dtype": dtype}))
        };
        expect(via.register(version(3, "int64")).await, "failed-precondition", "features[0].version");
        let second = via.register(version(2, "int64")).await.unwrap();
        assert_eq!(second["features"][0]["status"], "draft");
        assert_eq!(outcomes(&via.register(version(2, "int64")).await.unwrap()), ["unchanged"]);
        assert_eq!(outcomes(&via.register(version(1, "string")).await.unwrap()), ["unchanged"]);
        // A draft is reached by its version only.
        assert_eq!(via.feature("country").await.unwrap()["version"], 1);
        assert_eq!(via.feature("profile.country@2").await.unwrap()["version"], 2);
        assert_eq!(via.set_status("country@2", "active").await.unwrap()["status"], "active");
        assert_eq!(via.feature("country").await.unwrap()["version"], 2);
        // Left out, the version is now the second.
        let unversioned = one("country", json!({"group": "profile", "dtype": "int64"}));
        assert_eq!(outcomes(&via.register(unversioned).await.unwrap()), ["unchanged"]);
        via.set_status("country@2", "deprecated").await.unwrap();
        assert_eq!(via.feature("country").await.unwrap()["version"], 1);
        via.set_status("country@1", "deprecated").await.unwrap();
        let refused = via.feature("country").await.unwrap_err();
        assert_eq!(refused.kind, "not-found");
        assert!(refused.message.contains("profile.country@2"), "{}", refused.message);
        expect(via.set_status("country", "active").await, "invalid-argument", "feature");
        expect(via.set_status("country@1", "draft").await, "invalid-argument", "status");
        expect(via.set_status("country@9", "active").await, "not-found", "feature");
        expect(via.feature("city").await, "not-found", "feature");
    })
    .await;
}

#[tokio::test]
async fn one_name_in_two_groups() {
    each(async |_, via| {
        via.register(one("country", json!({"group": "profile"}))).await.unwrap();
        via.register(one("country", json!({"group": "billing", "dtype": "int64"}))).await.unwrap();
        assert_eq!(via.feature("country").await.unwrap()["ref"], "profile.country@1");
        assert_eq!(via.feature("billing.country").await.unwrap()["dtype"], "int64");
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    each(async |_, via| {
        let mut request = one("country", json!({}));
        request["dry_run"] = true.into();
        assert_eq!(outcomes(&via.register(request).await.unwrap()), ["created"]);
        expect(via.feature("country").await, "not-found", "feature");
    })
    .await;
}

#[tokio::test]
async fn lists_are_filtered_ordered_and_paged() {
    each(async |_, via| {
        let features: Vec<Json> = (0..7)
            .map(|i| {
                let group = if i % 2 == 0 { "even" } else { "odd" };
                let more = json!({"group": format!("{group}_group"), "tags": {"parity": group}});
                feature(&format!("f{i}"), more)
            })
            .chain([feature("shop_name", json!({"entity_type": "shop"}))])
            .collect();
        via.register(json!({"features": features})).await.unwrap();
        let all = via.features(&[]).await.unwrap().0;
        assert_eq!(all[0], "even_group.f0@1");
        assert_eq!(all.len(), 8);
        assert_eq!(via.features(&[("entity_type", "shop")]).await.unwrap().0, ["shop_name@1"]);
        assert_eq!(via.features(&[("group", "odd_group")]).await.unwrap().0.len(), 3);
        assert_eq!(via.features(&[("tag", "parity=even")]).await.unwrap().0.len(), 4);
        assert_eq!(via.features(&[("tag", "parity")]).await.unwrap().0.len(), 7);
        assert_eq!(via.features(&[("name_prefix", "shop")]).await.unwrap().0.len(), 1);
        let (mut paged, mut token) = (Vec::new(), String::new());
        loop {
            let (page, next) = via.features(&[("page_size", "3"), ("page_token", &token)]).await.unwrap();
            assert!(page.len() <= 3);
            paged.extend(page);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(paged, all);
        let (_, token) = via.features(&[("page_size", "3")]).await.unwrap();
        let other_question = [("page_token", token.as_str()), ("group", "odd_group")];
        expect(via.features(&other_question).await, "invalid-argument", "page_token");
        expect(via.features(&[("page_token", "forged")]).await, "invalid-argument", "page_token");
        for size in ["-1", "1001"] {
            expect(via.features(&[("page_size", size)]).await, "invalid-argument", "page_size");
        }
        assert!(via.features(&[("page_size", "1000")]).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn sets_pin_versions() {
    each(async |_, via| {
        via.register(json!({"features": [feature("a", json!({})), feature("b", json!({"group": "g"}))]}))
            .await
            .unwrap();
        let first = ("fraud@1".to_owned(), vec!["a@1".to_owned(), "g.b@1".to_owned()]);
        assert_eq!(via.put_set("fraud", &["a", "b"]).await.unwrap(), first);
        assert_eq!(via.put_set("fraud", &["a", "b"]).await.unwrap(), first);
        via.register(one("a", json!({"version": 2}))).await.unwrap();
        via.set_status("a@2", "active").await.unwrap();
        // What was put does not move; put again, the same words mean another content.
        assert_eq!(via.set("fraud").await.unwrap(), first);
        let second = ("fraud@2".to_owned(), vec!["a@2".to_owned(), "g.b@1".to_owned()]);
        assert_eq!(via.put_set("fraud", &["a", "b"]).await.unwrap(), second);
        assert_eq!(via.set("fraud").await.unwrap(), second);
        assert_eq!(via.set("fraud@1").await.unwrap(), first);
        assert_eq!(via.put_set("fraud", &["b", "a"]).await.unwrap().0, "fraud@3");
        expect(via.put_set("fraud", &["a", "a@2"]).await, "invalid-argument", "features[1]");
        expect(via.put_set("fraud", &["a", "nope"]).await, "not-found", "features[1]");
        expect(via.put_set("fraud", &[]).await, "invalid-argument", "features");
        expect(via.put_set("Fraud", &["a"]).await, "invalid-argument", "name");
        expect(via.set("nope").await, "not-found", "name");
        expect(via.set("fraud@9").await, "not-found", "name");
        via.put_set("churn", &["a"]).await.unwrap();
        let (page, token) = via.sets(1, "").await.unwrap();
        assert_eq!(page, ["churn@1"]);
        assert_eq!(via.sets(1, &token).await.unwrap(), (vec!["fraud@3".to_owned()], String::new()));
        expect(via.sets(-1, "").await, "invalid-argument", "page_size");
        expect(via.sets(1, "forged").await, "invalid-argument", "page_token");
    })
    .await;
}

#[tokio::test]
async fn tenants_do_not_meet() {
    each(async |app, via| {
        let other = app.key_of("other", &Scope::ALL).await;
        let mut other = with_key(via, app, &other).await;
        via.register(one("country", json!({}))).await.unwrap();
        via.put_set("fraud", &["country"]).await.unwrap();
        via.write(&[Row::new("u", 1.0, &[("country", string("GB"))])]).await.unwrap();
        expect(other.feature("country").await, "not-found", "feature");
        expect(other.set("fraud").await, "not-found", "name");
        assert_eq!(other.features(&[]).await.unwrap().0.len(), 0);
        expect(other.history("country", &[("entity_id", "u")]).await, "not-found", "feature");
        // The same names and ids, with a type of its own.
        other.register(one("country", json!({"dtype": "int64"}))).await.unwrap();
        assert!(other.history("country", &[("entity_id", "u")]).await.unwrap().0.is_empty());
        let token = {
            via.register(one("city", json!({}))).await.unwrap();
            via.features(&[("page_size", "1")]).await.unwrap().1
        };
        expect(other.features(&[("page_token", &token)]).await, "invalid-argument", "page_token");
        assert_eq!(via.feature("country").await.unwrap()["dtype"], "string");
    })
    .await;
}

#[tokio::test]
async fn scopes_are_kept() {
    each(async |app, via| {
        via.register(one("country", json!({}))).await.unwrap();
        let reader = app.key_of("default", &[Scope::Read]).await;
        let mut reader = with_key(via, app, &reader).await;
        let writer = app.key_of("default", &[Scope::Write]).await;
        let mut writer = with_key(via, app, &writer).await;
        let row = Row::new("u", 1.0, &[("country", string("GB"))]);
        expect(reader.register(one("x", json!({}))).await, "permission-denied", "");
        expect(reader.put_set("x", &["country"]).await, "permission-denied", "");
        expect(reader.set_status("country@1", "active").await, "permission-denied", "");
        expect(reader.write(std::slice::from_ref(&row)).await, "permission-denied", "");
        expect(reader.invalidate("u", &[], "", &[]).await, "permission-denied", "");
        expect(writer.feature("country").await, "permission-denied", "");
        expect(writer.features(&[]).await, "permission-denied", "");
        expect(writer.history("country", &[("entity_id", "u")]).await, "permission-denied", "");
        assert!(writer.write(&[row]).await.is_ok());
        assert!(reader.feature("country").await.is_ok());
    })
    .await;
}
