//! What administrators look at, and who may.

use super::{
    looks::admin_list,
    via::{Via, each, expect, with_key},
};
use crate::support::TestApp;
use larder::{
    access::Scope,
    feature::{Duration, RowId, TenantId, Timestamp},
    store::{
        log::RecordId,
        readers::{
            Created, DeadLetter, LateEvent, Purpose, ReaderId, ReaderState, ReaderSummary, StateSize,
            StreamCommit,
        },
    },
    window::{Ledger, MissedWindows},
};
use serde_json::{Value as Json, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_stored(second * 1_000_000)
}

#[tokio::test]
async fn scopes_keep_each_list() {
    each(async |app, via| {
        for (list, scope) in [
            ("streams", Scope::Operator),
            ("backfills", Scope::Admin),
            ("late-events", Scope::Admin),
            ("dead-letters", Scope::Admin),
        ] {
            let others: Vec<Scope> = Scope::ALL.into_iter().filter(|other| *other != scope).collect();
            let key = app.key_of("default", &others).await;
            let refused = admin_list(app, via, &key, list, &[]).await;
            assert!(refused.as_ref().unwrap_err().message.contains(scope.name()), "{refused:?}");
            expect(refused, "permission-denied", "");
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_asks_without_a_key() {
    let app = TestApp::start().await;
    for list in ["streams", "backfills", "late-events", "dead-letters", "nothing"] {
        app.rest_with(None).get(&format!("/api/v1/admin/{list}")).await.problem(401);
    }
    let refused = app.admin_with(None).await.list_streams(larder::wire::proto::ListStreamsRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unauthenticated);
    app.rest().get("/api/v1/admin/streams?page_size=1").await.problem(400);
    app.rest().get("/api/v1/admin/nothing").await.problem(404);
    app.rest().delete("/api/v1/admin/streams").await.problem(405);
}

#[tokio::test]
async fn partitions_say_how_they_stand() {
    each(async |app, via| {
        groups(app, via).await;
        let event = |event_type: &str| {
            json!({"entity_id": "u", "event_type": event_type, "value": 1, "timestamp": "2024-01-15T14:22:00Z"})
        };
        let events = json!([event("buy"), event("sell"), event("buy")]);
        app.rest().post("/api/v1/events", &events).await.json(200);
        let started = std::time::Instant::now();
        loop {
            let answer = admin_list(app, via, app.key(), "streams", &[]).await.unwrap();
            let streams = answer["streams"].as_array().unwrap();
            assert_eq!(streams.len(), 1);
            let busy = streams.iter().find(|stream| stream["ledger"]["produced"] == 3);
            if let Some(stream) = busy.filter(|stream| stream["lag"] == 0) {
                let ledger = json!({"produced": 3, "counted": 2, "unused": 1, "late": 0, "duplicate": 0, "dead": 0});
                assert_eq!((&stream["ledger"], &stream["stalled"]), (&ledger, &Json::Null));
                assert_eq!((&stream["entities"], &stream["panes"]), (&json!(1), &json!(1)));
                assert!(stream["end_offset"].as_u64() >= Some(3) && stream["next_offset"] == stream["end_offset"]);
                assert!(stream["log_time"].as_str().unwrap() > "2024" && stream["state_bytes"].as_u64() > Some(0));
                break;
            }
            assert!(started.elapsed().as_secs() < 20, "{answer}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn backfills_are_shown_to_their_tenants_alone() {
    each(async |app, via| {
        let (own, other) = groups(app, via).await;
        for (number, groups) in [vec![own], vec![other], vec![other, own]].into_iter().enumerate() {
            commit_backfill(app, 1_000_000 + number as u64, groups).await;
        }
        let answer = admin_list(app, via, app.key(), "backfills", &[]).await.unwrap();
        let shown = |joins_at: Json, ledger: Json| {
            json!({"partition": 0, "groups": ["spent"], "next_offset": 5, "end_offset": 5, "joins_at": joins_at,
                   "done": true, "ledger": ledger})
        };
        let counted = json!({"produced": 3, "counted": 3, "unused": 0, "late": 0, "duplicate": 0, "dead": 0});
        let expected = [shown(json!("1970-01-01T00:10:00Z"), counted), shown(Json::Null, Json::Null)];
        assert_eq!(answer["backfills"], json!(expected));
        let third = app.key_of("third", &Scope::ALL).await;
        let answer = admin_list(app, via, &third, "backfills", &[]).await.unwrap();
        assert_eq!(answer, json!({"backfills": []}));
    })
    .await;
}

#[tokio::test]
async fn forged_pages_are_refused() {
    each(async |app, via| {
        for list in ["late-events", "dead-letters"] {
            for (query, field) in [
                ([("page_token", "forged")], "page_token"),
                ([("page_size", "-1")], "page_size"),
                ([("page_size", "1001")], "page_size"),
            ] {
                expect(admin_list(app, via, app.key(), list, &query).await, "invalid-argument", field);
            }
        }
        let long = "x".repeat(257);
        for (name, text) in [("event_type", long.as_str()), ("entity_id", "a\u{1}b")] {
            expect(
                admin_list(app, via, app.key(), "late-events", &[(name, text)]).await,
                "invalid-argument",
                name,
            );
        }
    })
    .await;
}

/// Needs the store of streams.
#[tokio::test]
async fn late_and_dead_records_are_listed_in_pages_to_their_tenants_alone() {
    each(async |app, via| {
        let (own, other) = groups(app, via).await;
        write_side_tables(app, own, other).await;
        let key = app.key();
        let late = admin_list(app, via, key, "late-events", &[]).await.unwrap();
        let offsets = |answer: &Json, list: &str| -> Vec<u64> {
            answer[list].as_array().unwrap().iter().map(|entry| entry["offset"].as_u64().unwrap()).collect()
        };
        assert_eq!(offsets(&late, "late_events"), [2, 4, 6]);
        assert_eq!(
            late["late_events"][0],
            json!({
                "partition": 0, "offset": 2, "log_time": "1970-01-01T00:30:02Z", "entity_id": "u2",
                "event_type": "buy", "timestamp": "1970-01-01T00:05:00Z", "event_id": "e2", "entity_type": null,
                "late": true,
                "missed": [{"group": "spent", "first_end": "1970-01-01T00:06:00Z",
                            "last_end": "1970-01-01T00:10:00Z", "windows": 5}],
            })
        );
        let of_one = admin_list(app, via, key, "late-events", &[("entity_id", "u4")]).await.unwrap();
        assert_eq!(offsets(&of_one, "late_events"), [4]);
        let of_none = admin_list(app, via, key, "late-events", &[("event_type", "sell")]).await.unwrap();
        assert!(offsets(&of_none, "late_events").is_empty());
        let dead = admin_list(app, via, key, "dead-letters", &[]).await.unwrap();
        assert_eq!(offsets(&dead, "dead_letters"), [3, 5]);
        assert_eq!(
            dead["dead_letters"][0],
            json!({"partition": 0, "offset": 3, "log_time": "1970-01-01T00:30:03Z", "reason": "not JSON", "record": "AP8B"})
        );
        for (list, name, all) in [("late-events", "late_events", 3), ("dead-letters", "dead_letters", 2)] {
            let (mut paged, mut token) = (0, String::new());
            loop {
                let query = [("page_size", "1"), ("page_token", token.as_str())];
                let query = if token.is_empty() { &query[..1] } else { &query[..] };
                let page = admin_list(app, via, key, list, query).await.unwrap();
                assert_eq!(page[name].as_array().unwrap().len(), 1);
                paged += 1;
                token = page["next_page_token"].as_str().unwrap().to_owned();
                if token.is_empty() {
                    break;
                }
                // Good for its own question and key alone.
                let foreign = app.key_of("other", &Scope::ALL).await;
                let refused = admin_list(app, via, &foreign, list, &[("page_token", &token)]).await;
                expect(refused, "invalid-argument", "page_token");
                let list = if list == "late-events" { "dead-letters" } else { "late-events" };
                let refused = admin_list(app, via, key, list, &[("page_token", &token)]).await;
                expect(refused, "invalid-argument", "page_token");
            }
            assert_eq!(paged, all);
        }
        let foreign = app.key_of("other", &Scope::ALL).await;
        let late = admin_list(app, via, &foreign, "late-events", &[]).await.unwrap();
        assert_eq!(offsets(&late, "late_events"), [1]);
        let dead = admin_list(app, via, &foreign, "dead-letters", &[]).await.unwrap();
        assert!(offsets(&dead, "dead_letters").is_empty());
    })
    .await;
}

/// A windowed group of the default tenant, and one of another.
async fn groups(app: &TestApp, via: &mut Via) -> ((TenantId, RowId), (TenantId, RowId)) {
    let request = json!({"features": [
        {"name": "spent", "entity_type": "user", "dtype": "float64",
         "window": {"event_type": "buy", "function": "sum", "size": "5m", "slide": "1m"}}]});
    let foreign = app.key_of("other", &Scope::ALL).await;
    via.register(request.clone()).await.unwrap();
    with_key(via, app, &foreign).await.register(request).await.unwrap();
    let service = app.app().service();
    let group = |key: &str| {
        let caller = service.registry.authenticate(key, service.clock.now()).unwrap();
        let group = service.registry.catalogue(&caller).group("spent").unwrap().group.id;
        (caller.tenant(), group)
    };
    (group(app.key()), group(&foreign))
}

/// How far a backfill has come, as its reader would leave it.
async fn commit_backfill(app: &TestApp, number: u64, groups: Vec<(TenantId, RowId)>) {
    let reader = ReaderId { partition: 0, purpose: Purpose::Backfill(RowId::from_stored(number)) };
    let ledger = Ledger { counted: 3, ..Ledger::default() };
    let summary = ReaderSummary { groups, joins_at: Some(at(600)), ledger, state: StateSize::default() };
    let state = ReaderState { next_offset: 5, summary, done: true, ..ReaderState::new(reader) };
    let store = &app.app().service().events.progress;
    let epoch = store.claim(reader).await.unwrap().epoch;
    let commit = StreamCommit {
        epoch,
        state,
        save: None,
        drop_saves: vec![],
        rows: vec![],
        created: Created::AtCommit,
        late: vec![],
        dead: vec![],
        opens: vec![],
    };
    store.commit_stream(commit).await.unwrap();
}

/// Late events 1 (the other tenant's), 2, 4 and 6, and dead letters 3 and 5, as a reader of its own would leave them.
async fn write_side_tables(app: &TestApp, own: (TenantId, RowId), other: (TenantId, RowId)) {
    let store = &app.app().service().events.progress;
    let reader = ReaderId { partition: 0, purpose: Purpose::Backfill(RowId::from_stored(1_000_000)) };
    let claim = store.claim(reader).await.unwrap();
    let late = |offset: u64, (tenant, group): (TenantId, RowId)| LateEvent {
        tenant,
        place: RecordId { partition: 0, offset },
        log_time: at(1_800 + offset as i64),
        entity_type: None,
        entity_id: format!("u{offset}"),
        event_type: "buy".into(),
        event_timestamp: at(300),
        event_id: Some(format!("e{offset}")),
        late: true,
        missed: vec![MissedWindows { group, first: at(360), last: at(600), slide: Duration::from_secs(60) }],
    };
    let dead = |offset: u64| DeadLetter {
        tenant: own.0,
        place: RecordId { partition: 0, offset },
        log_time: at(1_800 + offset as i64),
        reason: "not JSON".into(),
        record: vec![0, 255, 1],
    };
    let commit = StreamCommit {
        epoch: claim.epoch,
        state: ReaderState { next_offset: 7, log_time: Some(at(1_806)), ..ReaderState::new(reader) },
        save: None,
        drop_saves: vec![],
        rows: vec![],
        created: Created::AsLogged,
        late: vec![late(1, other), late(2, own), late(4, own), late(6, own)],
        dead: vec![dead(3), dead(5)],
        opens: vec![],
    };
    store.commit_stream(commit).await.unwrap();
}
