//! Writing rows: whole groups, entities, what is refused, and repeats.

use super::{
    records::{Row, int, string},
    via::{Via, Written, each, expect, with_key},
};
use larder::{access::Scope, feature::Value};
use serde_json::json;

/// A group of two, a feature of its own, another entity type, and a composite one.
async fn register(via: &mut Via) {
    let request = json!({
        "entity_types": [{"name": "pair", "keys": ["user", "merchant"]}],
        "features": [
            {"name": "country", "entity_type": "user", "dtype": "string", "group": "profile"},
            {"name": "age", "entity_type": "user", "dtype": "int64", "group": "profile"},
            {"name": "score", "entity_type": "user", "dtype": "float64"},
            {"name": "rating", "entity_type": "merchant", "dtype": "float32"},
            {"name": "visits", "entity_type": "pair", "dtype": "int64"}]});
    via.register(request).await.unwrap();
}

fn profile(id: &str, seconds: f64, country: &str, age: i64) -> Row {
    Row::new(id, seconds, &[("country", string(country)), ("age", int(age))])
}

fn written(accepted: u64, unchanged: u64) -> Written {
    Written { accepted, unchanged, rejected: vec![] }
}

fn float(value: f64) -> Option<Value> {
    Some(Value::Float64(value))
}

#[tokio::test]
async fn rows_equal_to_what_is_there_are_unchanged() {
    each(async |_, via| {
        register(via).await;
        let rows = [profile("u", 1.0, "GB", 1), profile("u", 1.0, "GB", 1), profile("u", 2.0, "GB", 1)];
        assert_eq!(via.write(&rows).await.unwrap(), written(2, 1));
        assert_eq!(via.write(&rows).await.unwrap(), written(0, 3));
        // A correction and the way back: each differs from the newest at its moment.
        assert_eq!(via.write(&[profile("u", 1.0, "FR", 1)]).await.unwrap(), written(1, 0));
        assert_eq!(via.write(&[profile("u", 1.0, "GB", 1)]).await.unwrap(), written(1, 0));
        // A row of several groups is unchanged when all of them are.
        let both = |score: f64| {
            let values = [("country", string("GB")), ("age", int(1)), ("score", float(score))];
            Row::new("u", 2.0, &values)
        };
        assert_eq!(via.write(&[both(0.5)]).await.unwrap(), written(1, 0));
        assert_eq!(via.write(&[both(0.5), both(0.6)]).await.unwrap(), written(1, 1));
        // −0.0 is 0.0.
        let zero = |zero: f64| [Row::new("z", 1.0, &[("score", float(zero))])];
        assert_eq!(via.write(&zero(0.0)).await.unwrap(), written(1, 0));
        assert_eq!(via.write(&zero(-0.0)).await.unwrap(), written(0, 1));
    })
    .await;
}

#[tokio::test]
async fn groups_are_written_whole() {
    each(async |_, via| {
        register(via).await;
        let half = Row::new("u", 1.0, &[("country", string("GB"))]);
        let refused = via.write(&[profile("u", 1.0, "GB", 1), half.clone()]).await;
        expect(refused, "invalid-argument", "rows[1].values.age");
        let null = Row::new("u", 1.0, &[("country", string("GB")), ("age", None)]);
        assert_eq!(via.write(std::slice::from_ref(&null)).await.unwrap(), written(1, 0));
        // A feature added later may be left out.
        let later = json!({"features": [{"name": "city", "entity_type": "user", "dtype": "string", "group": "profile"}]});
        via.register(later).await.unwrap();
        assert_eq!(via.write(&[null]).await.unwrap(), written(0, 1));
        let given = [("country", string("GB")), ("age", None), ("city", string("Leeds"))];
        assert_eq!(via.write(&[Row::new("u", 1.0, &given)]).await.unwrap(), written(1, 0));
        let history = via.history("city", &[("entity_id", "u")]).await.unwrap().0;
        assert_eq!(history, [(1.0, Err(())), (1.0, Ok(string("Leeds")))]);
    })
    .await;
}

