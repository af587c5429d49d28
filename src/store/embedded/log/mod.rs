//! The event log: records in partitions, in engines of its own, so that it never waits for the store's writer.
//!
//! ```text
//! append ─> encoded by its caller ─> queue ─> one thread: what waits, in one transaction with one sync
//!                                                │
//!      volumes: blobs of about 64 KiB  <─────────┴─> newest blobs in memory <── whoever follows the end
//! ```
//!
//! A blob is the unit of most things: it is written, read and skipped whole, has one log time, and its records are handed
//! out as slices of it. So an event costs a copy into its blob and little else. Blobs of all partitions fill one volume
//! after the other (see `volumes`): the newest is written and, after a crash, repaired; older ones are read, and removed
//! whole.

mod appender;
mod blob;
mod files;
mod mark;
mod partition;
mod queue;
mod source;
mod tables;
mod volumes;

pub use appender::run;
pub use files::{Directory, Memory, VolumeFiles};

use self::{
    blob::{BLOB_BYTES_MAX, Blob, Piece, record_bytes},
    partition::Partition,
    queue::{Part, Queue},
    volumes::Volumes,
};
use super::{Options, Shared, blocking, stopped};
use crate::store::{
    Refusal, Result, StoreError, Ticket,
    log::{Appended, Extent, FindRecords, Found, LogIdentity, NewRecord, Record, RecordId, partition_of},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Bytes of the newest blobs that are kept in memory, all partitions together.
const RECENT_BYTES_MAX: usize = 8 << 20;
const PARTITIONS_MAX: u32 = 1_024;

/// The log as callers and its thread share it.
#[derive(Debug)]
pub struct PartitionedLog {
    queue: Queue,
    volumes: Volumes,
    partitions: Vec<Partition>,
    /// Of the last append.
    failure: Mutex<Option<StoreError>>,
}

impl PartitionedLog {
    pub fn open(files: Box<dyn VolumeFiles>, options: &Options) -> Result<Self> {
        let partitions = options.partitions;
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(StoreError::Unusable(format!(
                "an event log has 1 to {PARTITIONS_MAX} partitions, not {partitions}"
            )));
        }
        let volumes = Volumes::open(files, partitions, options.event_volume_bytes_max)?;
        let recent_bytes_max = RECENT_BYTES_MAX / partitions as usize;
        let all =
            (0..partitions).map(|partition| Partition::new(volumes.bounds(partition), recent_bytes_max));
        Ok(Self { queue: Queue::new(), partitions: all.collect(), volumes, failure: Mutex::default() })
    }

    pub fn partitions(&self) -> u32 {
        self.partitions.len() as u32
    }

    pub fn identity(&self) -> LogIdentity {
        LogIdentity { id: self.volumes.log_id(), partitions: self.partitions() }
    }

    pub fn extent(&self, partition: u32) -> Result<Extent> {
        Ok(*self.partition(partition)?.bounds.borrow())
    }

    /// Why the last append failed, if it did.
    pub fn failure(&self) -> Option<StoreError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, durable: &Result<()>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = durable.clone().err();
    }

    /// The log time of a record, or of the oldest one after it.
    pub fn log_time_at(&self, partition: u32, offset: u64) -> Result<Option<i64>> {
        self.volumes.log_time_at(partition, offset)
    }

    /// Tells what the live reader of a partition has not read: it stays.
    pub fn keep_from(&self, partition: u32, offset: u64) {
        if let Some(partition) = self.partitions.get(partition as usize) {
            partition.set_keep_from(offset);
        }
    }

    /// Waits until so many bytes of records may wait for the log's thread.
    pub async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        self.queue.room(bytes).await
    }

    /// Appends records, in the order of the calls.
    pub fn append(&self, room: OwnedSemaphorePermit, records: Vec<NewRecord>) -> Ticket<Appended> {
        if records.is_empty() {
            return Ticket::new(async { Ok(Appended::All(Vec::new())) });
        }
        let (parts, of_record) = cut(&records, self.partitions());
        let partitions: Vec<u32> = parts.iter().map(|part| part.partition).collect();
        drop(records);
        let queued = self.queue.append(room, parts);
        Ticket::new(async move {
            let mut next = queued?.await.map_err(|_| stopped())??;
            let id = |part: u32| {
                let offset = &mut next[part as usize];
                *offset += 1;
                RecordId { partition: partitions[part as usize], offset: *offset - 1 }
            };
            Ok(Appended::All(of_record.into_iter().map(id).collect()))
        })
    }

    pub async fn tick(&self, partition: u32) -> Result<()> {
        self.partition(partition)?;
        let room = self.queue.room(0).await?;
        let queued = self.queue.append(room, vec![Part { partition, pieces: vec![Piece::tick()] }])?;
        queued.await.map_err(|_| stopped())?.map(drop)
    }

    /// Asks for everything outdated to be removed.
    pub fn remove_outdated(&self, reply: oneshot::Sender<Result<()>>) -> Result<()> {
        self.queue.remove_outdated(reply)
    }

    pub fn stop(&self) {
        self.queue.stop();
    }

    fn publish(&self, partition: u32, blob: &Blob) {
        self.partitions[partition as usize].publish(blob);
    }

    fn partition(&self, partition: u32) -> Result<&Partition> {
        self.partitions.get(partition as usize).ok_or_else(|| {
            StoreError::Refused(Refusal::NoPartition { partition, partitions: self.partitions() })
        })
    }
}

