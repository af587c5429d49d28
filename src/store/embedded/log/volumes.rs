//! The log cut into volumes: files of an engine, numbered from 1, of which only the newest is written.
//!
//! ```text
//! DIR/events/000000000007.redb   closed: opened to be read, when somebody reads so far back
//!            000000000008.redb   closed
//!            000000000009.redb   the newest: all partitions, one transaction and one sync for a group of appends
//! ```
//!
//! So a start after a crash repairs one volume, however long the log is, and old events give their space back: a volume
//! leaves whole, as a file.
//!
//! A volume knows where it begins in every partition, and where each volume began that was kept then. Where one begins the
//! one before ended, so the newest alone tells what all of them hold, and nothing is written about a volume after its end.
//!
//! ```text
//! next   close the newest ─> make N.new, one synced transaction ─> rename it N.redb ─> sync the directory ─> append
//! leave  the newest forgets them, one synced transaction ─> remove the files ─> sync the directory
//! ```
//!
//! A crash between any two of these steps leaves a state that a start knows. The newest was closed, and nothing follows:
//! it is opened again. There is an `N.new`: it holds nothing, and is removed. There is an `N.redb`: it is whole, and
//! everything before it was closed. Files that the newest has forgotten are removed. Whatever else is missing or more
//! than it should be was not Larder's doing, and is refused. A step that fails is followed by what a start does.

mod start;
#[cfg(test)]
mod tests;

use self::start::{Kept, volume_name};
use super::{
    blob::Blob,
    files::VolumeFiles,
    mark::Mark,
    tables::{self, Identity, Search, Volume},
};
use crate::store::{
    Result,
    embedded::{
        engine::{Engine, ReadOnlyEngine},
        storage_error,
    },
    log::{Extent, FindRecords, Found},
};
use redb::ReadTransaction;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Older volumes that are kept open for readers.
const OPEN_VOLUMES_MAX: usize = 4;

/// The log as it is kept.
#[derive(Debug)]
pub struct Volumes {
    files: Box<dyn VolumeFiles>,
    partitions: u32,
    /// Bytes of blobs in one volume, or those of one group of appends.
    bytes_max: u64,
    /// The log's thread alone takes it, and before `state`.
    end: Mutex<End>,
    /// Held while the newest volume is read, so that it is not closed under its readers.
    state: RwLock<State>,
    /// Older volumes, the one read last at the end. Taken before `state`.
    opened: Mutex<VecDeque<(u64, Arc<ReadOnlyEngine>)>>,
}

/// Where the log ends, and what the newest volume holds.
#[derive(Debug)]
struct End {
    marks: Vec<Mark>,
    bytes: u64,
    /// The log time of its first record.
    oldest: Option<i64>,
}

#[derive(Debug)]
struct State {
    /// Of the newest volume.
    identity: Identity,
    /// Oldest first; the last one is the newest.
    volumes: Vec<Volume>,
    /// None where the next volume could not begin, nor this one be opened again.
    newest: Option<Engine>,
}

impl Volumes {
    /// Finds what is there, or begins the first volume. Refuses another number of partitions.
    pub fn open(files: Box<dyn VolumeFiles>, partitions: u32, bytes_max: u64) -> Result<Self> {
        let Kept { state, end } = start::recover(&*files, partitions)?;
        Ok(Self {
            files,
            partitions,
            bytes_max,
            end: Mutex::new(end),
            state: RwLock::new(state),
            opened: Mutex::default(),
        })
    }

    /// What a partition holds.
    /// Drawn when the log began.
    pub fn log_id(&self) -> u64 {
        self.state().identity.log
    }

    pub fn bounds(&self, partition: u32) -> Extent {
        let end = self.end().marks[partition as usize];
        end.bounds(self.state().volumes[0].begin[partition as usize].offset)
    }