#[tokio::test]
async fn versions_are_columns() {
    each(async |_, via| {
        register(via).await;
        let second = json!({"features": [
            {"name": "country", "entity_type": "user", "dtype": "int64", "group": "profile", "version": 2}]});
        via.register(second).await.unwrap();
        // A draft is written by its version; the first stays what the bare name means.
        let both = [("country", string("GB")), ("country@2", int(44)), ("age", int(1))];
        assert_eq!(via.write(&[Row::new("u", 1.0, &both)]).await.unwrap(), written(1, 0));
        via.set_status("country@2", "active").await.unwrap();
        // Now the newest active must be there, and those below may be left out.
        let old = Row::new("u", 2.0, &[("country@1", string("GB")), ("age", int(1))]);
        expect(via.write(&[old]).await, "invalid-argument", "rows[0].values.country");
        let new = Row::new("u", 2.0, &[("country", int(33)), ("age", int(1))]);
        assert_eq!(via.write(&[new]).await.unwrap(), written(1, 0));
        let first = via.history("country@1", &[("entity_id", "u")]).await.unwrap().0;
        assert_eq!(first, [(1.0, Ok(string("GB"))), (2.0, Err(()))]);
        let second = via.history("profile.country", &[("entity_id", "u")]).await.unwrap().0;
        assert_eq!(second, [(1.0, Ok(int(44))), (2.0, Ok(int(33)))]);
        let twice = [("country", int(1)), ("country@2", int(1)), ("age", int(1))];
        let refused = via.write(&[Row::new("u", 3.0, &twice)]).await.unwrap_err();
        assert_eq!(refused.kind, "invalid-argument");
        assert!(refused.field.starts_with("rows[0].values.country"), "{}", refused.field);
    })
    .await;
}

#[tokio::test]
async fn a_row_may_name_several_entities() {
    each(async |_, via| {
        register(via).await;
        let values = [("score", float(0.5)), ("rating", Some(Value::Float32(4.5))), ("visits", int(3))];
        let row = Row::new("", 1.0, &values).by_key(&[("user", "u1"), ("merchant", "m7")]);
        assert_eq!(via.write(std::slice::from_ref(&row)).await.unwrap(), written(1, 0));
        let pair = [("user", "u1"), ("merchant", "m7")];
        assert_eq!(via.history("visits", &pair).await.unwrap().0, [(1.0, Ok(int(3)))]);
        assert_eq!(via.history("score", &[("entity_id", "u1")]).await.unwrap().0, [(1.0, Ok(float(0.5)))]);
        assert_eq!(via.history("rating", &[("merchant", "m7")]).await.unwrap().0.len(), 1);
        let refused = [
            (row.clone().by_key(&[("user", "u1")]), "entities.merchant"),
            (row.clone().by_key(&[("user", "u1"), ("merchant", "m7"), ("shop", "s")]), "entities.shop"),
            (row.clone().by_key(&[("user", "u1"), ("merchant", "")]), "entities.merchant"),
            (row.clone().of("pair"), "entity_type"),
            (Row { entity_id: "u1".into(), ..row.clone() }, "entities"),
            (Row { entities: vec![], ..row.clone() }, "entity_id"),
            (Row { entities: vec![], entity_id: "u1".into(), ..row.clone() }, "entity_id"),
            (Row::new("u1", 1.0, &[("visits", int(1))]), "entity_id"),
        ];
        for (row, field) in refused {
            expect(via.write(&[row]).await, "invalid-argument", &format!("rows[0].{field}"));
        }
        let unknown = Row::new("u1", 1.0, &[("score", float(1.0))]).of("nobody");
        expect(via.write(&[unknown]).await, "not-found", "rows[0].entity_type");
    })
    .await;
}

