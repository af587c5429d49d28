//! The history that the storage benchmarks share: 10 M rows of 5 doubles for 100 K entities, arriving in time order.
//!
//! Everything follows from the row's number by splitmix64, so that `peers/duckdb_asof.py` makes the same rows.

use arrow::{
    array::{Float64Array, StringArray},
    buffer::ScalarBuffer,
};
use larder::{
    feature::{Column, Dtype, EntityTypeId, RowId, RowSchema, TenantId, definition::ColumnSchema},
    store::{AsOf, Commit, GroupRead, KnownAt, RowBatch},
};
use std::{
    fmt::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub const ENTITIES: u64 = 100_000;
pub const COLUMNS: usize = 5;
pub const START_US: i64 = 1_700_000_000_000_000;
/// Between two rows.
pub const STEP_US: i64 = 100_000;

pub fn rows_total() -> u64 {
    std::env::var("LARDER_BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(10_000_000)
}

pub fn splitmix64(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

pub fn group() -> Arc<RowSchema> {
    let columns = (0..COLUMNS).map(|at| ColumnSchema { name: format!("f{at}@1"), dtype: Dtype::Float64 });
    Arc::new(RowSchema {
        id: RowId::from_stored(1),
        entity_type: EntityTypeId::from_stored(1),
        windowed: false,
        columns: columns.collect(),
    })
}

fn keys(entities: impl Iterator<Item = u64>) -> StringArray {
    let mut builder = arrow::array::StringBuilder::new();
    let mut text = String::new();
    for entity in entities {
        text.clear();
        write!(text, "user_{entity:06}").expect("writing to a String");
        builder.append_value(&text);
    }
    builder.finish()
}

/// The rows `from..to` of the history; `late` of every 1 000 come with an earlier time.
pub fn batch(group: &Arc<RowSchema>, rows: std::ops::Range<u64>, late: u64) -> RowBatch {
    let event = |row: u64| {
        let on_time = START_US + row as i64 * STEP_US;
        if splitmix64(row ^ (7 << 50)) % 1_000 < late { on_time - 3_600_000_000 } else { on_time }
    };
    let columns = (0..COLUMNS as u64).map(|column| {
        let value = |row: u64| (splitmix64(row * COLUMNS as u64 + column) >> 11) as f64 / (1u64 << 53) as f64;
        Column::given(Arc::new(Float64Array::from_iter_values(rows.clone().map(value))))
    });
    RowBatch {
        keys: keys(rows.clone().map(|row| splitmix64(row) % ENTITIES)),
        event_timestamps: rows.clone().map(event).collect(),
        sequences: (0..(rows.end - rows.start) as u32).collect(),
        columns: columns.collect(),
        group: group.clone(),
    }
}

pub fn commit(batch: RowBatch) -> Commit {
    Commit { tenant: TenantId::from_stored(1), batches: vec![batch], idempotency: None }
}

/// A spine of random entities at random moments.
pub fn spine(group: &Arc<RowSchema>, rows: u64) -> AsOf {
    let range = rows_total() as i64 * STEP_US;
    let times: ScalarBuffer<i64> =
        (0..rows).map(|row| START_US + (splitmix64(row + (1 << 41)) % range as u64) as i64).collect();
    AsOf {
        reads: vec![GroupRead { group: group.clone(), columns: (0..COLUMNS as u32).collect() }],
        keys: keys((0..rows).map(|row| splitmix64(row + (1 << 40)) % ENTITIES)),
        times,
        known_at: KnownAt::Snapshot,
    }
}

/// Where the files go: `LARDER_BENCH_DIR`, or the system's folder for temporary files.
pub fn directory() -> PathBuf {
    std::env::var_os("LARDER_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}

pub fn seconds<T>(body: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = body();
    (start.elapsed().as_secs_f64(), result)
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Anonymous memory of this process, in MiB.
pub fn anonymous_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: f64 = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(f64::NAN);
    kib / 1024.0
}

/// The greatest anonymous memory while `body` runs, in MiB above what it was before.
pub fn memory_added<T>(body: impl FnOnce() -> T) -> (f64, T) {
    let before = anonymous_mib();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = before;
            while !done.load(Ordering::Relaxed) {
                most = most.max(anonymous_mib());
                thread::sleep(Duration::from_millis(1));
            }
            most
        });
        let result = body();
        done.store(true, Ordering::Relaxed);
        (watch.join().expect("the watcher does not panic") - before, result)
    })
}

/// Bytes of all files below a directory, in MiB.
pub fn disk_mib(directory: &std::path::Path) -> f64 {
    let mut bytes = 0;
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => bytes += meta.len(),
                Err(_) => {}
            }
        }
    }
    bytes as f64 / 1_048_576.0
}
