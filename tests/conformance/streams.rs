//! What readers of the event log keep.

use super::{
    Backend, TestTime,
    rows::{USER, cells, windowed_group},
};
use crate::support::log::{append, partitions};
use larder::{
    feature::{Cell, ColumnBuilder, Dtype, Duration, RowId, RowSchema, TenantId, Timestamp, Value},
    store::{
        DurableStore, LatestRead, LatestReads, Scan, StoreError, Views,
        log::{EventSink, EventSource, NewRecord, Payload, RecordId, partition_of},
        readers::{
            Created, DeadLetter, LateEvent, Progress, Purpose, ReaderId, ReaderState, ReaderSummary, Save,
            SideQuery, StateSize, StreamCommit, StreamRows,
        },
    },
    window::{Ledger, MissedWindows, WindowRows},
};
use std::sync::Arc;

/// A row as a stream brings it: key, event timestamp, created, sequence, value.
pub type LoggedRow = (String, i64, i64, u64, i64);

pub fn live(partition: u32) -> ReaderId {
    ReaderId { partition, purpose: Purpose::Live }
}

pub fn backfill(partition: u32, group: u64) -> ReaderId {
    ReaderId { partition, purpose: Purpose::Backfill(RowId::from_stored(group)) }
}

/// Appends so many records to a partition: nobody reads further than the log goes.
async fn append_to(store: &(impl EventSink + EventSource), partition: u32, count: usize) {
    let partitions = partitions(store).await;
    let mut keys = (0u8..).map(|key| vec![key]);
    let key = keys.find(|key| partition_of(key, partitions) == partition).unwrap();
    let record = NewRecord {
        tenant: TenantId::from_stored(1),
        key: key.into(),
        event_timestamp: Timestamp::from_stored(0),
        payload: Payload::Json("{}".into()),
    };
    append(store, vec![record; count]).await;
}

/// A commit of nothing but where a reader stands.
pub fn progress(reader: ReaderId, epoch: u64, next_offset: u64) -> StreamCommit {
    let ledger = Ledger { counted: next_offset, ..Ledger::default() };
    let state = StateSize { entities: 1, panes: 2, bytes: next_offset };
    let summary = ReaderSummary {
        groups: vec![(TenantId::from_stored(1), RowId::from_stored(1))],
        joins_at: None,
        ledger,
        state,
    };
    StreamCommit {
        epoch,
        state: ReaderState { next_offset, summary, ..ReaderState::new(reader) },
        save: None,
        drop_saves: Vec::new(),
        rows: Vec::new(),
        created: Created::AsLogged,
        late: Vec::new(),
        dead: Vec::new(),
        opens: Vec::new(),
    }
}

/// Takes the live reader over and commits that it has come to an offset.
pub async fn commit_progress(store: &(impl Progress + EventSource), partition: u32, next_offset: u64) {
    let epoch = store.claim(live(partition)).await.unwrap().epoch;
    store.commit_stream(progress(live(partition), epoch, next_offset)).await.unwrap();
    store.committed(partition, next_offset);
    store.promises().unwrap().settled(partition, next_offset);
}

/// Rows of a group with one integer column, as an aggregator emits them.
pub fn stream_rows(group: &Arc<RowSchema>, rows: &[LoggedRow]) -> StreamRows {
    let mut values = ColumnBuilder::new(Dtype::Int64, rows.len());
    rows.iter().for_each(|row| values.push(&Cell::Value(Value::Int64(row.4))));
    StreamRows {
        rows: WindowRows {
            tenant: TenantId::from_stored(1),
            group: group.id,
            keys: rows.iter().map(|row| Some(&row.0)).collect(),
            event_timestamps: rows.iter().map(|row| row.1).collect(),
            created: rows.iter().map(|row| row.2).collect(),
            sequences: rows.iter().map(|row| row.3).collect(),
            columns: vec![values.finish()],
        },
        group: group.clone(),
    }
}

/// All rows of a key as they are stored.
pub async fn scan(store: &impl DurableStore, group: &Arc<RowSchema>, key: &str) -> Vec<LoggedRow> {
    let scan = Scan {
        group: group.clone(),
        key: key.into(),
        from: Timestamp::MIN,
        to: Timestamp::MAX,
        after: None,
        limit: usize::MAX,
    };
    let rows = store.snapshot(std::slice::from_ref(group)).await.unwrap().scan(scan).await.unwrap();
    rows.iter()
        .map(|row| {
            let [Cell::Value(Value::Int64(value))] = cells(row, group)[..] else { panic!("one integer") };
            (key.to_owned(), row.event_timestamp.micros(), row.created.micros(), row.sequence, value)
        })
        .collect()
}

