//! Where segment files are: a directory, or memory.

use super::{
    directory::{create_private, sync_directory},
    storage_error,
};
use crate::{
    clock::Clock,
    store::{Result, StoreError},
};
use arrow::buffer::Buffer;
use memmap2::Mmap;
use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::Arc,
};

/// Keeps segment files.
#[derive(Debug)]
pub enum Medium {
    Directory {
        segments: PathBuf,
        /// Where files go that no manifest names.
        lost: PathBuf,
    },
    Memory,
}

/// What an Arrow file begins and ends with: a file that does not end with it was never finished.
const ARROW_MAGIC: &[u8; 6] = b"ARROW1";

/// A segment file being written.
pub enum SegmentFile {
    File(File),
    Memory(Vec<u8>),
}

impl Medium {
    /// The directory of segments is made if it is not there, that of lost files when the first is lost.
    pub fn directory(segments: &Path, lost: &Path) -> Result<Self> {
        fs::create_dir_all(segments).map_err(|error| storage_error("create", segments.display(), error))?;
        Ok(Medium::Directory { segments: segments.to_owned(), lost: lost.to_owned() })
    }

    pub fn create(&self, id: u64) -> Result<SegmentFile> {
        match self {
            Medium::Directory { segments, .. } => {
                let path = segment_path(segments, id);
                let file =
                    create_private(&path).map_err(|error| storage_error("create", path.display(), error))?;
                Ok(SegmentFile::File(file))
            }
            Medium::Memory => Ok(SegmentFile::Memory(Vec::new())),
        }
    }

    /// The bytes of a finished segment, mapped into memory: pages are read when they are touched.
    pub fn open(&self, id: u64) -> Result<Buffer> {
        let Medium::Directory { segments, .. } = self else {
            return Err(StoreError::defect("segments in memory are not opened again"));
        };
        let path = segment_path(segments, id);
        File::open(&path)
            .and_then(|file| map(&file))
            .map_err(|error| storage_error("open", path.display(), error))
    }

    /// Makes new names in the directory durable.
    pub fn sync_directory(&self) -> Result<()> {
        let Medium::Directory { segments, .. } = self else { return Ok(()) };
        sync_directory(segments)
    }

    /// Removes a segment that the manifest does not name any more. Readers keep what they have mapped. If it fails, the
    /// next start removes it: the manifest lists what it stopped naming.
    pub fn remove(&self, id: u64) {
        if let Medium::Directory { segments, .. } = self {
            let _ = fs::remove_file(segment_path(segments, id));
        }
    }

    /// Takes away what a crash left over: segments that the manifest lists as `removed` and files that were never finished
    /// are deleted; a finished segment that is not `named` may hold the only copy of its rows, so it moves to the directory
    /// of lost files.
    pub fn clear(&self, named: &HashSet<u64>, removed: &HashSet<u64>) -> Result<()> {
        let Medium::Directory { segments, lost } = self else { return Ok(()) };
        let list_error = |error| storage_error("list", segments.display(), error);
        let mut found = Vec::new();
        for entry in fs::read_dir(segments).map_err(list_error)? {
            let path = entry.map_err(list_error)?.path();
            if let Some(id) = segment_id(&path).filter(|id| !named.contains(id)) {
                found.push((id, path));
            }
        }
        let mut aside = None;
        for (id, path) in &found {
            let is_garbage = removed.contains(id)
                || !is_finished(path).map_err(|error| storage_error("read", path.display(), error))?;
            if is_garbage {
                fs::remove_file(path).map_err(|error| storage_error("remove", path.display(), error))?;
                continue;
            }
            let aside = match &aside {
                Some(aside) => aside,
                None => aside.insert(make_lost_directory(lost)?),
            };
            let to = aside.join(path.file_name().expect("a listed file has a name"));
            fs::rename(path, &to).map_err(|error| storage_error("move", path.display(), error))?;
            tracing::warn!(
                from = %path.display(), to = %to.display(),
                "a finished segment that the manifest does not name was moved aside; it is left over from a crash, or \
                 larder.redb is older than this file: if rows are missing, restore a backup"
            );
        }
        if let Some(aside) = aside {
            sync_directory(&aside)?;
            sync_directory(lost)?;
        }
        if !found.is_empty() {
            sync_directory(segments)?;
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

fn segment_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:012}.arrow"))
}

fn segment_id(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".arrow")?.parse().ok()
}

/// Whether a file was written to its end.
fn is_finished(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut end = [0; ARROW_MAGIC.len()];
    if file.metadata()?.len() < end.len() as u64 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-(end.len() as i64)))?;
    file.read_exact(&mut end)?;
    Ok(end == *ARROW_MAGIC)
}

/// A fresh directory, named by the time and a random part.
fn make_lost_directory(lost: &Path) -> Result<PathBuf> {
    let now = Clock::system().now().micros() / 1_000_000;
    let path = lost.join(format!("{now}-{:08x}", fastrand::u32(..)));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .map_err(|error| storage_error("create", path.display(), error))?;
    Ok(path)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_the_only_copy_is_never_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let (segments, lost) = (directory.path().join("segments"), directory.path().join("lost"));
        let medium = Medium::directory(&segments, &lost).unwrap();
        let put = |id: u64, bytes: &[u8]| fs::write(segment_path(&segments, id), bytes).unwrap();
        put(1, b"ARROW1 named ARROW1");
        put(2, b"ARROW1 removed ARROW1");
        put(3, b"ARROW1 never finis");
        put(4, b"");
        put(5, b"ARROW1 finished, and nobody names it ARROW1");
        fs::write(segments.join("notes.txt"), "somebody's").unwrap();
        medium.clear(&HashSet::from([1]), &HashSet::from([2])).unwrap();
        let names = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&segments), [segment_path(&segments, 1), segments.join("notes.txt")]);
        let aside = names(&lost);
        assert_eq!(names(&aside[0]), [segment_path(&aside[0], 5)]);
        medium.clear(&HashSet::from([1]), &HashSet::new()).unwrap();
        assert_eq!(names(&lost), aside, "nothing new is lost");
    }
}