    /// Makes blobs durable, in a volume that has room for them.
    pub fn append(&self, blobs: &[(u32, Blob)]) -> Result<()> {
        let mut end = self.end();
        self.reopen(&mut end)?;
        let bytes: u64 = blobs.iter().map(|(_, blob)| blob.bytes().len() as u64).sum();
        if end.bytes > 0 && end.bytes + bytes > self.bytes_max {
            self.begin_next(&mut end)?;
        }
        let mut marks = end.marks.clone();
        self.state().newest()?.write(|txn| tables::append(txn, blobs, &mut marks))?;
        let oldest = blobs.iter().map(|(_, blob)| blob.head.log_time).min();
        *end = End { marks, bytes: end.bytes + bytes, oldest: end.oldest.or(oldest) };
        Ok(())
    }

    /// Begins a volume where the newest holds a record of an older log time: what a quiet log holds must leave as well.
    pub fn begin_if_older(&self, than: i64) -> Result<()> {
        let mut end = self.end();
        self.reopen(&mut end)?;
        match end.oldest.is_some_and(|oldest| oldest < than) {
            true => self.begin_next(&mut end),
            false => Ok(()),
        }
    }

    /// The log time of a record, or of the oldest one after it.
    pub fn log_time_at(&self, partition: u32, offset: u64) -> Result<Option<i64>> {
        let mut found = None;
        self.visit(partition, offset, |txn| {
            found = tables::log_time_at(txn, partition, offset)?;
            Ok(found.is_some())
        })?;
        Ok(found)
    }

