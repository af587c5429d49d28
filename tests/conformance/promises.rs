//! Promises that need more than one caller, or more than a day.

use super::{
    Backend, TestTime,
    rows::{Row, USER, batch, cells, commit, group, write},
};
use larder::{
    feature::{Cell, Dtype, TenantId, Timestamp, Value},
    store::{
        AsOf, Commit, Commits, Committed, GroupRead, Idempotency, KnownAt, LatestRead, LatestReads, Refusal,
        Scan, Snapshot, StoreError, Views,
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

const DAY: i64 = 24 * 3_600 * 1_000_000;

fn row(key: &str, event: i64, value: i64) -> Row {
    Row { key: key.into(), event, cells: vec![Cell::Value(Value::Int64(value))] }
}

pub async fn idempotency<B: Backend>() {
    let time = TestTime::default();
    time.set(1_000);
    let mut backend = B::start(time.clone(), None).await;
    let schema = group(1, &[Dtype::Int64]);
    let keyed = |tenant: u64, fingerprint: u8, value: i64| Commit {
        tenant: TenantId::from_stored(tenant),
        idempotency: Some(Idempotency {
            key: "once".into(),
            fingerprint: [fingerprint; 32],
            answer: Box::new(move |receipt| format!("{value} at {}", receipt.created.micros()).into_bytes()),
        }),
        ..commit(vec![batch(&schema, &[row("a", value, value)])])
    };
    // Two at once: one is fresh, the other gets the first one's answer.
    let (first, second) =
        tokio::join!(backend.store().commit(keyed(1, 1, 1)), backend.store().commit(keyed(1, 1, 1)));
    let replays = [first.unwrap(), second.unwrap()].map(|answer| match answer {
        Committed::Fresh(receipt) => (false, format!("1 at {}", receipt.created.micros()).into_bytes()),
        Committed::Replayed(answer) => (true, answer),
    });
    assert_eq!(replays[0].1, replays[1].1);
    assert_eq!(replays.iter().filter(|(replayed, _)| *replayed).count(), 1);
    backend.restart().await;
    let store = backend.store();
    let refused = store.commit(keyed(1, 2, 2)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(Refusal::OtherFingerprint { .. })), "{refused}");
    assert!(matches!(store.commit(keyed(2, 2, 3)).await.unwrap(), Committed::Fresh(_)));
    time.set(DAY - 10);
    assert!(
        matches!(store.commit(keyed(1, 1, 4)).await.unwrap(), Committed::Replayed(answer) if answer == replays[0].1)
    );
    time.set(DAY + 2_000);
    assert!(matches!(store.commit(keyed(1, 2, 5)).await.unwrap(), Committed::Fresh(_)));
}

/// Commits under way at once are made in the order they began, large ones before small ones too.
pub async fn commits_keep_their_order<B: Backend>() {
    let backend = B::start(TestTime::default(), None).await;
    let schema = group(1, &[Dtype::Int64]);
    for round in 0..5 {
        let commits = (0..8i64).map(|value| {
            let mut rows = vec![row("a", round, value)];
            if value % 3 == 0 {
                rows.extend((0..2_000).map(|other| row(&format!("{other}"), other, round * 10 + value)));
            }
            backend.store().commit(commit(vec![batch(&schema, &rows)]))
        });
        let mut last = None;
        for committed in futures_util::future::join_all(commits).await {
            let Committed::Fresh(receipt) = committed.unwrap() else { panic!("replayed") };
            assert!(last < Some(receipt.created));
            last = Some(receipt.created);
        }
        let read = LatestRead { entity_type: USER, groups: std::slice::from_ref(&schema), keys: &["a"] };
        let latest = backend.store().latest(read).await.unwrap().remove(0);
        let latest = latest.row(schema.id, 0).unwrap();
        assert_eq!(cells(latest, &schema), [Cell::Value(Value::Int64(7))]);
    }
}

/// When a group was last written is known to every process, also after a restart.
pub async fn last_written_stays<B: Backend>() {
    let time = TestTime::default();
    let mut backend = B::start(time.clone(), None).await;
    let groups = [group(1, &[Dtype::Int64]), group(2, &[Dtype::Int64])];
    let ids = groups.each_ref().map(|group| group.id);
    let mut newest = [None; 2];
    for step in 0..8i64 {
        assert_eq!(backend.store().last_written(&ids).await.unwrap(), newest);
        time.set(1_000 * (step + 1));
        let which = (step % 3 == 2) as usize;
        let receipt = write(backend.store(), vec![batch(&groups[which], &[row("a", step, step)])]).await;
        newest[which] = Some(receipt.created);
        backend.disturb(step as u8).await;
    }
    assert_eq!(backend.store().last_written(&ids).await.unwrap(), newest);
}

/// However the clock jumps, whatever was stated, and across restarts.
pub async fn created_only_grows<B: Backend>() {
    let time = TestTime::default();
    let mut backend = B::start(time.clone(), None).await;
    let schema = group(1, &[Dtype::Int64]);
    let mut last = i64::MIN;
    for (step, now) in [10_000_000, 5, 20_000_000, 20_000_000, 7, 9, 50_000_000, 1].into_iter().enumerate() {
        time.set(now);
        if step % 2 == 1 {
            let snapshot = backend.store().snapshot(std::slice::from_ref(&schema)).await.unwrap();
            assert!(snapshot.settled_at().micros() >= now.max(last));
            last = snapshot.settled_at().micros();
            assert!(snapshot.is_settled());
            time.set(0);
            if step % 4 == 3 {
                backend.restart().await;
            }
        }
        let receipt = write(backend.store(), vec![batch(&schema, &[row("a", step as i64, 1)])]).await;
        assert!(receipt.created.micros() > last, "{} after {last}", receipt.created.micros());
        last = receipt.created.micros();
    }
}

/// Readers beside writers see each entity's newest row move forward only, and their own writes at once.
pub async fn latest_never_goes_back<B: Backend>() {
    let backend = B::start(TestTime::default(), None).await;
    let schema = group(1, &[Dtype::Int64]);
    let done = AtomicBool::new(false);
    let latest = async |key: &str| {
        let read = LatestRead { entity_type: USER, groups: std::slice::from_ref(&schema), keys: &[key] };
        backend.store().latest(read).await.unwrap()[0].row(schema.id, 0).map(|row| row.order())
    };
    let writer = async |key: &str| {
        for event in 0..300 {
            write(backend.store(), vec![batch(&schema, &[row(key, event, event)])]).await;
            let seen = latest(key).await.expect("a row that was acknowledged");
            assert_eq!(seen.0.micros(), event);
            // An older row never hides it.
            if event % 7 == 0 {
                write(backend.store(), vec![batch(&schema, &[row(key, event - 5, -event)])]).await;
            }
            // Many other entities, so that the cache evicts.
            let others: Vec<String> = (0..9).map(|other| format!("{key} {event} {other}")).collect();
            for other in &others {
                latest(other).await;
            }
        }
    };
    let reader = async |key: &str| {
        let mut last = None;
        while !done.load(Ordering::Relaxed) {
            let seen = latest(key).await;
            assert!(seen >= last, "{seen:?} after {last:?}");
            last = seen;
            tokio::task::yield_now().await;
        }
    };
    let writers = async {
        tokio::join!(writer("a"), writer("b"));
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(writers, reader("a"), reader("b"), reader("a"));
}

/// A commit over two groups is in a snapshot wholly or not at all, and what a snapshot saw it sees again.
pub async fn snapshots_see_whole_commits<B: Backend + Send + Sync + 'static>() {
    let backend = Arc::new(B::start(TestTime::default(), None).await);
    let groups = [group(1, &[Dtype::Int64]), group(2, &[Dtype::Int64])];
    let writing = {
        let (backend, groups) = (backend.clone(), groups.clone());
        tokio::spawn(async move {
            for event in 0..400 {
                let batches = groups.iter().map(|group| batch(group, &[row("a", event, event)])).collect();
                write(backend.store(), batches).await;
            }
        })
    };
    let ask = async |snapshot: &dyn Snapshot, known_at| {
        let reads = groups.iter().map(|group| GroupRead { group: group.clone(), columns: vec![0] }).collect();
        let query = AsOf { reads, keys: vec!["a"].into(), times: vec![1_000i64].into(), known_at };
        let picks = snapshot.as_of(query).await.unwrap();
        picks.iter().map(|picks| picks.event_timestamps[0]).collect::<Vec<_>>()
    };
    while !writing.is_finished() {
        let snapshot = backend.store().snapshot(&groups).await.unwrap();
        let first = ask(&*snapshot, KnownAt::Snapshot).await;
        assert_eq!(first[0], first[1]);
        tokio::task::yield_now().await;
        assert_eq!(ask(&*snapshot, KnownAt::Snapshot).await, first);
        // Known at the settled time, a later snapshot gives the same.
        let later = backend.store().snapshot(&groups).await.unwrap();
        assert_eq!(ask(&*later, KnownAt::At(snapshot.settled_at())).await, first);
        let scan = Scan {
            group: groups[0].clone(),
            key: "a".into(),
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            after: None,
            limit: 1_000,
        };
        let rows = snapshot.scan(scan).await.unwrap();
        assert_eq!(rows.len() as i64, if first[0] < 0 { 0 } else { first[0] + 1 });
        assert!(
            rows.iter()
                .enumerate()
                .all(|(at, row)| cells(row, &groups[0]) == [Cell::Value(Value::Int64(at as i64))])
        );
    }
    writing.await.unwrap();
}
