//! Batches of one partition on their way to a reader's thread: they are read on the main runtime, one ahead.

use super::failure::Result;
use crate::{
    error::Error,
    store::{
        self,
        log::{Batch, BatchEnd, PartitionReader},
    },
};
use std::time::Duration;
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};

/// Bytes of records in a batch.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait for the reader. One more is being read.
const BATCHES_MAX: usize = 1;
/// How long one read waits at the end of the partition.
const READ_WAIT: Duration = Duration::from_secs(10);

/// Batches from an offset on.
pub struct Feed {
    batches: mpsc::Receiver<store::Result<Batch>>,
    pump: JoinHandle<Box<dyn PartitionReader>>,
}

impl Feed {
    pub fn start(runtime: &Handle, log: Box<dyn PartitionReader>, from: u64) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES_MAX);
        Self { batches, pump: runtime.spawn(pump(log, from, sender)) }
    }

    /// Waits for the next batch. It may be dropped while it waits: no batch is lost.
    pub async fn next(&mut self) -> Result<Batch> {
        match self.batches.recv().await {
            Some(batch) => Ok(batch?),
            None => Err(Error::internal("reading the event log ended without a reason").into()),
        }
    }

    /// Stops reading, and gives the log's reader back; none = it is lost.
    pub async fn stop(self) -> Option<Box<dyn PartitionReader>> {
        drop(self.batches);
        self.pump.await.ok()
    }
}

/// Reads until the feed is dropped, or until a read fails.
async fn pump(
    mut log: Box<dyn PartitionReader>,
    from: u64,
    batches: mpsc::Sender<store::Result<Batch>>,
) -> Box<dyn PartitionReader> {
    if let Err(error) = log.seek(from).await {
        let _ = batches.send(Err(error)).await;
        return log;
    }
    // Of the newest batch: the reader is told where the partition ends before anything is waited for.
    let mut last: Option<(u64, BatchEnd)> = None;
    loop {
        let at_end = last.is_some_and(|(_, end)| end != BatchEnd::More);
        let wait = if at_end { READ_WAIT } else { Duration::ZERO };
        let read = tokio::select! {
            () = batches.closed() => return log,
            read = log.read(BATCH_BYTES, wait) => read,
        };
        let failed = read.is_err();
        let is_news = match &read {
            Ok(batch) => {
                let end = Some((batch.end_offset, batch.end));
                std::mem::replace(&mut last, end) != end || !batch.records.is_empty()
            }
            Err(_) => true,
        };
        if is_news && batches.send(read).await.is_err() || failed {
            return log;
        }
    }
}