#[tokio::test]
async fn bad_rows_name_their_field() {
    each(async |app, via| {
        register(via).await;
        let score = |value: Option<Value>| Row::new("u", 1.0, &[("score", value)]);
        let id = |id: &str| Row::new(id, 1.0, &[("score", float(1.0))]);
        let now = app.app().service().clock.now();
        let time = |ahead: i64| Row {
            event_timestamp: Some(now.saturating_add(ahead * 1_000_000)),
            ..score(float(1.0))
        };
        let refused = [
            (id(&"x".repeat(257)), "entity_id"),
            (id("a\nb"), "entity_id"),
            (id("a\u{85}b"), "entity_id"),
            (id(""), "entity_id"),
            (score(int(1)), "values.score"),
            (score(string("1")), "values.score"),
            (score(Some(Value::Bool(true))), "values.score"),
            (score(float(f64::NAN)), "values.score"),
            (score(float(f64::NEG_INFINITY)), "values.score"),
            (Row::new("u", 1.0, &[]), "values"),
            (Row { event_timestamp: None, ..score(float(1.0)) }, "event_timestamp"),
            (time(400), "event_timestamp"),
            (
                Row::new("u", 1.0, &[("country", string(&"x".repeat(65_537))), ("age", int(1))]),
                "values.country",
            ),
        ];
        for (row, field) in refused {
            // A JSON integer is a float64 as well; the contract's message says which it is.
            if matches!(via, Via::Rest(_)) && row.values.first().is_some_and(|(_, value)| *value == int(1)) {
                continue;
            }
            expect(via.write(&[row]).await, "invalid-argument", &format!("rows[0].{field}"));
        }
        expect(via.write(&[]).await, "invalid-argument", "rows");
        let unknown = Row::new("u", 1.0, &[("nope", int(1))]);
        expect(via.write(&[score(float(1.0)), unknown]).await, "not-found", "rows[1].values.nope");
        assert!(via.history("score", &[("entity_id", "u")]).await.unwrap().0.is_empty(), "all or nothing");

        let accepted = [
            id(&"x".repeat(256)),
            id(": % { } * / ? # &"),
            id("🙂"),
            time(290),
            Row::new("u", -62_135_596_800.0, &[("score", float(1.0))]),
            Row::new("u", 1.0, &[("country", string(&"x".repeat(65_536))), ("age", int(1))]),
        ];
        assert_eq!(via.write(&accepted).await.unwrap(), written(6, 0));
    })
    .await;
}

#[tokio::test]
async fn rows_at_their_size_limit() {
    each(async |_, via| {
        let features: Vec<_> = (0..17)
            .map(|i| json!({"name": format!("t{i}"), "entity_type": "user", "dtype": "string", "group": "texts"}))
            .collect();
        via.register(json!({"features": features})).await.unwrap();
        let text = |len: usize| string(&"x".repeat(len));
        let row = |last: usize| {
            let texts = (0..16).map(|_| text(65_536 - 16)).chain([text(last)]);
            let names: Vec<String> = (0..17).map(|i| format!("t{i}")).collect();
            let values: Vec<(&str, _)> = names.iter().map(String::as_str).zip(texts).collect();
            Row::new("u", 1.0, &values)
        };
        match via {
            Via::Grpc(_) => {
                assert_eq!(via.write(&[row(256)]).await.unwrap(), written(1, 0));
                expect(via.write(&[row(257)]).await, "invalid-argument", "rows[0].values");
            }
            // A body of REST is no larger than a row may be.
            Via::Rest(_) => expect(via.write(&[row(257)]).await, "too-large", ""),
        }
    })
    .await;
}

#[tokio::test]
async fn partial_writes_say_what_they_left() {
    each(async |_, via| {
        register(via).await;
        let rows = [
            profile("a", 1.0, "GB", 1),
            Row::new("b", 1.0, &[("country", string("GB"))]),
            Row::new("c", 1.0, &[("nope", int(1))]),
            profile("", 1.0, "GB", 1),
            profile("a", 1.0, "GB", 1),
        ];
        let outcome = via.write_with(&rows, true, "").await.unwrap();
        let rejected = [(1, "rows[1].values.age"), (2, "rows[2].values.nope"), (3, "rows[3].entity_id")];
        let rejected = rejected.map(|(row, field)| (row, field.to_owned())).to_vec();
        assert_eq!(outcome, Written { accepted: 1, unchanged: 1, rejected });
    })
    .await;
}

