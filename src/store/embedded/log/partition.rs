//! What is in memory of a partition: its bounds, and its newest blobs, so that who follows its end touches no disk.

use super::blob::Blob;
use crate::{feature::Timestamp, store::log::Extent};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

#[derive(Debug)]
pub struct Partition {
    pub bounds: watch::Sender<Extent>,
    recent: Mutex<Recent>,
    recent_bytes_max: usize,
    /// The live reader's next offset: what it has not read is never removed.
    keep_from: AtomicU64,
}

/// Blobs that follow each other up to the end.
#[derive(Debug, Default)]
struct Recent {
    blobs: VecDeque<Blob>,
    bytes: usize,
}

impl Partition {
    pub fn new(bounds: Extent, recent_bytes_max: usize) -> Self {
        Self {
            bounds: watch::Sender::new(bounds),
            recent: Mutex::default(),
            recent_bytes_max,
            keep_from: AtomicU64::new(0),
        }
    }

    /// Lets readers see a blob that is durable.
    pub fn publish(&self, blob: &Blob) {
        {
            let mut recent = self.recent();
            recent.bytes += blob.bytes().len();
            recent.blobs.push_back(blob.clone());
            // The newest stays, however large it is.
            while recent.bytes > self.recent_bytes_max
                && recent.blobs.len() > 1
                && let Some(oldest) = recent.blobs.pop_front()
            {
                recent.bytes -= oldest.bytes().len();
            }
        }
        self.bounds.send_modify(|bounds| {
            bounds.end = blob.end();
            bounds.log_time = Some(Timestamp::from_stored(blob.head.log_time));
        });
    }

    /// Readers do not see what lies before this any more.
    pub fn remove_before(&self, start: u64) {
        {
            let mut recent = self.recent();
            while let Some(oldest) = recent.blobs.front().filter(|blob| blob.first < start) {
                recent.bytes -= oldest.bytes().len();
                recent.blobs.pop_front();
            }
        }
        self.bounds.send_if_modified(|bounds| {
            bounds.start = bounds.start.max(start);
            false
        });
    }

    /// Blobs from the one on that holds an offset, about `bytes_max` bytes of them; none if it is not here.
    pub fn newest(&self, from: u64, bytes_max: usize) -> Vec<Blob> {
        let recent = self.recent();
        let at = recent.blobs.partition_point(|blob| blob.first <= from);
        let Some(at) = at.checked_sub(1) else { return Vec::new() };
        let mut bytes = 0;
        let fitting = recent.blobs.range(at..).take_while(|blob| {
            let before = bytes;
            bytes += blob.bytes().len();
            before < bytes_max
        });
        fitting.cloned().collect()
    }

    pub fn keep_from(&self) -> u64 {
        self.keep_from.load(Ordering::Relaxed)
    }

    pub fn set_keep_from(&self, offset: u64) {
        self.keep_from.store(offset, Ordering::Relaxed);
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
