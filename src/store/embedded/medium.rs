//! Where segment files lie: a directory, or memory.

use super::storage_error;
use crate::error::Result;
use arrow::buffer::Buffer;
use memmap2::Mmap;
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::Arc,
};

/// Keeps segment files.
#[derive(Debug)]
pub enum Medium {
    Directory(PathBuf),
    Memory,
}

/// A segment file being written.
pub enum SegmentFile {
    File(File),
    Memory(Vec<u8>),
}

impl Medium {
    /// A directory that is made if it is not there.
    pub fn directory(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(|error| storage_error("create", path.display(), error))?;
        Ok(Medium::Directory(path.to_owned()))
    }

    pub fn create(&self, id: u64) -> Result<SegmentFile> {
        match self {
            Medium::Directory(dir) => {
                let path = segment_path(dir, id);
                let file = File::options()
                    .create(true)
                    .truncate(true)
                    .write(true)
                    .read(true)
                    .open(&path)
                    .map_err(|error| storage_error("create", path.display(), error))?;
                Ok(SegmentFile::File(file))
            }
            Medium::Memory => Ok(SegmentFile::Memory(Vec::new())),
        }
    }

    /// The bytes of a finished segment, mapped into memory: pages are read when they are touched.
    pub fn open(&self, id: u64) -> Result<Buffer> {
        let Medium::Directory(dir) = self else {
            return Err(crate::error::Error::internal("segments in memory are not opened again"));
        };
        let path = segment_path(dir, id);
        File::open(&path)
            .and_then(|file| map(&file))
            .map_err(|error| storage_error("open", path.display(), error))
    }

    /// Makes new names in the directory durable.
    pub fn sync_directory(&self) -> Result<()> {
        let Medium::Directory(dir) = self else { return Ok(()) };
        sync(dir)
    }

    /// Removes a segment that the manifest does not name (any more). Readers keep what they have mapped. Failing is
    /// harmless: the next start removes it.
    pub fn remove(&self, id: u64) {
        if let Medium::Directory(dir) = self {
            let _ = fs::remove_file(segment_path(dir, id));
        }
    }

    /// Removes every segment that is not `named`: leftovers of a crash.
    pub fn remove_all_but(&self, named: &HashSet<u64>) -> Result<()> {
        let Medium::Directory(dir) = self else { return Ok(()) };
        let entries = fs::read_dir(dir).map_err(|error| storage_error("list", dir.display(), error))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".arrow")?.parse().ok()) else {
                continue;
            };
            if !named.contains(&id) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

impl SegmentFile {
    /// Makes the file durable and returns its bytes.
    pub fn finish(self) -> io::Result<Buffer> {
        match self {
            SegmentFile::File(file) => {
                file.sync_all()?;
                map(&file)
            }
            SegmentFile::Memory(bytes) => Ok(Buffer::from_vec(bytes)),
        }
    }
}

impl Write for SegmentFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            SegmentFile::File(file) => file.write(bytes),
            SegmentFile::Memory(memory) => memory.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes names in a directory durable.
pub fn sync(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| storage_error("sync", dir.display(), error))
}

fn segment_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:012}.arrow"))
}

fn map(file: &File) -> io::Result<Buffer> {
    // SAFETY: a segment is never changed once it is finished, and this process holds the lock on the store's directory;
    // removing a file leaves its mapped pages in place.
    let mapped = unsafe { Mmap::map(file)? };
    let Some(start) = NonNull::new(mapped.as_ptr().cast_mut()) else { return Ok(Buffer::default()) };
    let len = mapped.len();
    // SAFETY: the map is `len` bytes long, is only read, and lives as long as the buffer that owns it.
    Ok(unsafe { Buffer::from_custom_allocation(start, len, Arc::new(mapped)) })
}
