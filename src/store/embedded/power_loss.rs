//! The power goes at any moment: what was written since the last sync is there in part, in any order, cut anywhere.
//!
//! One run records every write and sync of the engine's file and where in that log each commit was acknowledged. Then
//! for many moments the file is put together as a crash then could have left it, the store is opened on it, and everything
//! acknowledged by then must be there. Segments that the manifest does not name are cut, too. `LARDER_TEST_POWER_LOSSES`
//! sets how many moments (default 50).

use super::{EmbeddedStore, Options, engine::Engine, manifest::Manifest, medium::Medium};
use crate::{
    feature::{
        Cell, ColumnBuilder, Dtype, EntityTypeId, GroupId, GroupSchema, TenantId, Timestamp, Value,
        definition::ColumnSchema,
    },
    store::{Commit, Committed, DurableStore, RowBatch, Scan, StoredRow},
};
use redb::StorageBackend;
use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
};

const COMMITS: usize = 60;

#[derive(Clone, Debug)]
enum Operation {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

/// A file in memory that remembers how it came to be.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<(Vec<u8>, Vec<Operation>)>>);

impl Recorder {
    fn of(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new((image, Vec::new()))))
    }

    fn position(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().unwrap().0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let file = self.0.lock().unwrap();
        let from = offset as usize;
        let bytes = file.0.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut file = self.0.lock().unwrap();
        file.0.resize(len as usize, 0);
        file.1.push(Operation::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.lock().unwrap().1.push(Operation::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut file = self.0.lock().unwrap();
        file.0[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        file.1.push(Operation::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// The file after a crash when `log` had been done: all up to the last sync, and of the rest some, one of them cut.
fn crashed(log: &[Operation], random: &mut fastrand::Rng) -> Vec<u8> {
    let synced =
        log.iter().rposition(|operation| matches!(operation, Operation::Sync)).map_or(0, |at| at + 1);
    let mut file = Vec::new();
    for (at, operation) in log.iter().enumerate() {
        match operation {
            Operation::Length(len) => file.resize(*len as usize, 0),
            Operation::Write(offset, data) => {
                let len = match at >= synced {
                    false => data.len(),
                    true => [0, data.len(), random.usize(0..=data.len())][random.usize(0..3)],
                };
                file[*offset as usize..*offset as usize + len].copy_from_slice(&data[..len]);
            }
            Operation::Sync => {}
        }
    }
    file
}

fn schema() -> Arc<GroupSchema> {
    let columns = vec![ColumnSchema { name: "n@1".into(), dtype: Dtype::Int64 }];
    Arc::new(GroupSchema { id: GroupId(1), entity_type: EntityTypeId(1), windowed: false, columns })
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

fn open(file: Recorder, segments: &Path) -> EmbeddedStore {
    let options = Options {
        memtable_bytes_max: 3_000,
        segment_bytes_min: 4_000,
        // Nothing is merged, so that all segments ever written can be looked at.
        segment_bytes_max: 1,
        ..Options::default()
    };
    EmbeddedStore::start(
        Manifest::prepare(Engine::with_backend(file).unwrap()).unwrap(),
        Engine::in_memory().unwrap(),
        Medium::directory(segments).unwrap(),
        options,
    )
    .unwrap()
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
    let file = Recorder::default();
    let store = open(file.clone(), &segments);
    let begun = file.position();
    let mut acknowledged = Vec::new();
    for commit in 0..COMMITS {
        let request = Commit { tenant: TenantId(1), batches: vec![batch(commit)], idempotency: None };
        assert!(matches!(store.commit(request).await.unwrap(), Committed::Fresh(_)));
        acknowledged.push(file.position());
        if commit % 7 == 3 {
            store.flush().await.unwrap();
        }
    }
    let log = file.0.lock().unwrap().1.clone();
    let mut random = fastrand::Rng::with_seed(7);
    let crashes =
        std::env::var("LARDER_TEST_POWER_LOSSES").ok().and_then(|count| count.parse().ok()).unwrap_or(50);
    for crash in 0..crashes {
        let moment = random.usize(begun..=log.len());
        let image = crashed(&log[..moment], &mut random);
        let left = directory.path().join(format!("crash-{crash}"));
        copy_segments(&segments, &left, &image, &mut random);
        let store = open(Recorder::of(image), &left);
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
        let request = Commit { tenant: TenantId(1), batches: vec![batch(COMMITS)], idempotency: None };
        assert!(matches!(store.commit(request).await.unwrap(), Committed::Fresh(_)));
        drop(store);
        fs::remove_dir_all(left).unwrap();
    }
}

/// Named segments were synced before they were named; others are cut anywhere, or gone.
fn copy_segments(from: &Path, to: &Path, image: &[u8], random: &mut fastrand::Rng) {
    fs::create_dir_all(to).unwrap();
    let manifest = Manifest::prepare(Engine::with_backend(Recorder::of(image.to_vec())).unwrap()).unwrap();
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