/// Records from an offset on, once there are some.
pub async fn read(
    shared: &Arc<Shared>,
    partition: u32,
    from: u64,
    bytes_max: usize,
    wait: Duration,
) -> Result<Vec<Record>> {
    let bytes_max = bytes_max.max(1);
    let here = shared.log.partition(partition)?;
    let end = here.bounds.borrow().end;
    if end <= from {
        let mut bounds = here.bounds.subscribe();
        if tokio::time::timeout(wait, bounds.wait_for(|bounds| bounds.end > from)).await.is_err() {
            return Ok(Vec::new());
        }
    }
    let mut blobs = here.newest(from, bytes_max);
    if blobs.is_empty() {
        let shared = shared.clone();
        blobs = blocking(move || shared.log.volumes.read(partition, from, bytes_max)).await?;
    }
    let mut bytes_left = bytes_max;
    // As many as there are, or as fit if all were empty.
    let records: usize = blobs.iter().map(|blob| blob.head.records as usize).sum();
    let mut records = Vec::with_capacity(records.min(1 + bytes_max / blob::RECORD_BYTES));
    for blob in &blobs {
        if bytes_left == 0 {
            break;
        }
        blob.read(from, &mut bytes_left, &mut records)
            .ok_or_else(|| StoreError::damaged("the event log", "a blob cannot be read"))?;
    }
    Ok(records)
}

pub async fn find(shared: &Arc<Shared>, query: FindRecords) -> Result<Found> {
    shared.log.partition(query.partition)?;
    let shared = shared.clone();
    blocking(move || shared.log.volumes.find(&query)).await
}

/// Records encoded by partition, in pieces that each fit a blob; and for each record its part.
fn cut(records: &[NewRecord], partitions: u32) -> (Vec<Part>, Vec<u32>) {
    let mut parts: Vec<Part> = Vec::new();
    let mut by_partition: HashMap<u32, u32> = HashMap::new();
    let mut of_record = Vec::with_capacity(records.len());
    let mut bytes_left: usize = records.iter().map(record_bytes).sum();
    for record in records {
        let part = if partitions == 1 {
            0
        } else {
            let partition = partition_of(&record.key, partitions);
            let next = by_partition.len() as u32;
            *by_partition.entry(partition).or_insert(next)
        };
        of_record.push(part);
        let bytes = record_bytes(record);
        let part = match parts.get_mut(part as usize) {
            Some(part) => part,
            None => {
                let partition = if partitions == 1 { 0 } else { partition_of(&record.key, partitions) };
                parts.push(Part { partition, pieces: Vec::new() });
                parts.last_mut().expect("just pushed")
            }
        };
        if !part.pieces.last().is_some_and(|piece| piece.takes(bytes)) {
            let expected = (bytes_left / partitions as usize).min(BLOB_BYTES_MAX).max(bytes);
            part.pieces.push(Piece::with_capacity(expected));
        }
        part.pieces.last_mut().expect("just pushed").push_event(record);
        bytes_left -= bytes;
    }
    (parts, of_record)
}