#[tokio::test]
async fn a_repeat_under_one_idempotency_key_returns_the_first_answer() {
    each(async |app, via| {
        register(via).await;
        let rows = [profile("a", 1.0, "GB", 1), profile("b", 1.0, "GB", 1)];
        let first = via.write_with(&rows, false, "k1").await.unwrap();
        assert_eq!(first, written(2, 0));
        assert_eq!(via.write_with(&rows, false, "k1").await.unwrap(), first);
        assert_eq!(via.write_with(&rows, false, "k2").await.unwrap(), written(0, 2));
        let other = [profile("a", 1.0, "FR", 1), profile("b", 1.0, "GB", 1)];
        assert_eq!(via.write_with(&other, false, "k1").await.unwrap_err().kind, "aborted");
        assert_eq!(via.history("country", &[("entity_id", "a")]).await.unwrap().0.len(), 1);
        for key in ["k".repeat(257), "k\n".into()] {
            if matches!(via, Via::Rest(_)) && key.contains('\n') {
                continue; // no header can hold it
            }
            expect(via.write_with(&rows, false, &key).await, "invalid-argument", "idempotency_key");
        }
        // Rejected rows are part of the answer, and a key belongs to its tenant.
        let mixed = [profile("c", 1.0, "GB", 1), profile("", 1.0, "GB", 1)];
        let partial = via.write_with(&mixed, true, "k3").await.unwrap();
        assert_eq!(partial.rejected.len(), 1);
        assert_eq!(via.write_with(&mixed, true, "k3").await.unwrap(), partial);
        let none = [profile("", 1.0, "GB", 1)];
        let nothing = via.write_with(&none, true, "k4").await.unwrap();
        assert_eq!((nothing.accepted, nothing.rejected.len()), (0, 1));
        assert_eq!(via.write_with(&none, true, "k4").await.unwrap(), nothing);
        let stranger = app.key_of("stranger", &Scope::ALL).await;
        let mut stranger = with_key(via, app, &stranger).await;
        register(&mut stranger).await;
        assert_eq!(stranger.write_with(&rows, false, "k1").await.unwrap(), written(2, 0));
    })
    .await;
}

/// A request of random rows, some bad, of every shape that both transports can say.
fn random_rows(dice: &mut fastrand::Rng) -> Vec<Row> {
    let seconds = |dice: &mut fastrand::Rng| dice.u32(0..4_000_000) as f64 / 1e3;
    let row = |dice: &mut fastrand::Rng| {
        let id = ["u", "é", "a:b", "0", ""][dice.usize(0..5)];
        let mut row = match dice.u32(0..6) {
            0 => Row::new(id, seconds(dice), &[("score", float(dice.f64()))]),
            1 => Row::new(id, seconds(dice), &[("rating", Some(Value::Float32(dice.f32())))]).of("merchant"),
            2 => Row::new("", seconds(dice), &[("visits", int(dice.i64(..)))])
                .by_key(&[("merchant", "m"), ("user", id)]),
            3 => Row::new(id, seconds(dice), &[("nope", int(1)), ("country", string("GB")), ("age", int(1))]),
            4 => Row::new(id, seconds(dice), &[("country", string(id))]),
            _ => profile(id, seconds(dice), id, dice.i64(..)),
        };
        match dice.u32(0..12) {
            0 => row.event_timestamp = None,
            1 => row.values.iter_mut().for_each(|(_, value)| *value = None),
            2 => row.values[0].1 = Some(Value::Bool(true)),
            3 => row.values.iter_mut().for_each(|(name, _)| name.push_str("@1")),
            4 => row.event_timestamp = row.event_timestamp.map(|time| time.saturating_add(1 << 55)),
            _ => {}
        }
        row
    };
    (0..dice.usize(1..5)).map(|_| row(dice)).collect()
}

