//! The power goes at any moment: what was written since the last sync is there in part, in any order, cut anywhere.
//!
//! One run records every write and sync of the engines' files and of their names, and where in that journal each commit was
//! acknowledged. Then for many moments the files are put together as a crash then could have left them, the store is opened
//! on them, and everything acknowledged by then must be there. Volumes of the log are small, so that many begin. Segments that the manifest does not name are cut, too.
//! `LARDER_TEST_POWER_LOSSES` sets how many moments (default 50).

use self::recorder::{Image, Recorder, crashed};
use super::{EmbeddedStore, Options, engine::Engine, manifest::Manifest, medium::Medium};
use crate::{
    feature::{
        Cell, ColumnBuilder, Dtype, EntityTypeId, RowId, RowSchema, TenantId, Timestamp, Value,
        definition::ColumnSchema,
    },
    store::{
        Commit, Commits, Committed, RowBatch, Scan, StoredRow, Views,
        log::{Appended, Body, EventSink, EventSource, NewRecord, Payload, Record, RecordId, TenantRef},
        readers::{
            Created, DeadLetter, Progress, Purpose, ReaderId, ReaderState, Save, SideQuery, StreamCommit,
            StreamRows,
        },
    },
    window::WindowRows,
};
use std::{fs, path::Path, sync::Arc, time::Duration};

pub mod recorder;

const COMMITS: usize = 60;

fn schema() -> Arc<RowSchema> {
    let columns = vec![ColumnSchema { name: "n@1".into(), dtype: Dtype::Int64 }];
    Arc::new(RowSchema {
        id: RowId::from_stored(1),
        entity_type: EntityTypeId::from_stored(1),
        windowed: false,
        columns,
    })
}

/// The rows of one commit: a few of one entity, or so many that they become a segment.
fn rows(commit: usize) -> usize {
    if commit % 9 == 8 { 300 } else { 1 + commit % 4 }
}

fn batch(commit: usize) -> RowBatch {
    let rows = rows(commit);
    let mut values = ColumnBuilder::new(Dtype::Int64, rows);
    (0..rows).for_each(|row| values.push(&Cell::Value(Value::Int64((commit * 1_000 + row) as i64))));
    RowBatch {
        group: schema(),
        keys: vec!["entity"; rows].into(),
        event_timestamps: (0..rows).map(|row| (commit * 1_000 + row) as i64).collect(),
        sequences: (0..rows as u32).collect(),
        columns: vec![values.finish()],
    }
}

fn open(files: &Recorder, segments: &Path) -> EmbeddedStore {
    let options = Options {
        memtable_bytes_max: 3_000,
        segment_bytes_min: 4_000,
        // Nothing is merged, so that all segments ever written can be looked at.
        segment_bytes_max: 1,
        event_volume_bytes_max: 4_000,
        ..Options::default()
    };
    let manifest = Manifest::prepare(Engine::with_backend(files.store()).unwrap()).unwrap();
    let medium = Medium::directory(segments, &segments.with_extension("lost")).unwrap();
    EmbeddedStore::start(manifest, Box::new(files.clone()), medium, None, options).unwrap()
}

fn crashes() -> usize {
    std::env::var("LARDER_TEST_POWER_LOSSES").ok().and_then(|count| count.parse().ok()).unwrap_or(50)
}

