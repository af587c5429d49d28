//! Appends that wait for the log's thread, in the order in which they came.

use super::blob::Piece;
use crate::store::{Result, embedded::stopped};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Bytes of records that may wait; callers wait for room. Each append takes a KiB more than it has, which bounds their
/// number.
const QUEUE_KIB_MAX: usize = 128 * 1024;

/// Records of one caller, all or none.
#[derive(Debug)]
pub struct Append {
    pub parts: Vec<Part>,
    /// Gets the first offset of each part.
    pub reply: oneshot::Sender<Result<Vec<u64>>>,
    /// Room in the queue, given back when the append is done.
    pub room: OwnedSemaphorePermit,
}

/// Those of them that belong to one partition.
#[derive(Debug)]
pub struct Part {
    pub partition: u32,
    pub pieces: Vec<Piece>,
}

/// What the thread is to do next.
#[derive(Debug, Default)]
pub struct Work {
    pub appends: Vec<Append>,
    /// Callers that wait until everything outdated is removed.
    pub removals: Vec<oneshot::Sender<Result<()>>>,
    stopped: bool,
}

#[derive(Debug)]
pub struct Queue {
    work: Mutex<Work>,
    changed: Condvar,
    room: Arc<Semaphore>,
}

impl Queue {
    pub fn new() -> Self {
        Self {
            work: Mutex::default(),
            changed: Condvar::new(),
            room: Arc::new(Semaphore::new(QUEUE_KIB_MAX)),
        }
    }

    /// Waits until so many bytes of records may wait here, in the order in which it was asked.
    pub async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let kib = (1 + bytes / 1024).min(QUEUE_KIB_MAX) as u32;
        self.room.clone().acquire_many_owned(kib).await.map_err(|_| stopped())
    }

    /// Appends, in the order of the calls. The receiver gets the first offset of each part.
    pub fn append(
        &self,
        room: OwnedSemaphorePermit,
        parts: Vec<Part>,
    ) -> Result<oneshot::Receiver<Result<Vec<u64>>>> {
        let (reply, answer) = oneshot::channel();
        self.put(|work| work.appends.push(Append { parts, reply, room }))?;
        Ok(answer)
    }

    /// Asks for everything outdated to be removed.
    pub fn remove_outdated(&self, reply: oneshot::Sender<Result<()>>) -> Result<()> {
        self.put(|work| work.removals.push(reply))
    }

    fn put(&self, put: impl FnOnce(&mut Work)) -> Result<()> {
        let mut work = self.work();
        if work.stopped {
            return Err(stopped());
        }
        put(&mut work);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for work up to `wait`; `None` once the queue is stopped and empty.
    pub fn take(&self, wait: Duration) -> Option<Work> {
        let idle = |work: &mut Work| work.appends.is_empty() && work.removals.is_empty() && !work.stopped;
        let waited = self.changed.wait_timeout_while(self.work(), wait, idle);
        let (mut work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let taken = Work {
            appends: std::mem::take(&mut work.appends),
            removals: std::mem::take(&mut work.removals),
            stopped: work.stopped,
        };
        (!taken.stopped || !taken.appends.is_empty()).then_some(taken)
    }

    /// Lets nothing more in; what waits is done.
    pub fn stop(&self) {
        self.work().stopped = true;
        self.changed.notify_one();
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the queue with its thread, however that ends: nobody waits for an answer that cannot come.
pub struct Closing<'a>(pub &'a Queue);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.room.close();
        *self.0.work() = Work { stopped: true, ..Work::default() };
    }
}