/// Twins: a request is the same over either transport, whatever is wrong with it, and another one is not.
#[tokio::test]
async fn an_idempotency_key_is_the_same_over_the_other_transport() {
    let app = crate::support::TestApp::start().await;
    let mut both = [Via::Rest(app.rest()), Via::Grpc(app.grpc().await)];
    register(&mut both[0]).await;
    let mut dice = fastrand::Rng::with_seed(7);
    let (mut written, mut refused) = (0, 0);
    for round in 0..300 {
        let (rows, partial, first) = (random_rows(&mut dice), dice.bool(), dice.usize(0..2));
        let key = format!("key {round}");
        let answer = both[first].write_with(&rows, partial, &key).await;
        let twin = both[1 - first].write_with(&rows, partial, &key).await;
        let Ok(answer) = answer else {
            assert_eq!(answer.unwrap_err().field, twin.unwrap_err().field, "{rows:?}");
            refused += 1;
            continue;
        };
        // Had it been written again, all of it would be unchanged.
        assert_eq!(twin.as_ref(), Ok(&answer), "{rows:?}");
        written += answer.accepted;
        let mut others = vec![rows.clone(); 3];
        others[0][0].entity_id.push('x');
        others[1][0].values.push(("score".into(), float(2.0)));
        others[2].push(profile("u", 1.0, "GB", 1));
        for other in others {
            for via in &mut both {
                let refused = via.write_with(&other, partial, &key).await.unwrap_err();
                // Without `partial` a bad row comes before the key.
                assert!(!partial || refused.kind == "aborted", "{rows:?} / {other:?}: {refused:?}");
            }
        }
    }
    assert!(written > 100 && refused > 20, "{written} rows written, {refused} requests refused");
    // What has several spellings: order of members, offsets, integers as text, −0.0.
    let write = async |body: &str| {
        let request = app.rest().request(reqwest::Method::POST, "/api/v1/features/write");
        let request = request.header("idempotency-key", "spelt").header("content-type", "application/json");
        crate::support::send(request.body(body.to_owned())).await.json(200)
    };
    let first = write(
        r#"{"rows": [{"entity_id": 7, "event_timestamp": "2024-01-15T14:22:00+01:00",
        "values": {"country": "GB", "age": "5", "score": -0.0}}]}"#,
    )
    .await;
    let again = write(
        r#"{"rows":[{"values":{"score":0,"age":5,"country":"\u0047B"},
        "event_timestamp":"2024-01-15T13:22:00.0000Z","entity_id":"7"}]}"#,
    );
    assert_eq!((&first["accepted"], first.clone()), (&json!(1), again.await));
}

#[tokio::test]
async fn rows_before_what_is_kept_are_refused() {
    use crate::support::TestApp;
    let app =
        TestApp::start_with(|config| config.store.retention = Some("90d".to_owned().try_into().unwrap()))
            .await;
    for mut via in [Via::Rest(app.rest()), Via::Grpc(app.grpc().await)] {
        register(&mut via).await;
        let refused = via.write(&[profile("u", 1.0, "GB", 1)]).await.unwrap_err();
        assert_eq!(refused.field, "rows[0].event_timestamp");
        assert!(refused.message.contains("store.retention"), "{}", refused.message);
        let now = app.app().service().clock.now().micros() as f64 / 1e6;
        let day = 86_400.0;
        assert!(via.write(&[profile("u", now - 90.0 * day - 60.0, "GB", 1)]).await.is_err());
        assert!(via.write(&[profile("u", now - 90.0 * day + 60.0, "GB", 1)]).await.is_ok());
    }
}

#[tokio::test]
async fn ids_are_bytes() {
    each(async |_, via| {
        register(via).await;
        let (nfc, nfd) = ("caf\u{e9}", "cafe\u{301}");
        let rows: Vec<Row> = [nfc, nfd, "🙂", "a:b", "a", "b"]
            .iter()
            .enumerate()
            .map(|(i, id)| profile(id, 1.0, "GB", i as i64))
            .collect();
        assert_eq!(via.write(&rows).await.unwrap(), written(6, 0));
        for (i, id) in [nfc, nfd, "🙂", "a:b"].iter().enumerate() {
            let history = via.history("age", &[("entity_id", id)]).await.unwrap().0;
            assert_eq!(history, [(1.0, Ok(int(i as i64)))], "{id}");
        }
        // Composite ids never meet.
        let pair = |user: &str, merchant: &str, n: i64| {
            Row::new("", 1.0, &[("visits", int(n))]).by_key(&[("user", user), ("merchant", merchant)])
        };
        via.write(&[pair("a", "bc", 1), pair("ab", "c", 2), pair("1:a", ",", 3)]).await.unwrap();
        for (user, merchant, n) in [("a", "bc", 1), ("ab", "c", 2), ("1:a", ",", 3)] {
            let history = via.history("visits", &[("user", user), ("merchant", merchant)]).await.unwrap().0;
            assert_eq!(history, [(1.0, Ok(int(n)))]);
        }
    })
    .await;
}

