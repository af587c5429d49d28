//! How a volume begins, and how a start finds those that did.

use super::{End, State};
use crate::{
    store::embedded::{
        engine::{Engine, ReadOnlyEngine, not_opened},
        log::{
            files::VolumeFiles,
            mark::Mark,
            tables::{self, FORMAT, Identity, Volume},
        },
        storage_error,
    },
    store::{Result, StoreError},
};
use redb::{Builder, Database, DatabaseError};
use std::fmt;

/// The log keeps its newest blobs in memory itself.
const CACHE_BYTES: usize = 16 << 20;
/// Of a log that lies in memory anyway, and of each older volume.
const SMALL_CACHE_BYTES: usize = 1 << 20;

const ENDING: &str = ".redb";
/// Of a volume that is being made.
const UNFINISHED_ENDING: &str = ".new";

/// What a start finds.
pub struct Kept {
    pub state: State,
    pub end: End,
}

pub fn volume_name(number: u64) -> String {
    format!("{number:012}{ENDING}")
}

/// Opens the newest volume, which says what there is beside it, and removes what a crash left over. Where there is none,
/// begins the first.
pub fn recover(files: &dyn VolumeFiles, partitions: u32) -> Result<Kept> {
    let numbers = list(files)?;
    // What is there may owe it to luck so far.
    files.sync().map_err(|error| storage_error("sync", files.path("").display(), error))?;
    let Some(newest) = numbers.last().copied() else { return begin_first(files, partitions) };
    let path = files.path(&volume_name(newest));
    let engine = open_newest(files, newest)?;
    let identity = engine.read(tables::identity)?.filter(|identity| identity.number == newest);
    let identity = identity.ok_or_else(|| foreign(path.display()))?;
    check(&identity, partitions)?;
    let volumes = engine.read(|txn| tables::volumes(txn, partitions))?;
    if volumes.last().is_none_or(|volume| volume.number != newest) {
        return Err(foreign(path.display()));
    }
    let missing = volumes.iter().find(|volume| numbers.binary_search(&volume.number).is_err());
    if let Some(missing) = missing {
        return Err(refused(format!(
            "the event log misses {}; put it back, or restore the whole data directory from a backup",
            files.path(&volume_name(missing.number)).display()
        )));
    }
    let forgotten = numbers.iter().filter(|number| **number < volumes[0].number);
    remove_files(files, forgotten.map(|number| volume_name(*number)));
    let end = End::find(&engine, &volumes[volumes.len() - 1].begin)?;
    Ok(Kept { state: State { identity, volumes, newest: Some(engine) }, end })
}

/// Makes the last one of `volumes`, durable when this returns.
pub fn begin(files: &dyn VolumeFiles, identity: &Identity, volumes: &[Volume]) -> Result<Engine> {
    let name = volume_name(identity.number);
    let unfinished = format!("{:012}{UNFINISHED_ENDING}", identity.number);
    let path = files.path(&name);
    let database = files
        .create(&unfinished, &newest_builder(files))
        .map_err(|error| storage_error("make", path.display(), error))?;
    let engine = Engine::of(database, files.durable(), &path);
    engine.write(|txn| tables::begin(txn, identity, volumes))?;
    files
        .rename(&unfinished, &name)
        .and_then(|()| files.sync())
        .map_err(|error| storage_error("make", path.display(), error))?;
    Ok(engine)
}

/// Opens a volume that is not the newest.
pub fn open_older(files: &dyn VolumeFiles, identity: &Identity) -> Result<ReadOnlyEngine> {
    let name = volume_name(identity.number);
    let path = files.path(&name);
    let open = || files.open_read_only(&name, &builder(SMALL_CACHE_BYTES));
    let opened = match open() {
        // It was closed before the next one began; but who copies a directory may have been told otherwise.
        Err(DatabaseError::RepairAborted) => {
            tracing::warn!(volume = %path.display(), "a volume of the event log needs repair");
            files.open(&name, &builder(SMALL_CACHE_BYTES)).and_then(Database::close).and_then(|()| open())
        }
        opened => opened,
    };
    let engine = ReadOnlyEngine::of(opened.map_err(|error| not_opened(&path, error))?, &path);
    match engine.read(tables::identity)? {
        Some(known) if known == *identity => Ok(engine),
        _ => Err(foreign(path.display())),
    }
}