async fn read(store: &EmbeddedStore) -> Vec<StoredRow> {
    let scan = Scan {
        group: schema(),
        key: "entity".into(),
        from: Timestamp::MIN,
        to: Timestamp::MAX,
        after: None,
        limit: usize::MAX,
    };
    store.snapshot(&[schema()]).await.unwrap().scan(scan).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_acknowledged_survives_a_power_loss_at_any_byte() {
    let directory = tempfile::tempdir().unwrap();
    let segments = directory.path().join("segments");
    let files = Recorder::default();
    let store = open(&files, &segments);
    let begun = files.position();
    let mut acknowledged = Vec::new();
    for commit in 0..COMMITS {
        let request =
            Commit { tenant: TenantId::from_stored(1), batches: vec![batch(commit)], idempotency: None };
        assert!(matches!(store.commit(request).await.unwrap(), Committed::Fresh(_)));
        acknowledged.push(files.position());
        if commit % 7 == 3 {
            store.flush().await.unwrap();
        }
    }
    let log = files.journal();
    let mut random = fastrand::Rng::with_seed(7);
    for crash in 0..crashes() {
        let moment = random.usize(begun..=log.len());
        let image = crashed(&log[..moment], &mut random);
        let left = directory.path().join(format!("crash-{crash}"));
        copy_segments(&segments, &left, &image, &mut random);
        let files = Recorder::of(image);
        let store = open(&files, &left);
        let found = read(&store).await;
        let certain: usize = acknowledged.iter().filter(|at| **at <= moment).count();
        // Whole commits in their order, at least those acknowledged.
        let mut expected = Vec::new();
        let mut commits = 0;
        while commits < certain || expected.len() < found.len() {
            expected.extend((0..rows(commits)).map(|row| (commits * 1_000 + row) as i64));
            commits += 1;
        }
        let found: Vec<i64> = found.iter().map(|row| row.event_timestamp.micros()).collect();
        assert_eq!(
            found,
            expected,
            "crash {crash} at operation {moment} of {}, {certain} acknowledged",
            log.len()
        );
        // And it goes on.
        let request =
            Commit { tenant: TenantId::from_stored(1), batches: vec![batch(COMMITS)], idempotency: None };
        assert!(matches!(store.commit(request).await.unwrap(), Committed::Fresh(_)));
        drop(store);
        fs::remove_dir_all(left).unwrap();
    }
}

/// Where a reader of the log and its writers stood when all of it was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    moment: usize,
    appended: u64,
    committed: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn events_and_what_readers_keep_survive_a_power_loss_at_any_byte() {
    let directory = tempfile::tempdir().unwrap();
    let segments = directory.path().join("segments");
    let files = Recorder::default();
    let store = open(&files, &segments);
    let epoch = store.claim(LIVE).await.unwrap().epoch;
    let begun = Acknowledged { moment: files.position(), appended: 0, committed: 0 };
    let mut acknowledged = vec![begun];
    let (mut ends, mut nexts) = (vec![0], vec![0]);
    for step in 0..COMMITS as u64 {
        let Acknowledged { mut appended, mut committed, .. } = acknowledged[acknowledged.len() - 1];
        // Two at once, so that transactions hold more than one append.
        let counts = [1 + step % 4, if step % 9 == 8 { 900 } else { 2 }];
        let appends = [events(appended, counts[0]), events(appended + counts[0], counts[1])];
        let [first, second] = appends.map(|records| append(&store, records));
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first[0].offset, second[0].offset), (appended, appended + counts[0]));
        ends.extend([appended + counts[0], appended + counts[0] + counts[1]]);
        appended += counts[0] + counts[1];
        let acknowledge =
            |appended, committed| Acknowledged { moment: files.position(), appended, committed };
        acknowledged.push(acknowledge(appended, committed));
        if step % 3 == 1 {
            let read = records(&store, committed).await;
            committed = read.last().unwrap().offset + 1;
            store.commit_stream(stream_commit(epoch, &read)).await.unwrap();
            nexts.push(committed);
            acknowledged.push(acknowledge(appended, committed));
        }
        if step % 7 == 3 {
            store.flush().await.unwrap();
        }
    }
    let journal = files.journal();
    let mut random = fastrand::Rng::with_seed(7);
    for crash in 0..crashes() {
        let moment = random.usize(begun.moment..=journal.len());
        let image = crashed(&journal[..moment], &mut random);
        let left = directory.path().join(format!("crash-{crash}"));
        copy_segments(&segments, &left, &image, &mut random);
        let files = Recorder::of(image);
        let store = open(&files, &left);
        let certain = acknowledged.iter().rfind(|stand| stand.moment <= moment).unwrap();
        let what = format!("crash {crash} at operation {moment} of {}, {certain:?}", journal.len());

        // Only the newest volume can need repair; one more is read where the reader stands.
        assert!(files.opened().len() <= 2, "{:?}: {what}", files.opened());

        // Whole appends in their order, at least those acknowledged.
        let end = store.extent(0).await.unwrap().end;
        assert!(end >= certain.appended && ends.contains(&end), "{end}: {what}");
        let read = records(&store, 0).await;
        assert_eq!(read.len() as u64, end, "{what}");
        for (record, expected) in read.iter().zip(events(0, end)) {
            assert_eq!(
                record.body,
                Body::Event { tenant: TenantRef::Id(TenantId::from_stored(1)), payload: expected.payload },
                "{what}"
            );
        }

        // The reader stands after a commit of its own, with exactly what belongs to that.
        let claim = store.claim(LIVE).await.unwrap();
        let next = claim.state.map_or(0, |state| state.next_offset);
        assert!(next >= certain.committed && next <= end && nexts.contains(&next), "{next}: {what}");
        let rows = self::read(&store).await;
        let found: Vec<(i64, i64, u64)> = rows
            .iter()
            .map(|row| (row.event_timestamp.micros(), row.created.micros(), row.sequence))
            .collect();
        let of_reader = &read[..next as usize];
        let expected: Vec<(i64, i64, u64)> = of_reader
            .iter()
            .map(|record| (record.offset as i64, record.log_time.micros(), record.offset))
            .collect();
        assert_eq!(found, expected, "{what}");
        let saves: Vec<u64> = claim.saves.iter().map(|save| save.number).collect();
        assert_eq!(saves, if next == 0 { vec![] } else { vec![next] }, "{what}");
        let query = SideQuery {
            tenant: TenantId::from_stored(1),
            after: None,
            limit: usize::MAX,
            event_type: String::new(),
            entity_id: String::new(),
        };
        let dead = store.dead_letters(query).await.unwrap();
        assert!(dead.iter().map(|dead| dead.place.offset).eq((0..next).step_by(5)), "{what}");

        // And it goes on.
        let place = append(&store, events(end, 1)).await[0];
        assert_eq!(place.offset, end, "{what}");
        let read = records(&store, next).await;
        assert!(read.is_sorted_by_key(|record| record.log_time), "{what}");
        store.commit_stream(stream_commit(claim.epoch, &read)).await.unwrap();
        drop(store);
        fs::remove_dir_all(left).unwrap();
    }
}