fn late(tenant: u64, partition: u32, offset: u64) -> LateEvent {
    LateEvent {
        tenant: TenantId::from_stored(tenant),
        place: RecordId { partition, offset },
        log_time: Timestamp::from_stored(offset as i64),
        entity_type: Some("user".into()),
        entity_id: format!("user_{}", offset % 3),
        event_type: if offset.is_multiple_of(2) { "even" } else { "odd" }.into(),
        event_timestamp: Timestamp::from_stored(1),
        event_id: None,
        late: true,
        missed: vec![MissedWindows {
            group: RowId::from_stored(1),
            first: Timestamp::from_stored(60),
            last: Timestamp::from_stored(180),
            slide: Duration::from_micros(60).unwrap(),
        }],
    }
}

fn dead(tenant: u64, partition: u32, offset: u64) -> DeadLetter {
    DeadLetter {
        tenant: TenantId::from_stored(tenant),
        place: RecordId { partition, offset },
        log_time: Timestamp::from_stored(offset as i64),
        reason: "no JSON".into(),
        record: vec![7; 100],
    }
}

fn side_query(tenant: u64, after: Option<RecordId>, limit: usize) -> SideQuery {
    SideQuery {
        tenant: TenantId::from_stored(tenant),
        after,
        limit,
        event_type: String::new(),
        entity_id: String::new(),
    }
}

fn save(number: u64) -> Save {
    Save { number, bytes: vec![number as u8; 300] }
}

/// Rows, state, saves, late events and dead letters come together and stay; a zombie writes nothing.
pub async fn commits_are_whole<B: Backend>() {
    let time = TestTime::default();
    time.set(1_000);
    let mut backend = B::start(time.clone(), None).await;
    append_to(backend.store(), 1, 10).await;
    let group = windowed_group(1);
    let claim = backend.store().claim(live(1)).await.unwrap();
    assert_eq!((claim.state, claim.saves), (None, Vec::new()));
    assert_eq!(backend.store().readers().await.unwrap(), []);
    let zombie = claim.epoch;
    let row = |event: i64, created: i64, sequence: u64| ("a".to_owned(), event, created, sequence, event);
    let opened = ReaderState { done: false, ..progress(backfill(1, 9), 0, 0).state };
    let first = StreamCommit {
        rows: vec![
            stream_rows(&group, &[row(60, 700, 5), row(120, 700, 5)]),
            stream_rows(&group, &[row(60, 500, 3)]),
        ],
        save: Some(save(1)),
        late: vec![late(1, 1, 4)],
        dead: vec![dead(1, 1, 2), dead(2, 1, 3)],
        opens: vec![(opened.clone(), save(7))],
        ..progress(live(1), zombie, 6)
    };
    backend.store().commit_stream(first).await.unwrap();
    let rows = vec![row(60, 500, 3), row(60, 700, 5), row(120, 700, 5)];
    for disturb in 0..4 {
        let store = backend.store();
        assert_eq!(scan(store, &group, "a").await, rows);
        assert_eq!(store.late_events(side_query(1, None, 9)).await.unwrap(), [late(1, 1, 4)]);
        assert_eq!(store.dead_letters(side_query(1, None, 9)).await.unwrap(), [dead(1, 1, 2)]);
        assert_eq!(store.dead_letters(side_query(2, None, 9)).await.unwrap(), [dead(2, 1, 3)]);
        assert_eq!(store.readers().await.unwrap(), [progress(live(1), 0, 6).state, opened.clone()]);
        backend.disturb(disturb).await;
    }
    let store = backend.store();
    let claim = store.claim(live(1)).await.unwrap();
    assert!(claim.epoch > zombie);
    assert_eq!((claim.state.unwrap().next_offset, claim.saves), (6, vec![save(1)]));
    assert_eq!(store.claim(backfill(1, 9)).await.unwrap().saves, [save(7)]);
    for epoch in [zombie, claim.epoch + 1, 0] {
        let late = StreamCommit {
            rows: vec![stream_rows(&group, &[row(180, 800, 8)])],
            save: Some(save(2)),
            drop_saves: vec![1],
            late: vec![late(1, 1, 8)],
            ..progress(live(1), epoch, 9)
        };
        assert!(matches!(store.commit_stream(late).await, Err(StoreError::Fenced(_))));
        let noted = store.note_stalled(live(1), epoch, "not ours").await;
        assert!(matches!(noted, Err(StoreError::Fenced(_))));
    }
    assert_eq!(scan(store, &group, "a").await, rows);
    assert_eq!(store.late_events(side_query(1, None, 9)).await.unwrap().len(), 1);
    for number in 2..5 {
        let commit = StreamCommit {
            save: Some(save(number)),
            drop_saves: vec![number - 2],
            ..progress(live(1), claim.epoch, 6 + number)
        };
        store.commit_stream(commit).await.unwrap();
    }
    backend.restart().await;
    let claim = backend.store().claim(live(1)).await.unwrap();
    assert_eq!((claim.state.unwrap().next_offset, claim.saves), (10, vec![save(3), save(4)]));
}

