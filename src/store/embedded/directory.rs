//! The directory of a store: opened by one process at a time, private to its owner, and never mistaken for an empty one.
//!
//! ```text
//! DIR/lock          held while the store is open; never removed or renamed
//!     larder.redb   the engine, which names everything else; made under another name, so it is whole or not there
//!     segments/     segments that the engine names
//!     events/       the event log
//!     lost/         files that the engine does not name, moved away at a start for a person to look at
//! ```
//!
//! An engine that is missing or empty beside other files names none of them. Going on would make all of them garbage, so
//! such a start is refused before anything is written.

use super::storage_error;
use crate::store::{Result, StoreError};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

const LOCK: &str = "lock";
const ENGINE: &str = "larder.redb";
const ENGINE_UNFINISHED: &str = "larder.redb.new";
const SEGMENTS: &str = "segments";
const EVENTS: &str = "events";
const LOST: &str = "lost";
/// What only a store that was in use holds, beside its segments and events.
const ADMIN_KEY: &str = "admin.key";

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const OTHERS: u32 = 0o077;
/// How often it is checked that the lock is still the one in the directory.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A locked directory. Dropping it gives the lock back.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
    /// Device and number of the lock's file.
    inode: (u64, u64),
    opened: Instant,
    /// Until when [`Directory::check_owned`] need not look, in milliseconds since `opened`.
    checked_until: AtomicU64,
}

impl Directory {
    /// Makes the directory if it is not there, and locks it. Refused where it cannot be what it seems: in use, or full of
    /// files that no engine names.
    pub fn open(path: &Path) -> Result<Self> {
        refuse_headless(path)?;
        make_private_directory(path)?;
        let lock = lock(&path.join(LOCK))?;
        let inode =
            inode(&lock).map_err(|error| storage_error("look at", path.join(LOCK).display(), error))?;
        let directory = Self {
            path: path.to_owned(),
            _lock: lock,
            inode,
            opened: Instant::now(),
            checked_until: AtomicU64::new(0),
        };
        for part in [SEGMENTS, EVENTS] {
            make_private_directory(&path.join(part))?;
        }
        Ok(directory)
    }

    pub fn engine(&self) -> PathBuf {
        self.path.join(ENGINE)
    }

    /// Where an engine is made before it is renamed to [`Self::engine`].
    pub fn engine_unfinished(&self) -> PathBuf {
        self.path.join(ENGINE_UNFINISHED)
    }

    pub fn segments(&self) -> PathBuf {
        self.path.join(SEGMENTS)
    }

    pub fn events(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    pub fn lost(&self) -> PathBuf {
        self.path.join(LOST)
    }

    /// Makes names in the directory durable.
    pub fn sync(&self) -> Result<()> {
        sync_directory(&self.path)
    }

    /// Fails if the directory was removed or replaced under this process: what it would write now nobody could find.
    /// Looks once a second.
    pub fn check_owned(&self) -> Result<()> {
        self.check_owned_after(self.opened.elapsed())
    }

    /// The same, so long after the directory was opened.
    fn check_owned_after(&self, elapsed: Duration) -> Result<()> {
        if elapsed < Duration::from_millis(self.checked_until.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let path = self.path.join(LOCK);
        if fs::metadata(&path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode) {
            let until = elapsed + CHECK_EVERY;
            self.checked_until.store(until.as_millis() as u64, Ordering::Relaxed);
            return Ok(());
        }
        Err(StoreError::Unusable(format!(
            "{} is not the file that this process locked: the data directory was removed or replaced while the server ran, \
             so nothing is written any more; stop the server, put the directory back and start again",
            path.display()
        )))
    }
}

/// Refuses a directory in which files lie that only an engine can name, and no engine.
fn refuse_headless(path: &Path) -> Result<()> {
    let engine = path.join(ENGINE);
    let state = match fs::metadata(&engine) {
        Ok(found) if found.len() > 0 => return Ok(()),
        Ok(_) => "is empty",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "is missing",
        Err(error) => return Err(storage_error("look at", engine.display(), error)),
    };
    let holds = |part: &str| -> Result<bool> {
        let part = path.join(part);
        match fs::read_dir(&part) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(storage_error("list", part.display(), error)),
        }
    };
    let beside = if holds(SEGMENTS)? {
        SEGMENTS
    } else if holds(EVENTS)? {
        EVENTS
    } else if path.join(ADMIN_KEY).exists() {
        ADMIN_KEY
    } else {
        return Ok(());
    };
    Err(StoreError::Unusable(format!(
        "{} {state}, but {} is there: the engine's file names all other files, and without it they cannot be read. \
         Put it back, or restore the whole directory from a backup; to begin with an empty store, move {} away or \
         choose another --data-dir. Nothing was changed",
        engine.display(),
        path.join(beside).display(),
        path.display(),
    )))
}

/// Makes a directory that only its owner may enter; takes rights of others away from one that is there.
fn make_private_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(|error| storage_error("create", path.display(), error))?;
    let mode = fs::metadata(path).map_err(|error| storage_error("look at", path.display(), error))?.mode();
    if mode & OTHERS != 0
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))
    {
        tracing::warn!(
            directory = %path.display(), mode = format!("{:o}", mode & 0o777), %error,
            "other users of this machine may read the features in this directory, and this process may not change that"
        );
    }
    Ok(())
}