async fn append(store: &EmbeddedStore, records: Vec<NewRecord>) -> Vec<RecordId> {
    let room = store.room(0).await.unwrap();
    match store.append(room, records).await.unwrap() {
        Appended::All(ids) => ids,
        Appended::Part(results) => panic!("appends are atomic: {results:?}"),
    }
}

async fn records(store: &EmbeddedStore, from: u64) -> Vec<Record> {
    let mut reader = store.reader(0).await.unwrap();
    reader.seek(from).await.unwrap();
    reader.read(usize::MAX, Duration::ZERO).await.unwrap().records
}

const LIVE: ReaderId = ReaderId { partition: 0, purpose: Purpose::Live };

fn events(from: u64, count: u64) -> Vec<NewRecord> {
    let event = |offset: u64| NewRecord {
        tenant: TenantId::from_stored(1),
        key: "entity".into(),
        event_timestamp: Timestamp::from_stored(offset as i64),
        payload: Payload::Json(format!("{{\"offset\":{offset},\"filler\":\"{:0100}\"}}", 0).into()),
    };
    (from..from + count).map(event).collect()
}

/// A row for each record, a dead letter for every fifth, and a save that replaces all others.
fn stream_commit(epoch: u64, records: &[Record]) -> StreamCommit {
    let mut values = ColumnBuilder::new(Dtype::Int64, records.len());
    records.iter().for_each(|record| values.push(&Cell::Value(Value::Int64(record.offset as i64))));
    let rows = WindowRows {
        tenant: TenantId::from_stored(1),
        group: schema().id,
        keys: vec!["entity"; records.len()].into(),
        event_timestamps: records.iter().map(|record| record.offset as i64).collect(),
        created: records.iter().map(|record| record.log_time.micros()).collect(),
        sequences: records.iter().map(|record| record.offset).collect(),
        columns: vec![values.finish()],
    };
    let dead = records.iter().filter(|record| record.offset.is_multiple_of(5)).map(|record| DeadLetter {
        tenant: TenantId::from_stored(1),
        place: RecordId { partition: 0, offset: record.offset },
        log_time: record.log_time,
        reason: "for the test".into(),
        record: Vec::new(),
    });
    let last = records.last().unwrap();
    let next_offset = last.offset + 1;
    StreamCommit {
        epoch,
        state: ReaderState { next_offset, log_time: Some(last.log_time), ..ReaderState::new(LIVE) },
        save: Some(Save { number: next_offset, bytes: vec![7; 5_000] }),
        drop_saves: (0..next_offset).collect(),
        rows: vec![StreamRows { group: schema(), rows }],
        created: Created::AsLogged,
        late: Vec::new(),
        dead: dead.collect(),
        opens: Vec::new(),
    }
}

/// Named segments were synced before they were named; others are cut anywhere, or gone.
fn copy_segments(from: &Path, to: &Path, image: &Image, random: &mut fastrand::Rng) {
    fs::create_dir_all(to).unwrap();
    let store = Recorder::of(image.clone()).store();
    let manifest = Manifest::prepare(Engine::with_backend(store).unwrap()).unwrap();
    let named: Vec<String> =
        manifest.recover().unwrap().segments.iter().map(|meta| format!("{:012}.arrow", meta.id)).collect();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let mut bytes = fs::read(entry.path()).unwrap();
        if !named.contains(&name) {
            bytes.truncate(random.usize(0..=bytes.len()));
        }
        fs::write(to.join(name), bytes).unwrap();
    }
}