/// Whoever shares the store sees why a reader cannot go on, until it commits again.
pub async fn stalls_are_noted<B: Backend>() {
    let mut backend = B::start(TestTime::default(), None).await;
    append_to(backend.store(), 0, 5).await;
    let epoch = backend.store().claim(live(0)).await.unwrap().epoch;
    for next_offset in [0, 3] {
        if next_offset > 0 {
            backend.store().commit_stream(progress(live(0), epoch, next_offset)).await.unwrap();
        }
        let before = match next_offset {
            0 => ReaderState::new(live(0)),
            _ => progress(live(0), epoch, next_offset).state,
        };
        backend.store().note_stalled(live(0), epoch, "it is full").await.unwrap();
        let stalled = ReaderState { stalled: Some("it is full".into()), ..before };
        assert_eq!(backend.store().readers().await.unwrap(), [stalled]);
    }
    backend.store().commit_stream(progress(live(0), epoch, 4)).await.unwrap();
    backend.restart().await;
    assert_eq!(backend.store().readers().await.unwrap(), [progress(live(0), epoch, 4).state]);
}

/// The rows of a large commit become a segment, those of a small one do not: both keep what orders them.
pub async fn large_and_small_commits_agree<B: Backend>() {
    let mut backend = B::start(TestTime::default(), None).await;
    append_to(backend.store(), 0, 6).await;
    let group = windowed_group(1);
    let epoch = backend.store().claim(live(0)).await.unwrap().epoch;
    let mut expected = Vec::new();
    for commit in 0..6u64 {
        let count = if commit % 2 == 0 { 3 } else { 300 };
        // Newest first, so that all of it has to be sorted.
        let rows: Vec<LoggedRow> = (0..count)
            .rev()
            .map(|row: i64| {
                let (event, created) = (row % 7, 100 * commit as i64 + row / 7);
                ("a".to_owned(), event, created, (row / 14) as u64, row)
            })
            .collect();
        let rows: Vec<LoggedRow> =
            rows.into_iter().enumerate().map(|(at, row)| (row.0, row.1, row.2, at as u64, row.4)).collect();
        expected.extend(rows.clone());
        let commit =
            StreamCommit { rows: vec![stream_rows(&group, &rows)], ..progress(live(0), epoch, commit) };
        backend.store().commit_stream(commit).await.unwrap();
    }
    expected.sort();
    for disturb in 0..4 {
        assert_eq!(scan(backend.store(), &group, "a").await, expected);
        let read = LatestRead { entity_type: USER, groups: std::slice::from_ref(&group), keys: &["a"] };
        let latest = backend.store().latest(read).await.unwrap().remove(0);
        let last = expected.last().unwrap();
        let row = latest.row(group.id, 0).unwrap();
        assert_eq!(
            (row.event_timestamp.micros(), row.created.micros(), row.sequence),
            (last.1, last.2, last.3)
        );
        backend.disturb(disturb).await;
    }
}

/// Backfilled rows are learned when they are committed, after anything that was stated before.
pub async fn backfilled_rows_are_learned_at_their_commit<B: Backend>() {
    let time = TestTime::default();
    time.set(5_000);
    let backend = B::start(time.clone(), None).await;
    let (store, group) = (backend.store(), windowed_group(1));
    let epoch = store.claim(backfill(2, 1)).await.unwrap().epoch;
    for (round, count) in [2u64, 400].into_iter().enumerate() {
        time.set(time.get() + 1_000);
        let settled = store.snapshot(std::slice::from_ref(&group)).await.unwrap().settled_at().micros();
        time.set(0);
        let key = format!("{round}");
        let rows: Vec<LoggedRow> = (0..count).map(|row| (key.clone(), 9, 70, row, row as i64)).collect();
        let commit = StreamCommit {
            rows: vec![stream_rows(&group, &rows)],
            created: Created::AtCommit,
            ..progress(backfill(2, 1), epoch, 0)
        };
        store.commit_stream(commit).await.unwrap();
        let stored = scan(store, &group, &key).await;
        let created = stored[0].2;
        assert!(created > settled, "{created} after {settled}");
        let expected: Vec<LoggedRow> =
            rows.into_iter().map(|row| (row.0, row.1, created, row.3, row.4)).collect();
        assert_eq!(stored, expected);
    }
}