/// Opens and locks the lock's file, and writes this process's number into it.
fn lock(path: &Path) -> Result<File> {
    let error = |error| storage_error("lock", path.display(), error);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(error)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim().parse::<u32>().map_or(String::new(), |id| format!(" (process {id})"));
            return Err(StoreError::Unusable(format!(
                "{} is in use by another process{holder}; stop that one, or give this one another data directory",
                path.parent().unwrap_or(path).display()
            )));
        }
        Err(TryLockError::Error(failed)) => return Err(error(failed)),
    }
    let text = format!("{}\n", std::process::id());
    file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(error)?;
    Ok(file)
}

fn inode(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|found| (found.dev(), found.ino()))
}

/// Makes a file that only its owner may read, and that was not there.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).read(true).write(true).mode(FILE_MODE).open(path)
}

/// Makes names in a directory durable.
pub fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| storage_error("sync", path.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::{EmbeddedStore, Options};

    /// Every file and directory below a path, with what each file holds.
    fn tree(path: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path).unwrap().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => found.extend([(path.clone(), None)].into_iter().chain(tree(&path))),
                false => found.push((path.clone(), Some(fs::read(&path).unwrap()))),
            }
        }
        found.sort();
        found
    }

    #[test]
    fn files_without_their_engine_are_refused_and_left_as_they_are() {
        for engine_is_empty in [false, true] {
            for beside in ["segments/000000000001.arrow", "events/000000000001.redb", "admin.key"] {
                let directory = tempfile::tempdir().unwrap();
                let file = directory.path().join(beside);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(&file, "precious").unwrap();
                if engine_is_empty {
                    fs::write(directory.path().join(ENGINE), "").unwrap();
                }
                let before = tree(directory.path());
                let refused = EmbeddedStore::open(directory.path(), Options::default()).unwrap_err();
                assert!(matches!(refused, StoreError::Unusable(_)), "{refused}");
                assert!(refused.to_string().contains("restore"), "{refused}");
                assert_eq!(tree(directory.path()), before);
            }
        }
    }

    #[test]
    fn a_first_start_that_died_early_is_begun_again() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(SEGMENTS)).unwrap();
        fs::write(directory.path().join(ENGINE_UNFINISHED), "half").unwrap();
        fs::write(directory.path().join(ENGINE), "").unwrap();
        drop(EmbeddedStore::open(directory.path(), Options::default()).unwrap());
        drop(EmbeddedStore::open(directory.path(), Options::default()).unwrap());
        assert!(!directory.path().join(ENGINE_UNFINISHED).exists());
    }

    #[test]
    fn only_the_owner_may_read() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("data");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        drop(EmbeddedStore::open(&directory, Options::default()).unwrap());
        let entries = tree(&directory);
        assert!(entries.len() >= 5, "{entries:?}");
        for path in entries.iter().map(|(path, _)| path.as_path()).chain([directory.as_path()]) {
            let mode = fs::metadata(path).unwrap().mode() & 0o777;
            assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        }
    }

    #[test]
    fn a_replaced_directory_is_noticed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let directory = Directory::open(&path).unwrap();
        directory.check_owned_after(Duration::ZERO).unwrap();
        fs::rename(&path, parent.path().join("moved")).unwrap();
        directory.check_owned_after(CHECK_EVERY / 2).expect("it looks once a second");
        assert!(directory.check_owned_after(CHECK_EVERY).is_err());
        let other = Directory::open(&path).unwrap();
        assert!(directory.check_owned_after(2 * CHECK_EVERY).is_err());
        other.check_owned_after(Duration::ZERO).unwrap();
    }
}
