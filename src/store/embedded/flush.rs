//! The flusher: turns sealed memtables into segments, beside readers and the writer.

use super::{Shared, manifest::Changes, segment_writer::write_memtable, state::Sealed};
use crate::{error::Result, feature::GroupId};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

/// How long the writer waits at a time for the flusher to catch up.
const WAIT: Duration = Duration::from_secs(10);

/// How the writer and the flusher talk.
#[derive(Debug, Default)]
pub struct Handle {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    wanted: bool,
    stopped: bool,
    waiting: Vec<oneshot::Sender<Result<()>>>,
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be something to do.
    pub fn notify(&self) {
        self.lock().wanted = true;
        self.changed.notify_all();
    }

    /// Answers once everything that is sealed now lies in segments.
    pub fn notify_when_flushed(&self, replies: Vec<oneshot::Sender<Result<()>>>) {
        let mut work = self.lock();
        work.waiting.extend(replies);
        work.wanted = true;
        self.changed.notify_all();
    }

    /// Holds the writer back while the flusher has not kept up; false if it did not catch up in time.
    pub fn wait_for_room(&self, shared: &Shared) -> bool {
        let behind = || shared.published.state().sealed_bytes() > shared.options.memtable_bytes_max;
        let work = self.lock();
        drop(self.changed.wait_timeout_while(work, WAIT, |work| behind() && !work.stopped));
        !behind()
    }

    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

/// Runs until the store is dropped.
pub fn run(shared: &Shared, handle: &Handle) {
    loop {
        let waiting = {
            let work = handle.lock();
            let mut work = handle
                .changed
                .wait_while(work, |work| !work.wanted && !work.stopped)
                .unwrap_or_else(PoisonError::into_inner);
            if work.stopped {
                return;
            }
            work.wanted = false;
            std::mem::take(&mut work.waiting)
        };
        let result = flush_all(shared, handle);
        if let Err(error) = &result {
            tracing::error!(%error, "flushing the recent rows failed; they stay in the write-ahead tail");
        }
        for reply in waiting {
            let _ = reply.send(result.clone());
        }
    }
}

fn flush_all(shared: &Shared, handle: &Handle) -> Result<()> {
    loop {
        let state = shared.published.state();
        let oldest = state.groups.iter().find_map(|(id, group)| Some((*id, group.sealed.first()?.clone())));
        let Some((id, sealed)) = oldest else { return Ok(()) };
        flush(shared, id, &sealed)?;
        handle.changed.notify_all();
    }
}

fn flush(shared: &Shared, id: GroupId, sealed: &Sealed) -> Result<()> {
    let schema = shared.published.state().groups[&id].schema.clone();
    let segment = write_memtable(&shared.medium, shared.next_segment_id(), &schema, &sealed.memtable)?;
    shared.medium.sync_directory()?;
    let changes = Changes {
        segments: vec![segment.meta.clone()],
        flushed: Some((id, sealed.last_commit)),
        ..Changes::default()
    };
    shared.manifest.apply(&changes, &[]).inspect_err(|_| shared.medium.remove(segment.meta.id))?;
    shared.published.change(|state| {
        let Some(group) = state.group_mut(id) else { return };
        group.sealed.retain(|other| !Arc::ptr_eq(&other.memtable, &sealed.memtable));
        group.add_segment(segment);
    });
    Ok(())
}
