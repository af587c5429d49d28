//! The engine that keeps small things durable: one file of redb, or memory.

use super::storage_error;
use crate::error::{Error, Kind, Result};
use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, WriteTransaction,
    backends::InMemoryBackend,
};
use std::path::Path;

/// A file of the engine, and whether its writes must reach the disk.
#[derive(Debug)]
pub struct Engine {
    database: Database,
    pub durable: bool,
}

impl Engine {
    /// Opens or makes the file. A second process is refused.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self> {
        let database =
            Database::builder().set_cache_size(cache_bytes).create(path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => Error::new(
                    Kind::FailedPrecondition,
                    format!(
                        "{} is in use by another process; stop that one, or give this one another data directory",
                        path.display()
                    ),
                ),
                error => storage_error("open", path.display(), error),
            })?;
        Ok(Self { database, durable: true })
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
        let run = || -> Result<T, redb::Error> { body(&self.database.begin_read()?) };
        run().map_err(|error| storage_error("read", "the store", error))
    }
}

pub fn corrupted(what: impl ToString) -> redb::Error {
    redb::Error::Corrupted(what.to_string())
}
