//! A background thread that works when it is told to, and now and then by itself.

use crate::store::Result;
use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

/// How long a writer waits at a time for the thread to catch up.
const WAIT: Duration = Duration::from_secs(10);

/// How others talk to the thread.
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

    /// Asks for a whole run and answers when it is done.
    pub fn ask(&self, replies: impl IntoIterator<Item = oneshot::Sender<Result<()>>>) {
        let mut work = self.lock();
        work.waiting.extend(replies);
        work.wanted = true;
        self.changed.notify_all();
    }

    /// Tells those who wait that a step is done.
    pub fn progressed(&self) {
        self.changed.notify_all();
    }

    /// Holds the caller back while `behind`; false if the thread did not catch up in time.
    pub fn wait_while(&self, behind: impl Fn() -> bool) -> bool {
        let work = self.lock();
        drop(self.changed.wait_timeout_while(work, WAIT, |work| behind() && !work.stopped));
        !behind()
    }

    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Runs `body` whenever it is wanted, and at least every `every`, until stopped. It is told whether somebody waits.
    pub fn run(&self, every: Duration, mut body: impl FnMut(bool) -> Result<()>) {
        loop {
            let waiting = {
                let work = self.lock();
                let waited =
                    self.changed.wait_timeout_while(work, every, |work| !work.wanted && !work.stopped);
                let (mut work, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if work.stopped {
                    return;
                }
                work.wanted = false;
                std::mem::take(&mut work.waiting)
            };
            let result = body(!waiting.is_empty());
            if let Err(error) = &result {
                tracing::error!(%error, "background work of the store failed; it will be tried again");
            }
            for reply in waiting {
                let _ = reply.send(result.clone());
            }
        }
    }
}
