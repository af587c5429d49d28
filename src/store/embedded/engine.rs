//! The engine that keeps small things durable: one file of redb, or memory.

use super::{directory::create_private, storage_error};
use crate::store::{Result, StoreError};
use redb::{
    Database, DatabaseError, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    WriteTransaction,
    backends::{FileBackend, InMemoryBackend},
};
use std::{
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// A file of the engine, and whether its writes must reach the disk.
#[derive(Debug)]
pub struct Engine {
    database: Database,
    pub durable: bool,
    /// What errors name.
    path: PathBuf,
}

impl Engine {
    /// Opens a file that is there. A second process is refused.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let database = unless_damaged(path, || builder.open(path).map_err(|error| not_opened(path, error)))?;
        Ok(Self::of(database, true, path))
    }

    /// Makes a file that only its owner may read; one that is there is replaced.
    pub fn create(path: &Path, cache_bytes: usize) -> Result<Self> {
        let create = || {
            if path.exists() {
                fs::remove_file(path)?;
            }
            create_private(path)
        };
        let file = create().map_err(|error| storage_error("create", path.display(), error))?;
        let database = FileBackend::new(file)
            .and_then(|file| Database::builder().set_cache_size(cache_bytes).create_with_backend(file));
        Ok(Self::of(database.map_err(|error| not_opened(path, error))?, true, path))
    }

    /// On what is open already.
    pub fn of(database: Database, durable: bool, path: &Path) -> Self {
        Self { database, durable, path: path.to_owned() }
    }

    /// The same file under a new name.
    pub fn rename(&mut self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).map_err(|error| storage_error("rename", self.path.display(), error))?;
        self.path = to.to_owned();
        Ok(())
    }

    /// Leaves the file such that the next one to open it has nothing to repair.
    pub fn close(self) -> Result<()> {
        self.database.close().map_err(|error| storage_error("close", "the store", error))
    }

    /// The engine on something that behaves like a file.
    #[cfg(test)]
    pub fn with_backend(backend: impl redb::StorageBackend) -> Result<Self> {
        let database = Database::builder()
            .set_cache_size(8 << 20)
            .create_with_backend(backend)
            .map_err(|error| storage_error("open", "the engine", error))?;
        Ok(Self::of(database, true, Path::new("the engine")))
    }

    pub fn in_memory() -> Result<Self> {
        let database = Database::builder()
            .set_cache_size(1 << 20)
            .create_with_backend(InMemoryBackend::new())
            .map_err(|error| storage_error("make", "the engine", error))?;
        Ok(Self::of(database, false, Path::new("the engine in memory")))
    }

    /// Runs one transaction and commits it; durable when this returns, where there is a disk.
    pub fn write<T>(&self, body: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> Result<T> {
        let run = || -> Result<T, redb::Error> {
            let mut txn = self.database.begin_write()?;
            if !self.durable {
                txn.set_durability(Durability::None)?;
            }
            let result = body(&txn)?;
            txn.commit()?;
            Ok(result)
        };
        unless_damaged(&self.path, || run().map_err(|error| failed("write to", &self.path, error)))
    }

    pub fn read<T>(&self, body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T> {
        read(&self.database, &self.path, body)
    }
}

/// A file of the engine that was closed and is not written any more.
pub struct ReadOnlyEngine {
    database: ReadOnlyDatabase,
    path: PathBuf,
}

impl ReadOnlyEngine {
    pub fn of(database: ReadOnlyDatabase, path: &Path) -> Self {
        Self { database, path: path.to_owned() }
    }

    pub fn read<T>(&self, body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T> {
        read(&self.database, &self.path, body)
    }
}

impl fmt::Debug for ReadOnlyEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyEngine").field("path", &self.path).finish_non_exhaustive()
    }
}

fn read<T>(
    database: &impl ReadableDatabase,
    path: &Path,
    body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
) -> Result<T> {
    let run = || -> Result<T, redb::Error> { body(&database.begin_read()?) };
    unless_damaged(path, || run().map_err(|error| failed("read", path, error)))
}

/// Runs what reads pages of a file. redb panics on some of those that are damaged: here that is an error.
fn unless_damaged<T>(path: &Path, body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err(damaged(path, "a page of it makes no sense")))
}

fn failed(verb: &str, path: &Path, error: redb::Error) -> StoreError {
    match error {
        redb::Error::Corrupted(why) => damaged(path, &why),
        // The engine hides its causes from `Error::source`.
        redb::Error::Io(error) => storage_error(verb, path.display(), error),
        error => storage_error(verb, path.display(), error),
    }
}

fn damaged(path: &Path, why: &str) -> StoreError {
    StoreError::damaged(path.display().to_string(), why)
}

/// What is answered when a file cannot be opened.
pub fn not_opened(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Unusable(format!(
            "{} is in use by another process; stop that one, or give this one another data directory",
            path.display()
        )),
        DatabaseError::Storage(redb::StorageError::Corrupted(why)) => damaged(path, &why),
        DatabaseError::RepairAborted => damaged(path, "its repair was aborted"),
        error => storage_error("open", path.display(), error),
    }
}

pub fn corrupted(what: impl ToString) -> redb::Error {
    redb::Error::Corrupted(what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::ReadableTable;
    use std::io::{Seek, SeekFrom, Write};

    const TABLE: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("table");

    /// Damages pages of a file that was closed; whatever happens is an error that names the file, never a panic.
    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine.redb");
        let engine = Engine::create(&path, 1 << 20).unwrap();
        let fill = |txn: &WriteTransaction| {
            let mut table = txn.open_table(TABLE)?;
            for at in 0..2_000 {
                table.insert(at, [7; 100].as_slice())?;
            }
            Ok(())
        };
        engine.write(fill).unwrap();
        engine.close().unwrap();
        let whole = fs::read(&path).unwrap();
        let mut failures = 0;
        for page in 0..whole.len() / 4_096 {
            fs::write(&path, &whole).unwrap();
            let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.seek(SeekFrom::Start(page as u64 * 4_096)).unwrap();
            file.write_all(&[0xff; 2_048]).unwrap();
            let count = |txn: &ReadTransaction| {
                let mut sum = 0;
                for entry in txn.open_table(TABLE)?.iter()? {
                    sum += entry?.1.value().len();
                }
                Ok(sum)
            };
            if let Err(error) = Engine::open(&path, 1 << 20).and_then(|engine| engine.read(count)) {
                failures += 1;
                assert!(error.to_string().contains("engine.redb"), "{error}");
            }
        }
        assert!(failures > 5, "{failures}");
    }
}