    /// Blobs from the one on that holds an offset, about `bytes_max` bytes of them.
    pub fn read(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Vec<Blob>> {
        let (mut found, mut bytes_left) = (Vec::new(), bytes_max.max(1));
        self.visit(partition, from, |txn| {
            tables::read(txn, partition, from, &mut bytes_left, &mut found)?;
            Ok(bytes_left == 0)
        })?;
        Ok(found)
    }

    pub fn find(&self, query: &FindRecords) -> Result<Found> {
        let mut search = Search::new(query);
        self.visit(query.partition, query.from, |txn| tables::find(txn, query, &mut search))?;
        Ok(search.found)
    }

    /// Removes the oldest volumes: those of which every partition's records have an older log time than `before` and lie
    /// before its offset in `keep_from`. The newest always stays. Answers with the first offset that is left of each
    /// partition.
    pub fn remove(&self, before: i64, keep_from: &[u64]) -> Result<Vec<u64>> {
        // Nothing is appended and no volume begins meanwhile.
        let mut end = self.end();
        self.reopen(&mut end)?;
        let outdated = self.state().outdated(before, keep_from);
        if !outdated.is_empty() {
            self.state().newest()?.write(|txn| tables::forget(txn, &outdated))?;
            self.state_mut().volumes.drain(..outdated.len());
            self.opened().retain(|(number, _)| !outdated.contains(number));
            start::remove_files(&*self.files, outdated.iter().map(|number| volume_name(*number)));
        }
        let starts = self.state().volumes[0].begin.iter().map(|mark| mark.offset).collect();
        Ok(starts)
    }

    /// Shows each volume that holds records of a partition from an offset on, oldest first, until one is enough.
    fn visit(
        &self,
        partition: u32,
        from: u64,
        mut enough: impl FnMut(&ReadTransaction) -> Result<bool, redb::Error>,
    ) -> Result<()> {
        let mut last = 0;
        loop {
            let state = self.state();
            let Some(number) = state.holding(partition, from, last) else { return Ok(()) };
            let done = if number == state.identity.number {
                state.newest()?.read(&mut enough)?
            } else {
                drop(state);
                match self.older(number)? {
                    Some(volume) => volume.read(&mut enough)?,
                    // It was removed meanwhile.
                    None => false,
                }
            };
            if done {
                return Ok(());
            }
            last = number;
        }
    }

    /// An older volume, opened unless it is; none if it is not kept any more.
    fn older(&self, number: u64) -> Result<Option<Arc<ReadOnlyEngine>>> {
        let mut open = self.opened();
        if let Some(at) = open.iter().position(|(known, _)| *known == number) {
            let found = open.remove(at).expect("just found");
            open.push_back(found.clone());
            return Ok(Some(found.1));
        }
        let identity = Identity { number, ..self.state().identity };
        let opened = start::open_older(&*self.files, &identity);
        // Whoever removes it looks here after it has left the list.
        if !self.state().keeps(number) {
            return Ok(None);
        }
        let opened = Arc::new(opened?);
        while open.len() >= OPEN_VOLUMES_MAX {
            open.pop_front();
        }
        open.push_back((number, opened.clone()));
        Ok(Some(opened))
    }

    /// Closes the newest volume and begins the next.
    fn begin_next(&self, end: &mut End) -> Result<()> {
        let mut state = self.state_mut();
        let begun = state.begin_next(&*self.files, &end.marks);
        match &begun {
            Ok(()) => *end = End { bytes: 0, oldest: None, marks: std::mem::take(&mut end.marks) },
            Err(_) => {
                if let Err(error) = self.recover(&mut state, end) {
                    tracing::error!(%error, "cannot open the event log again; appends will try");
                }
            }
        }
        begun
    }

    /// Opens the newest volume where it could not be, after one failed to begin.
    fn reopen(&self, end: &mut End) -> Result<()> {
        if self.state().newest.is_some() {
            return Ok(());
        }
        self.recover(&mut self.state_mut(), end)
    }

    fn recover(&self, state: &mut State, end: &mut End) -> Result<()> {
        state.newest = None;
        let kept = start::recover(&*self.files, self.partitions)?;
        if kept.end.marks != end.marks {
            // Its offsets were given to others.
            return Err(storage_error(
                "go on with",
                "the event log",
                "an append that failed is there after all",
            ));
        }
        (*state, *end) = (kept.state, kept.end);
        Ok(())
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<ReadOnlyEngine>)>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn newest(&self) -> Result<&Engine> {
        self.newest
            .as_ref()
            .ok_or_else(|| storage_error("open", "the event log", "its next volume could not be made"))
    }

    fn keeps(&self, number: u64) -> bool {
        self.volumes.binary_search_by_key(&number, |volume| volume.number).is_ok()
    }

    /// The oldest volume after the one numbered `last` that holds records of a partition from an offset on, or the newest.
    fn holding(&self, partition: u32, from: u64, last: u64) -> Option<u64> {
        let begin = |volume: &Volume| volume.begin[partition as usize].offset;
        // A volume ends where the next begins.
        let first = self.volumes[1..].partition_point(|next| begin(next) <= from);
        let mut candidates =
            self.volumes[first..].iter().zip(self.volumes[first + 1..].iter().map(Some).chain([None]));
        let holds = |(volume, next): &(&Volume, Option<&Volume>)| {
            volume.number > last && next.is_none_or(|next| begin(next) > begin(volume))
        };
        candidates.find(holds).map(|(volume, _)| volume.number)
    }

    /// Numbers of the oldest volumes that nobody needs.
    fn outdated(&self, before: i64, keep_from: &[u64]) -> Vec<u64> {
        let outdated = |volume: &[Volume]| {
            let (begin, end) = (&volume[0].begin, &volume[1].begin);
            begin.iter().zip(end).zip(keep_from).all(|((begin, end), keep_from)| {
                begin.offset == end.offset || (end.log_time < before && end.offset <= *keep_from)
            })
        };
        self.volumes.windows(2).take_while(|pair| outdated(pair)).map(|pair| pair[0].number).collect()
    }

    fn begin_next(&mut self, files: &dyn VolumeFiles, marks: &[Mark]) -> Result<()> {
        // Before there is a next one: everything but the newest was closed, whatever happens.
        self.newest.take().map_or(Ok(()), Engine::close)?;
        let identity = Identity { number: self.identity.number + 1, ..self.identity };
        let mut volumes = self.volumes.clone();
        volumes.push(Volume { number: identity.number, begin: marks.to_vec() });
        self.newest = Some(start::begin(files, &identity, &volumes)?);
        (self.identity, self.volumes) = (identity, volumes);
        Ok(())
    }
}
