//! What else could hold embedded history: packed blocks in redb and in fjall, beside the store as it is.
//!
//! ```text
//! cargo bench --bench candidates           # 10 M rows of history; LARDER_BENCH_ROWS makes it smaller
//! ```
//!
//! A block holds up to 128 rows of one entity under the key (entity, first event timestamp). The candidates are loaded
//! in one pass over rows that are sorted already, made durable once at the end: in their favour, for the store takes the rows
//! in the order of time, in durable commits of half a million. Both engines have 64 MiB of cache. A small commit
//! reads, changes and writes back the block that each of its rows belongs to. All must find the same rows.

#[path = "history/world.rs"]
mod world;

use arrow::{
    array::{Array, AsArray},
    datatypes::Float64Type,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use larder::store::{
    AsOf, Commits, NO_ROW, RowBatch, Views,
    embedded::{EmbeddedStore, Options},
};
use redb::{ReadableDatabase, TableDefinition};
use std::{ops::Range, path::Path, thread};
use world::{COLUMNS, batch, commit, disk_mib, group, median, memory_added, rows_total, seconds, spine};

const COMMIT_ROWS: u64 = 500_000;
const BLOCK_ROWS: usize = 128;
const CACHE_BYTES: usize = 64 << 20;
const SMALL_COMMITS: u64 = 100;
const TURNS: usize = 5;
const THREADS: usize = 2;

/// Event timestamp and values.
type Row = (i64, [f64; COLUMNS]);

/// An ordered map of bytes with durable writes.
trait Engine: Sync {
    /// Writes all entries in one durable transaction.
    fn put(&self, entries: &[(Vec<u8>, Vec<u8>)]);

    /// The last entry within `from..=to`.
    fn last(&self, from: &[u8], to: &[u8]) -> Option<(Vec<u8>, Vec<u8>)>;
}

struct Redb(redb::Database);
struct Fjall(Database, Keyspace);

const BLOCKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("blocks");

impl Redb {
    fn open(directory: &Path) -> Self {
        let file = directory.join("history.redb");
        Self(redb::Builder::new().set_cache_size(CACHE_BYTES).create(file).expect("a database"))
    }
}

impl Engine for Redb {
    fn put(&self, entries: &[(Vec<u8>, Vec<u8>)]) {
        let transaction = self.0.begin_write().expect("a transaction");
        {
            let mut table = transaction.open_table(BLOCKS).expect("a table");
            for (key, block) in entries {
                table.insert(&**key, &**block).expect("a write");
            }
        }
        transaction.commit().expect("a commit");
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let table = self.0.begin_read().expect("a transaction").open_table(BLOCKS).ok()?;
        let (key, block) = table.range(from..=to).expect("a range").next_back()?.expect("an entry");
        Some((key.value().to_vec(), block.value().to_vec()))
    }
}

impl Fjall {
    fn open(directory: &Path) -> Self {
        let database =
            Database::builder(directory).cache_size(CACHE_BYTES as u64).open().expect("a database");
        let keyspace = database.keyspace("history", KeyspaceCreateOptions::default).expect("a keyspace");
        Self(database, keyspace)
    }
}

impl Engine for Fjall {
    fn put(&self, entries: &[(Vec<u8>, Vec<u8>)]) {
        for part in entries.chunks(100_000) {
            let mut batch = self.0.batch();
            for (key, block) in part {
                batch.insert(&self.1, &**key, &**block);
            }
            batch.commit().expect("a commit");
        }
        self.0.persist(PersistMode::SyncAll).expect("a sync");
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (key, block) = self.1.range(from..=to).next_back()?.into_inner().expect("an entry");
        Some((key.to_vec(), block.to_vec()))
    }
}

fn main() {
    let batches: Vec<RowBatch> = {
        let (schema, total) = (group(), rows_total());
        let starts = (0..total).step_by(COMMIT_ROWS as usize);
        starts.map(|from| batch(&schema, from..(from + COMMIT_ROWS).min(total), 0)).collect()
    };
    println!(
        "| store | load s | disk MiB | 10 K rows ms | 1 M rows ms | MiB added by 1 M | commit of 1 row ms | of 1 000 rows ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let expected = larder(&batches);
    let entries = blocks(&batches);
    let redb = |directory: &Path| -> Box<dyn Engine> { Box::new(Redb::open(directory)) };
    let fjall = |directory: &Path| -> Box<dyn Engine> { Box::new(Fjall::open(directory)) };
    assert_eq!(candidate("blocks in redb", redb, &entries), expected);
    assert_eq!(candidate("blocks in fjall, LZ4", fjall, &entries), expected);
}

fn row(name: &str, load: f64, disk: f64, reads: [f64; 2], added: f64, commits: [f64; 2]) {
    println!(
        "| {name} | {load:.1} | {disk:.0} | {:.1} | {:.0} | {added:.0} | {:.2} | {:.2} |",
        reads[0] * 1e3,
        reads[1] * 1e3,
        commits[0] * 1e3,
        commits[1] * 1e3
    );
}

/// The store itself. Answers with a checksum over the rows that the million found.
fn larder(batches: &[RowBatch]) -> u64 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .expect("a runtime");
    let directory = tempfile::tempdir_in(world::directory()).expect("a directory");
    let store = EmbeddedStore::open(directory.path(), Options::default()).expect("a store");
    let (load, ()) = seconds(|| {
        for batch in batches {
            runtime.block_on(store.commit(commit(batch.clone()))).expect("rows are written");
        }
    });
    runtime.block_on(store.compact()).expect("compacted");
    let disk = disk_mib(directory.path());
    let schema = group();
    let snapshot = runtime.block_on(store.snapshot(std::slice::from_ref(&schema))).expect("a snapshot");
    let mut checksum = 0;
    let mut added = 0.0;
    let reads = [10_000, 1_000_000].map(|rows| {
        let query = spine(&schema, rows);
        let (more, mut times) = memory_added(|| {
            let once = |_| {
                let (time, picks) =
                    seconds(|| runtime.block_on(snapshot.as_of(query.clone())).expect("an answer"));
                let columns = &picks[0].columns;
                let events = picks[0].event_timestamps.iter().filter(|event| **event != NO_ROW);
                let values = columns.iter().flat_map(|column| {
                    let values = column.values.as_primitive::<Float64Type>();
                    (0..values.len()).filter(|at| values.is_valid(*at)).map(|at| values.value(at).to_bits())
                });
                checksum = events.map(|event| *event as u64).chain(values).fold(0, u64::wrapping_add);
                time
            };
            (0..TURNS).map(once).collect::<Vec<f64>>()
        });
        added = more;
        median(&mut times)
    });
    let commits = [1, 1_000].map(|rows| {
        let once = |turn| {
            let rows = small(turn, rows);
            seconds(|| runtime.block_on(store.commit(commit(rows))).expect("rows are written")).0
        };
        median(&mut (0..SMALL_COMMITS).map(once).collect::<Vec<f64>>())
    });
    row("**Larder: redb and Arrow segments**", load, disk, reads, added, commits);
    checksum
}

fn candidate(name: &str, open: impl Fn(&Path) -> Box<dyn Engine>, entries: &[(Vec<u8>, Vec<u8>)]) -> u64 {
    let directory = tempfile::tempdir_in(world::directory()).expect("a directory");
    let engine = open(directory.path());
    let (load, ()) = seconds(|| engine.put(entries));
    let disk = disk_mib(directory.path());
    let mut checksum = 0;
    let mut added = 0.0;
    let reads = [10_000, 1_000_000].map(|rows| {
        let query = spine(&group(), rows);
        let (more, mut times) = memory_added(|| {
            let once = |_| {
                let (time, found) = seconds(|| as_of(&*engine, &query));
                let found = found.iter().flatten();
                let bits = found.map(|(event, values)| {
                    values.iter().map(|value| value.to_bits()).fold(*event as u64, u64::wrapping_add)
                });
                checksum = bits.fold(0, u64::wrapping_add);
                time
            };
            (0..TURNS).map(once).collect::<Vec<f64>>()
        });
        added = more;
        median(&mut times)
    });
    let commits = [1, 1_000].map(|rows| {
        let once = |turn| {
            let rows = small(turn, rows);
            seconds(|| append(&*engine, &rows)).0
        };
        median(&mut (0..SMALL_COMMITS).map(once).collect::<Vec<f64>>())
    });
    row(name, load, disk, reads, added, commits);
    checksum
}

/// Rows of random entities after the end of the history.
fn small(turn: u64, rows: u64) -> RowBatch {
    let from = rows_total() + turn * 1_000;
    batch(&group(), from..from + rows, 0)
}

/// All rows as blocks, sorted by key.
fn blocks(batches: &[RowBatch]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows: Vec<(&str, Row)> = batches.iter().flat_map(rows_of).collect();
    rows.sort_unstable_by(|a, b| (a.0, a.1.0).cmp(&(b.0, b.1.0)));
    let mut blocks = Vec::new();
    for of_entity in rows.chunk_by(|a, b| a.0 == b.0) {
        for block in of_entity.chunks(BLOCK_ROWS) {
            let rows: Vec<Row> = block.iter().map(|(_, row)| *row).collect();
            blocks.push((block_key(block[0].0, rows[0].0), encode(&rows)));
        }
    }
    blocks
}

fn rows_of(batch: &RowBatch) -> impl Iterator<Item = (&str, Row)> {
    let columns: Vec<&[f64]> = batch
        .columns
        .iter()
        .map(|column| &column.values.as_primitive::<Float64Type>().values()[..])
        .collect();
    (0..batch.keys.len()).map(move |at| {
        let values = std::array::from_fn(|column| columns[column][at]);
        (batch.keys.value(at), (batch.event_timestamps[at], values))
    })
}

/// Puts rows into the blocks they belong to, in one durable write.
fn append(engine: &dyn Engine, batch: &RowBatch) {
    let mut changed: std::collections::BTreeMap<Vec<u8>, Vec<Row>> = std::collections::BTreeMap::new();
    for (entity, row) in rows_of(batch) {
        let to = block_key(entity, row.0);
        let from = block_key(entity, 0);
        let key = match changed.range(from.clone()..=to.clone()).next_back() {
            Some((key, _)) => key.clone(),
            None => match engine.last(&from, &to) {
                Some((key, block)) => {
                    let rows = decode(&block).collect::<Vec<Row>>();
                    let key = if rows.len() < BLOCK_ROWS { key } else { to };
                    let rows = if rows.len() < BLOCK_ROWS { rows } else { Vec::new() };
                    changed.insert(key.clone(), rows);
                    key
                }
                None => to,
            },
        };
        let rows = changed.entry(key).or_default();
        rows.insert(rows.partition_point(|other| other.0 <= row.0), row);
    }
    let entries: Vec<_> = changed.into_iter().map(|(key, rows)| (key, encode(&rows))).collect();
    engine.put(&entries);
}

/// The newest row of each key at its time, by threads that have a part of the sorted spine each.
fn as_of(engine: &dyn Engine, query: &AsOf) -> Vec<Option<Row>> {
    let mut order: Vec<u32> = (0..query.keys.len() as u32).collect();
    order.sort_unstable_by_key(|at| (query.keys.value(*at as usize), query.times[*at as usize]));
    let share = order.len().div_ceil(THREADS);
    let parts: Vec<Vec<Option<Row>>> = thread::scope(|scope| {
        let threads: Vec<_> = order
            .chunks(share)
            .map(|part| {
                scope.spawn(move || {
                    part.iter()
                        .rev()
                        .scan(Block::default(), |block, at| Some(block.newest(engine, query, *at as usize)))
                        .collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a part")).collect()
    });
    let mut found = vec![None; order.len()];
    for (part, rows) in order.chunks(share).zip(parts) {
        part.iter().rev().zip(rows).for_each(|(at, row)| found[*at as usize] = row);
    }
    found
}

/// The block that was read last: going backwards in time, the next row is mostly in it too.
#[derive(Default)]
struct Block {
    entity: String,
    rows: Vec<Row>,
}

impl Block {
    fn newest(&mut self, engine: &dyn Engine, query: &AsOf, at: usize) -> Option<Row> {
        let (entity, time) = (query.keys.value(at), query.times[at]);
        if entity != self.entity || self.rows.first().is_none_or(|first| first.0 > time) {
            entity.clone_into(&mut self.entity);
            self.rows.clear();
            let (_, block) = engine.last(&block_key(entity, 0), &block_key(entity, time))?;
            self.rows.extend(decode(&block));
        }
        let end = self.rows.partition_point(|row| row.0 <= time);
        self.rows[..end].last().copied()
    }
}

fn block_key(entity: &str, first: i64) -> Vec<u8> {
    [entity.as_bytes(), &[0], &first.to_be_bytes()].concat()
}

fn encode(rows: &[Row]) -> Vec<u8> {
    let mut block = Vec::with_capacity(rows.len() * ROW_BYTES);
    for (event, values) in rows {
        block.extend_from_slice(&event.to_le_bytes());
        values.iter().for_each(|value| block.extend_from_slice(&value.to_le_bytes()));
    }
    block
}

fn decode(block: &[u8]) -> impl Iterator<Item = Row> {
    let long =
        |bytes: &[u8], range: Range<usize>| -> [u8; 8] { bytes[range].try_into().expect("eight bytes") };
    block.chunks_exact(ROW_BYTES).map(move |bytes| {
        let values = std::array::from_fn(|at| f64::from_le_bytes(long(bytes, 8 * at + 8..8 * at + 16)));
        (i64::from_le_bytes(long(bytes, 0..8)), values)
    })
}

const ROW_BYTES: usize = 8 * (COLUMNS + 1);
