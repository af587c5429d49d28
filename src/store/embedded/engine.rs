//! The engine that keeps small things durable: one file of redb, or memory.

use super::storage_error;
use crate::error::{Error, Kind, Result};
use redb::{
    Database, DatabaseError, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    WriteTransaction, backends::InMemoryBackend,
};
use std::{fmt, path::Path};

/// A file of the engine, and whether its writes must reach the disk.
#[derive(Debug)]
pub struct Engine {
    database: Database,
    pub durable: bool,
}

impl Engine {
    /// Opens or makes the file. A second process is refused.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self> {
        let database = Database::builder()
            .set_cache_size(cache_bytes)
            .create(path)
            .map_err(|error| not_opened(path.display(), error))?;
        Ok(Self::of(database, true))
    }

    /// On what is open already.
    pub fn of(database: Database, durable: bool) -> Self {
        Self { database, durable }
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
        Ok(Self { database, durable: true })
    }

    pub fn in_memory() -> Result<Self> {
        let database = Database::builder()
            .set_cache_size(1 << 20)
            .create_with_backend(InMemoryBackend::new())
            .map_err(|error| storage_error("make", "the engine", error))?;
        Ok(Self { database, durable: false })
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
        run().map_err(|error| storage_error("write to", "the store", error))
    }

    pub fn read<T>(&self, body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T> {
        read(&self.database, body)
    }
}

/// A file of the engine that was closed and is not written any more.
pub struct ReadOnlyEngine(ReadOnlyDatabase);

impl ReadOnlyEngine {
    pub fn of(database: ReadOnlyDatabase) -> Self {
        Self(database)
    }

    pub fn read<T>(&self, body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T> {
        read(&self.0, body)
    }
}

impl fmt::Debug for ReadOnlyEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyEngine").finish_non_exhaustive()
    }
}

fn read<T>(
    database: &impl ReadableDatabase,
    body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
) -> Result<T> {
    let run = || -> Result<T, redb::Error> { body(&database.begin_read()?) };
    run().map_err(|error| storage_error("read", "the store", error))
}

/// What is answered when a file cannot be opened.
pub fn not_opened(path: impl fmt::Display, error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::new(
            Kind::FailedPrecondition,
            format!(
                "{path} is in use by another process; stop that one, or give this one another data directory"
            ),
        ),
        error => storage_error("open", path, error),
    }
}

pub fn corrupted(what: impl ToString) -> redb::Error {
    redb::Error::Corrupted(what.to_string())
}
