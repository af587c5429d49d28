//! Where volumes lie: a directory, or memory.

use crate::store::{
    Result,
    embedded::{directory::create_private, storage_error},
};
use redb::{Builder, Database, DatabaseError, ReadOnlyDatabase, StorageBackend, backends::FileBackend};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

/// Files by their names, each an engine's.
pub trait VolumeFiles: fmt::Debug + Send + Sync {
    /// What is there, in any order.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes a file with an empty engine.
    fn create(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError>;

    /// Opens a file to write it, which repairs it where it was not closed.
    fn open(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError>;

    /// Opens a file that was closed.
    fn open_read_only(&self, name: &str, builder: &Builder) -> Result<ReadOnlyDatabase, DatabaseError>;

    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    fn sync(&self) -> io::Result<()>;

    /// Whether what is written must reach a disk.
    fn durable(&self) -> bool;

    /// A file as people find it.
    fn path(&self, name: &str) -> PathBuf;
}

/// Files in a directory.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory is made if it is not there.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(|error| storage_error("create", path.display(), error))?;
        Ok(Self(path.to_owned()))
    }
}

impl VolumeFiles for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(&self.0)?.map(name).collect()
    }

    fn create(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        let file = create_private(&self.0.join(name))?;
        builder.create_with_backend(FileBackend::new(file)?)
    }

    fn open(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.open(self.0.join(name))
    }

    fn open_read_only(&self, name: &str, builder: &Builder) -> Result<ReadOnlyDatabase, DatabaseError> {
        builder.open_read_only(self.0.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.0)?.sync_all()
    }

    fn durable(&self) -> bool {
        true
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Files that are gone when this is dropped.
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<String, MemoryFile>>);

#[derive(Clone, Debug, Default)]
struct MemoryFile(Arc<RwLock<Vec<u8>>>);

impl Memory {
    fn with<T>(&self, body: impl FnOnce(&mut BTreeMap<String, MemoryFile>) -> T) -> T {
        body(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn file(&self, name: &str) -> Result<MemoryFile, DatabaseError> {
        let file = self.with(|files| files.get(name).cloned());
        file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound).into())
    }
}

impl VolumeFiles for Memory {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.with(|files| files.keys().cloned().collect()))
    }

    fn create(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        let file = self.with(|files| files.entry(name.to_owned()).or_default().clone());
        builder.create_with_backend(file)
    }

    fn open(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.file(name)?)
    }

    fn open_read_only(&self, name: &str, builder: &Builder) -> Result<ReadOnlyDatabase, DatabaseError> {
        builder.open_read_only_with_backend(self.file(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.with(|files| {
            let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(|files| files.remove(name)).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn durable(&self) -> bool {
        false
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("memory").join(name)
    }
}

impl StorageBackend for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let from = offset as usize;
        out.copy_from_slice(bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let from = offset as usize;
        let at = bytes.get_mut(from..from + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        at.copy_from_slice(data);
        Ok(())
    }
}