/// Removes files that are no part of the log any more. Failing is harmless: the next start removes them.
pub fn remove_files(files: &dyn VolumeFiles, names: impl Iterator<Item = String>) {
    let mut removed = false;
    for name in names {
        removed = true;
        if let Err(error) = files.remove(&name) {
            tracing::warn!(%error, name, "cannot remove old events; the next start tries again");
        }
    }
    if removed && let Err(error) = files.sync() {
        tracing::warn!(%error, "cannot sync the directory of the event log; removed files may come back until the next start");
    }
}

/// Numbers of the volumes that are there, in their order. Volumes that were being made hold nothing, and are removed.
fn list(files: &dyn VolumeFiles) -> Result<Vec<u64>> {
    let list_error = |error| storage_error("list", files.path("").display(), error);
    let mut numbers = Vec::new();
    for name in files.names().map_err(list_error)? {
        let number = |ending| name.strip_suffix(ending)?.parse().ok().filter(|number| *number > 0);
        let is_named = |number: &u64, ending| name == format!("{number:012}{ending}");
        if let Some(number) = number(ENDING).filter(|number| is_named(number, ENDING)) {
            numbers.push(number);
        } else if number(UNFINISHED_ENDING).is_some_and(|number| is_named(&number, UNFINISHED_ENDING)) {
            files
                .remove(&name)
                .map_err(|error| storage_error("remove", files.path(&name).display(), error))?;
        } else {
            return Err(refused(format!(
                "{} is no volume of the event log; move it elsewhere and start again",
                files.path(&name).display()
            )));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn begin_first(files: &dyn VolumeFiles, partitions: u32) -> Result<Kept> {
    let identity = Identity { format: FORMAT, partitions, log: fastrand::u64(..), number: 1 };
    let begin_marks = vec![Mark::ZERO; partitions as usize];
    let volumes = vec![Volume { number: 1, begin: begin_marks.clone() }];
    let engine = begin(files, &identity, &volumes)?;
    let end = End { marks: begin_marks, bytes: 0, oldest: None };
    Ok(Kept { state: State { identity, volumes, newest: Some(engine) }, end })
}

fn open_newest(files: &dyn VolumeFiles, number: u64) -> Result<Engine> {
    let name = volume_name(number);
    let path = files.path(&name);
    let opened = files.open(&name, &newest_builder(files));
    let database = opened.map_err(|error| not_opened(&path, error))?;
    Ok(Engine::of(database, files.durable(), &path))
}

fn check(identity: &Identity, partitions: u32) -> Result<()> {
    match *identity {
        Identity { format: FORMAT, partitions: known, .. } if known == partitions => Ok(()),
        Identity { format: FORMAT, partitions: known, .. } => Err(refused(format!(
            "the event log has {known} partitions and {partitions} are set; set {known}, or start with an empty \
             data directory: an entity's events must stay in one partition"
        ))),
        Identity { format, .. } => Err(refused(format!(
            "the event log has format {format}, this program knows {FORMAT}; use a newer larder"
        ))),
    }
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder
}

/// How the newest volume is opened.
fn newest_builder(files: &dyn VolumeFiles) -> Builder {
    builder(if files.durable() { CACHE_BYTES } else { SMALL_CACHE_BYTES })
}

fn foreign(path: impl fmt::Display) -> StoreError {
    refused(format!(
        "{path} is no volume of this event log, or not the one that it is named for; put back what belongs there, or \
         restore the whole data directory from a backup"
    ))
}

fn refused(message: String) -> StoreError {
    StoreError::Unusable(message)
}

impl End {
    /// Where the newest volume ends that begins at these marks.
    fn find(newest: &Engine, begin: &[Mark]) -> Result<Self> {
        newest.read(|txn| {
            let mut end = End { marks: Vec::with_capacity(begin.len()), bytes: 0, oldest: None };
            for (partition, begin) in begin.iter().enumerate() {
                let (mark, oldest) = tables::end(txn, partition as u32, *begin)?;
                end.marks.push(mark);
                end.bytes += mark.bytes - begin.bytes;
                end.oldest = end.oldest.into_iter().chain(oldest).min();
            }
            Ok(end)
        })
    }
}