#[tokio::test]
async fn invalidation_is_idempotent_and_checks_names() {
    each(async |_, via| {
        register(via).await;
        via.write(&[profile("u", 1.0, "GB", 1)]).await.unwrap();
        for _ in 0..2 {
            assert!(via.invalidate("u", &[], "", &[]).await.unwrap());
            assert!(via.invalidate("never written", &[], "user", &["country"]).await.unwrap());
            assert!(via.invalidate("", &[("user", "u"), ("merchant", "m")], "", &["visits"]).await.unwrap());
        }
        assert_eq!(via.history("age", &[("entity_id", "u")]).await.unwrap().0, [(1.0, Ok(int(1)))]);
        expect(via.invalidate("", &[], "", &[]).await, "invalid-argument", "entity_id");
        expect(via.invalidate("u", &[("user", "u")], "", &[]).await, "invalid-argument", "entities");
        expect(via.invalidate(&"x".repeat(257), &[], "", &[]).await, "invalid-argument", "entity_id");
        expect(via.invalidate("u", &[], "nobody", &[]).await, "not-found", "entity_type");
        expect(via.invalidate("u", &[], "", &["country", "nope"]).await, "not-found", "features[1]");
        expect(via.invalidate("u", &[], "merchant", &["country"]).await, "invalid-argument", "features[0]");
        expect(via.invalidate("u", &[], "", &["visits"]).await, "invalid-argument", "entity_id");
    })
    .await;
}

#[tokio::test]
async fn a_stream_answers_each_request_in_order() {
    use larder::wire::proto::StreamWriteFeaturesRequest;
    let app = crate::support::TestApp::start().await;
    let mut grpc = app.grpc().await;
    register(&mut Via::Grpc(app.grpc().await)).await;
    // Every request corrects the same moment: only their order says which holds.
    let requests: Vec<StreamWriteFeaturesRequest> = (0..200)
        .map(|i| {
            let mut rows = vec![profile("u", 1.0, "GB", i).message()];
            rows.extend((0..i % 7).map(|_| profile("", 1.0, "GB", i).message()));
            StreamWriteFeaturesRequest { rows, idempotency_key: String::new() }
        })
        .collect();
    let mut answers = grpc.stream_write_features(tokio_stream::iter(requests)).await.unwrap().into_inner();
    for i in 0..200usize {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.accepted, answer.unchanged, answer.rejected.len()), (1, 0, i % 7), "{i}");
    }
    assert!(answers.message().await.unwrap().is_none());
    let history =
        Via::Rest(app.rest()).history("age", &[("entity_id", "u"), ("page_size", "1000")]).await.unwrap().0;
    let ages: Vec<_> = history.into_iter().map(|(_, value)| value.unwrap().unwrap()).collect();
    assert_eq!(ages, (0..200).map(Value::Int64).collect::<Vec<_>>());
    // A repeat of one request of a stream is answered as it was.
    let request = StreamWriteFeaturesRequest {
        rows: vec![profile("i", 1.0, "GB", 1).message()],
        idempotency_key: "once".into(),
    };
    let mut answers =
        grpc.stream_write_features(tokio_stream::iter(vec![request; 3])).await.unwrap().into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        assert_eq!((answer.accepted, answer.unchanged), (1, 0));
    }
    // What a broken stream left in doubt may be sent again by a unary call.
    for via in &mut [Via::Rest(app.rest()), Via::Grpc(app.grpc().await)] {
        let answer = via.write_with(&[profile("i", 1.0, "GB", 1)], false, "once").await.unwrap();
        assert_eq!((answer.accepted, answer.unchanged), (1, 0));
        let refused = via.write_with(&[profile("i", 1.0, "GB", 2)], false, "once").await.unwrap_err();
        assert_eq!(refused.kind, "aborted");
    }
}
