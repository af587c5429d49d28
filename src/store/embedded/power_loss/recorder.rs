//! Files that remember how they came to be, and what a crash leaves of them.

use crate::store::embedded::log::VolumeFiles;
use redb::{Builder, Database, DatabaseError, ReadOnlyDatabase, StorageBackend};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// Files by number, and their names in the log's directory.
#[derive(Clone, Debug)]
pub enum Operation {
    Write(usize, u64, Vec<u8>),
    Length(usize, u64),
    Sync(usize),
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
    SyncNames,
}

/// What is on the disk.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub store: Vec<u8>,
    pub volumes: BTreeMap<String, Vec<u8>>,
}

/// The store's file and the log's, in memory. What happens to them goes into one journal: a crash hits all at one moment.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    journal: Vec<Operation>,
    files: Vec<Vec<u8>>,
    names: BTreeMap<String, usize>,
    opened: Vec<String>,
    /// So many operations on names from now on, one fails; so many syncs of files.
    fails_after: Option<usize>,
    sync_fails_after: Option<usize>,
}

/// One of the files; the store's is number 0.
#[derive(Clone, Debug)]
pub struct RecordedFile {
    number: usize,
    recorder: Recorder,
}

impl Recorder {
    pub fn of(image: Image) -> Self {
        let mut state = State { files: vec![image.store], ..State::default() };
        for (name, bytes) in image.volumes {
            state.names.insert(name, state.files.len());
            state.files.push(bytes);
        }
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn store(&self) -> RecordedFile {
        self.with(|state| state.files.resize(state.files.len().max(1), Vec::new()));
        RecordedFile { number: 0, recorder: self.clone() }
    }

    pub fn position(&self) -> usize {
        self.with(|state| state.journal.len())
    }

    pub fn journal(&self) -> Vec<Operation> {
        self.with(|state| state.journal.clone())
    }

    /// Names of the volumes that were opened or made, in that order.
    pub fn opened(&self) -> Vec<String> {
        self.with(|state| state.opened.clone())
    }

    /// The operation on names after so many others fails.
    pub fn fail_after(&self, operations: usize) {
        self.with(|state| state.fails_after = Some(operations));
    }

    /// The sync of a file after so many others fails, and what it was to sync is there all the same.
    pub fn fail_sync_after(&self, syncs: usize) {
        self.with(|state| state.sync_fails_after = Some(syncs));
    }

    fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        body(&mut self.0.lock().unwrap())
    }

    fn file(&self, name: &str) -> Result<RecordedFile, io::Error> {
        self.with(|state| {
            let number = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
            state.opened.push(name.to_owned());
            Ok(RecordedFile { number, recorder: self.clone() })
        })
    }
}

/// Fails if it is time to, once.
fn may_fail(fails_after: &mut Option<usize>) -> io::Result<()> {
    match fails_after.take() {
        Some(0) => return Err(io::Error::other("as the test wants")),
        left => *fails_after = left.map(|left| left - 1),
    }
    Ok(())
}

impl VolumeFiles for Recorder {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.with(|state| state.names.keys().cloned().collect()))
    }

    fn create(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        self.with(|state| {
            may_fail(&mut state.fails_after)?;
            let number = state.files.len().max(1);
            state.files.resize(number + 1, Vec::new());
            assert_eq!(state.names.insert(name.to_owned(), number), None, "it was there");
            state.journal.push(Operation::Create(name.to_owned(), number));
            Ok::<_, io::Error>(())
        })?;
        builder.create_with_backend(self.file(name)?)
    }

    fn open(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.file(name)?)
    }

    fn open_read_only(&self, name: &str, builder: &Builder) -> Result<ReadOnlyDatabase, DatabaseError> {
        builder.open_read_only_with_backend(self.file(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.with(|state| {
            may_fail(&mut state.fails_after)?;
            let number = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.names.insert(to.to_owned(), number);
            state.journal.push(Operation::Rename(from.to_owned(), to.to_owned(), number));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(|state| {
            may_fail(&mut state.fails_after)?;
            state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            state.journal.push(Operation::Remove(name.to_owned()));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            may_fail(&mut state.fails_after)?;
            state.journal.push(Operation::SyncNames);
            Ok(())
        })
    }

    fn durable(&self) -> bool {
        true
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("events").join(name)
    }
}

impl StorageBackend for RecordedFile {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.recorder.with(|state| state.files[self.number].len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.recorder.with(|state| {
            let from = offset as usize;
            let bytes = state.files[self.number].get(from..from + out.len());
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.recorder.with(|state| {
            state.files[self.number].resize(len as usize, 0);
            state.journal.push(Operation::Length(self.number, len));
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.recorder.with(|state| {
            may_fail(&mut state.sync_fails_after)?;
            state.journal.push(Operation::Sync(self.number));
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.recorder.with(|state| {
            let from = offset as usize;
            state.files[self.number][from..from + data.len()].copy_from_slice(data);
            state.journal.push(Operation::Write(self.number, offset, data.to_vec()));
            Ok(())
        })
    }
}

/// All files after a power loss when `journal` had been done: all up to the last sync of each, and of the rest some, one
/// of the writes cut; the same with names.
pub fn crashed(journal: &[Operation], random: &mut fastrand::Rng) -> Image {
    let names_synced = synced(journal, |operation| matches!(operation, Operation::SyncNames));
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, operation) in journal.iter().enumerate() {
        if at >= names_synced && random.bool() {
            continue;
        }
        match operation {
            Operation::Create(name, number) => drop(names.insert(name, *number)),
            Operation::Rename(from, to, number) => {
                names.remove(&**from);
                names.insert(to, *number);
            }
            Operation::Remove(name) => drop(names.remove(&**name)),
            _ => {}
        }
    }
    let volumes = names.iter().map(|(name, number)| ((*name).to_owned(), content(journal, *number, random)));
    Image { volumes: volumes.collect(), store: content(journal, 0, random) }
}

/// All files after the process was killed when `journal` had been done.
pub fn killed(journal: &[Operation]) -> Image {
    let mut synced = journal.to_vec();
    let numbers = journal.iter().filter_map(|operation| match operation {
        Operation::Create(_, number) => Some(*number),
        _ => None,
    });
    synced.extend(numbers.chain([0]).map(Operation::Sync));
    synced.push(Operation::SyncNames);
    crashed(&synced, &mut fastrand::Rng::with_seed(1))
}

fn content(journal: &[Operation], file: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let synced = synced(journal, |operation| matches!(operation, Operation::Sync(number) if *number == file));
    let mut bytes = Vec::new();
    for (at, operation) in journal.iter().enumerate() {
        match operation {
            Operation::Length(number, len) if *number == file => bytes.resize(*len as usize, 0),
            Operation::Write(number, offset, data) if *number == file => {
                let len = match at >= synced {
                    false => data.len(),
                    true => [0, data.len(), random.usize(0..=data.len())][random.usize(0..3)],
                };
                bytes[*offset as usize..*offset as usize + len].copy_from_slice(&data[..len]);
            }
            _ => {}
        }
    }
    bytes
}

/// Operations up to the last sync.
fn synced(journal: &[Operation], is_sync: impl Fn(&Operation) -> bool) -> usize {
    journal.iter().rposition(is_sync).map_or(0, |at| at + 1)
}
