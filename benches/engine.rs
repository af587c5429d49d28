//! Writing to the embedded store: in bulk against the bare disk, and in small acknowledged commits.
//!
//! ```text
//! cargo bench --bench engine               # 10 M rows; LARDER_BENCH_ROWS makes it smaller
//! ```
//!
//! The bare disk writes as many bytes as ended up stored, in one file, in order, and syncs it; its runs and the store's
//! take turns. A bulk run lasts from the first row handed over to the acknowledgement of the last one.

#[path = "history/world.rs"]
#[expect(dead_code, reason = "the benchmark of reads uses the rest")]
mod world;

use futures_util::{StreamExt, stream};
use larder::store::{
    Commits, RowBatch,
    embedded::{EmbeddedStore, Options},
};
use std::{fs::File, io::Write, path::Path, time::Instant};
use world::{anonymous_mib, batch, commit, disk_mib, group, median, rows_total, seconds, splitmix64};

const COMMIT_ROWS: u64 = 250_000;
/// Commits under way at once, as a bulk load has them.
const UNDER_WAY: usize = 4;
const TURNS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let idle = idle_memory_and_start();
    println!("empty store: opened in {:.1} ms, {:.1} MiB of anonymous memory", idle.0, idle.1);
    println!(
        "\n| bulk load | rows/s | seconds | MiB stored | bare disk, seconds | share of the bare disk |\n|---|---|---|---|---|---|"
    );
    for (name, late) in [("in time order", 0), ("5 % an hour late", 50)] {
        let batches = runtime.block_on(batches(late));
        let (mut ours, mut bare, mut mib) = (Vec::new(), Vec::new(), 0.0);
        for _ in 0..TURNS {
            let directory = tempfile::tempdir_in(world::directory()).expect("a directory");
            ours.push(runtime.block_on(bulk(directory.path(), &batches)));
            mib = disk_mib(&directory.path().join("segments"));
            drop(directory);
            bare.push(bare_disk(mib));
        }
        let (ours, bare) = (median(&mut ours), median(&mut bare));
        let rows = rows_total() as f64;
        println!(
            "| {name} | {:.0} | {ours:.2} | {mib:.0} | {bare:.2} | {:.0} % |",
            rows / ours,
            bare / ours * 100.0
        );
    }
    println!("\n| acknowledged commits, one at a time | p50 ms | p99 ms |\n|---|---|---|");
    for (name, rows, commits) in [("1 row", 1, 2_000), ("1 000 rows of random entities", 1_000, 300)] {
        let mut times = runtime.block_on(small(rows, commits));
        times.sort_by(f64::total_cmp);
        println!(
            "| {name} | {:.2} | {:.2} |",
            times[times.len() / 2] * 1e3,
            times[times.len() * 99 / 100] * 1e3
        );
    }
    let (seconds, commits) = runtime.block_on(many_small());
    println!("\n{:.0} acknowledged commits/s of 1 row, 64 callers at once", commits / seconds);
}

fn idle_memory_and_start() -> (f64, f64) {
    let directory = tempfile::tempdir_in(world::directory()).expect("a directory");
    let before = anonymous_mib();
    let (seconds, store) =
        seconds(|| EmbeddedStore::open(directory.path(), Options::default()).expect("a store"));
    let added = anonymous_mib() - before;
    drop(store);
    (seconds * 1e3, added)
}

async fn batches(late: u64) -> Vec<RowBatch> {
    let (total, schema) = (rows_total(), group());
    let ranges = (0..total).step_by(COMMIT_ROWS as usize).map(|from| from..(from + COMMIT_ROWS).min(total));
    stream::iter(ranges)
        .map(|range| {
            let schema = schema.clone();
            async move { tokio::task::spawn_blocking(move || batch(&schema, range, late)).await.expect("rows") }
        })
        .buffered(2)
        .collect()
        .await
}

async fn bulk(directory: &Path, batches: &[RowBatch]) -> f64 {
    let store = EmbeddedStore::open(directory, Options::default()).expect("a store");
    let start = Instant::now();
    let commits = stream::iter(batches).map(|batch| store.commit(commit(batch.clone())));
    commits.buffered(UNDER_WAY).for_each(|committed| async { drop(committed.expect("acknowledged")) }).await;
    start.elapsed().as_secs_f64()
}

fn bare_disk(mib: f64) -> f64 {
    let directory = tempfile::tempdir_in(world::directory()).expect("a directory");
    let chunk: Vec<u8> = (0..1u64 << 17).flat_map(|n| splitmix64(n).to_le_bytes()).collect();
    let (seconds, ()) = seconds(|| {
        let mut file = File::create(directory.path().join("bare")).expect("a file");
        (0..mib as usize).for_each(|_| file.write_all(&chunk).expect("written"));
        file.sync_all().expect("synced");
    });
    seconds
}

async fn small(rows: u64, commits: u64) -> Vec<f64> {
    let directory = tempfile::tempdir_in(world::directory()).expect("a directory");
    let store = EmbeddedStore::open(directory.path(), Options::default()).expect("a store");
    let schema = group();
    let mut times = Vec::new();
    for number in 0..commits {
        let rows = batch(&schema, number * rows..(number + 1) * rows, 0);
        let start = Instant::now();
        store.commit(commit(rows)).await.expect("acknowledged");
        times.push(start.elapsed().as_secs_f64());
    }
    times
}

async fn many_small() -> (f64, f64) {
    const COMMITS: u64 = 20_000;
    let directory = tempfile::tempdir_in(world::directory()).expect("a directory");
    let store = EmbeddedStore::open(directory.path(), Options::default()).expect("a store");
    let schema = group();
    let start = Instant::now();
    let commits =
        stream::iter(0..COMMITS).map(|number| store.commit(commit(batch(&schema, number..number + 1, 0))));
    commits.buffer_unordered(64).for_each(|committed| async { drop(committed.expect("acknowledged")) }).await;
    (start.elapsed().as_secs_f64(), COMMITS as f64)
}