/// Pages of side tables are whole and in order, however they were committed and by whom.
pub async fn pages_of_side_tables<B: Backend>() {
    let mut backend = B::start(TestTime::default(), None).await;
    let mut expected = Vec::new();
    let readers = [live(0), live(2), backfill(0, 4)];
    for (number, reader) in readers.into_iter().enumerate() {
        append_to(backend.store(), reader.partition, 308).await;
        let epoch = backend.store().claim(reader).await.unwrap().epoch;
        let mut next = 0u64;
        for count in [1u64, 5, 300, 0, 2] {
            let offsets = (next..next + count).map(|at| at * 3 + number as u64);
            next += count;
            let late: Vec<LateEvent> = offsets
                .clone()
                .flat_map(|offset| [late(1, reader.partition, offset), late(2, reader.partition, offset)])
                .collect();
            let dead = offsets.map(|offset| dead(1, reader.partition, offset)).collect();
            expected.extend(late.iter().filter(|late| late.tenant.get() == 1).cloned());
            let commit = StreamCommit { late, dead, ..progress(reader, epoch, next) };
            backend.store().commit_stream(commit).await.unwrap();
        }
    }
    expected.sort_by_key(|late| late.place);
    backend.restart().await;
    let store = backend.store();
    for limit in [7, 256, 5_000] {
        let query = |after| side_query(1, after, limit);
        let (mut late, mut dead): (Vec<LateEvent>, Vec<DeadLetter>) = Default::default();
        loop {
            let page = store.late_events(query(late.last().map(|late| late.place))).await.unwrap();
            let letters = store.dead_letters(query(dead.last().map(|dead| dead.place))).await.unwrap();
            assert!(page.len() <= limit && page.len() == letters.len());
            if page.is_empty() {
                break;
            }
            late.extend(page);
            dead.extend(letters);
        }
        assert_eq!(late, expected);
        assert!(late.iter().map(|late| late.place).eq(dead.iter().map(|dead| dead.place)));
    }
    for (event_type, entity_id) in [("odd", ""), ("", "user_1"), ("even", "user_2"), ("none", "")] {
        let asked = |late: &&LateEvent| {
            (event_type.is_empty() || late.event_type == event_type)
                && (entity_id.is_empty() || late.entity_id == entity_id)
        };
        let query = SideQuery {
            event_type: event_type.into(),
            entity_id: entity_id.into(),
            ..side_query(1, Some(RecordId { partition: 0, offset: 100 }), 50)
        };
        let after = expected.iter().filter(|late| late.place > query.after.unwrap());
        let page = store.late_events(query.clone()).await.unwrap();
        assert!(page.iter().eq(after.filter(asked).take(50)), "{event_type} {entity_id}");
    }
}

/// Late events and dead letters leave when events do.
pub async fn old_side_records_leave<B: Backend>() {
    const DAY: i64 = 24 * 3_600 * 1_000_000;
    let time = TestTime::default();
    let mut backend = B::start(time.clone(), None).await;
    let epoch = backend.store().claim(live(0)).await.unwrap().epoch;
    for day in 0..10i64 {
        let log_time = Timestamp::from_stored(day * DAY);
        let late = LateEvent { log_time, ..late(1, 0, day as u64) };
        let dead = DeadLetter { log_time, ..dead(3, 0, day as u64) };
        let commit =
            StreamCommit { late: vec![late], dead: vec![dead], ..progress(live(0), epoch, day as u64 + 1) };
        backend.store().commit_stream(commit).await.unwrap();
    }
    time.set(10 * DAY);
    backend.disturb(1).await;
    let late = backend.store().late_events(side_query(1, None, 100)).await.unwrap();
    let dead = backend.store().dead_letters(side_query(3, None, 100)).await.unwrap();
    assert_eq!(late.iter().map(|late| late.place.offset).collect::<Vec<_>>(), (3..10).collect::<Vec<_>>());
    assert_eq!(dead.iter().map(|dead| dead.place.offset).collect::<Vec<_>>(), (3..10).collect::<Vec<_>>());
}
