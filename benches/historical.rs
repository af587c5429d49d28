//! Training sets from the embedded store, beside DuckDB's ASOF JOIN on the same rows.
//!
//! ```text
//! cargo bench --bench historical            # 10 M rows of history; LARDER_BENCH_ROWS makes it smaller
//! ```
//!
//! Prints a table of medians. DuckDB runs in a process of its own (`peers/duckdb_asof.py`, needs the Python packages
//! duckdb, numpy and pyarrow) on as many threads, with its result fetched as Arrow; without it its lines are left out.

#[path = "history/world.rs"]
mod world;

use larder::store::{
    AsOf, Commits, Snapshot, Views,
    embedded::{EmbeddedStore, Options},
};
use std::{fs::File, path::Path, process::Command, sync::Arc};
use world::{batch, commit, disk_mib, group, median, memory_added, rows_total, seconds, spine};

const COMMIT_ROWS: u64 = 500_000;
const TURNS: usize = 7;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let directory = tempfile::tempdir_in(world::directory()).expect("a directory");
    let schema = group();
    {
        let store = EmbeddedStore::open(directory.path(), Options::default()).expect("a store");
        let total = rows_total();
        for from in (0..total).step_by(COMMIT_ROWS as usize) {
            let rows = batch(&schema, from..(from + COMMIT_ROWS).min(total), 0);
            store.commit(commit(rows)).await.expect("rows are written");
        }
        if std::env::var_os("LARDER_BENCH_COMPACT").is_some() {
            store.compact().await.expect("compacted");
        }
    }
    let (open, store) =
        seconds(|| EmbeddedStore::open(directory.path(), Options::default()).expect("a store"));
    println!(
        "history: {} rows, {:.0} MiB on disk, opened in {:.1} ms",
        rows_total(),
        disk_mib(directory.path()),
        open * 1e3
    );
    let snapshot = store.snapshot(std::slice::from_ref(&schema)).await.expect("a snapshot");
    println!("\n| spine | cold ms | warm ms | MiB added |\n|---|---|---|---|");
    let mut warm = Vec::new();
    for rows in [10_000, 1_000_000] {
        drop_page_cache(directory.path());
        let query = spine(&schema, rows);
        let cold = timed(&snapshot, &query).await;
        let (added, mut times) = {
            let handle = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| {
                memory_added(|| {
                    handle.block_on(async {
                        let mut times = Vec::new();
                        for _ in 0..TURNS {
                            times.push(timed(&snapshot, &query).await);
                        }
                        times
                    })
                })
            })
        };
        let median = median(&mut times);
        println!("| {rows} | {:.1} | {:.1} | {added:.0} |", cold * 1e3, median * 1e3);
        warm.push((rows, median));
    }
    duckdb(&warm);
}

async fn timed(snapshot: &Arc<dyn Snapshot>, query: &AsOf) -> f64 {
    let query = query.clone();
    let start = std::time::Instant::now();
    let picks = snapshot.as_of(query).await.expect("an answer");
    std::hint::black_box(&picks);
    start.elapsed().as_secs_f64()
}

/// Asks the kernel to forget the files, by the dd of coreutils (`posix_fadvise`).
fn drop_page_cache(directory: &Path) {
    let segments = std::fs::read_dir(directory.join("segments")).into_iter().flatten().flatten();
    for path in segments.map(|entry| entry.path()) {
        if let Ok(file) = File::open(&path) {
            let _ = file.sync_all();
        }
        let mut forget = Command::new("dd");
        let _ = forget
            .arg(format!("if={}", path.display()))
            .args(["iflag=nocache", "count=0", "status=none"])
            .status();
    }
}

fn duckdb(warm: &[(u64, f64)]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/duckdb_asof.py");
    let output = Command::new("python3").arg(script).arg(rows_total().to_string()).output();
    let lines = match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => {
            return println!("\nDuckDB: left out ({})", String::from_utf8_lossy(&output.stderr).trim());
        }
        Err(error) => return println!("\nDuckDB: left out ({error})"),
    };
    println!("\n| spine | DuckDB's keys | DuckDB ms | times Larder's |\n|---|---|---|---|");
    for line in lines.lines() {
        let mut words = line.split_whitespace();
        let (Some(rows), Some(keys), Some(secs)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let (Ok(rows), Ok(secs)) = (rows.parse::<u64>(), secs.parse::<f64>()) else { continue };
        let Some((_, ours)) = warm.iter().find(|(spine, _)| *spine == rows) else { continue };
        println!("| {rows} | {keys} | {:.0} | {:.1} |", secs * 1e3, secs / ours);
    }
}
