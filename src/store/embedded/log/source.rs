//! The embedded store as an event log: every partition is assigned to this process once, and never revoked.

use super::{find, read};
use crate::{
    feature::Timestamp,
    store::{
        Result, Room, StoreError, Ticket,
        embedded::{EmbeddedStore, Shared},
        log::{
            Appended, Assignment, Assignments, Batch, BatchEnd, EventIndex, EventSink, EventSource, Extent,
            FindRecords, Found, LogIdentity, NewRecord, PartitionReader, Promises, Ticks, partition_of,
        },
    },
};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use std::{ops::Range, sync::Arc, time::Duration};

#[async_trait]
impl EventSink for EmbeddedStore {
    fn partition(&self, key: &[u8]) -> u32 {
        partition_of(key, self.shared.log.partitions())
    }

    async fn room(&self, bytes: usize) -> Result<Room> {
        self.shared.log.room(bytes).await.map(Room)
    }

    fn append(&self, room: Room, records: Vec<NewRecord>) -> Ticket<Appended> {
        self.shared.log.append(room.0, records)
    }

    fn is_atomic(&self) -> bool {
        true
    }

    fn failure(&self) -> Option<StoreError> {
        self.shared.log.failure()
    }
}

#[async_trait]
impl EventSource for EmbeddedStore {
    async fn identity(&self) -> Result<LogIdentity> {
        Ok(self.shared.log.identity())
    }

    async fn assignments(&self) -> Result<Box<dyn Assignments>> {
        Ok(Box::new(AllPartitions { shared: self.shared.clone(), left: 0..self.shared.log.partitions() }))
    }

    async fn reader(&self, partition: u32) -> Result<Box<dyn PartitionReader>> {
        self.shared.log.extent(partition)?;
        Ok(Box::new(Reader { shared: self.shared.clone(), partition, next_offset: 0 }))
    }

    async fn extent(&self, partition: u32) -> Result<Extent> {
        self.shared.log.extent(partition)
    }

    fn committed(&self, partition: u32, next_offset: u64) {
        self.shared.log.keep_from(partition, next_offset);
    }

    fn index(&self) -> Option<&dyn EventIndex> {
        Some(self)
    }

    fn promises(&self) -> Option<&dyn Promises> {
        Some(self)
    }
}

#[async_trait]
impl Ticks for EmbeddedStore {
    async fn ask(&self, partitions: &[u32], past: Timestamp) -> Result<()> {
        let log = &self.shared.log;
        let ticks = partitions.iter().map(async |partition| {
            let newest = log.extent(*partition)?.log_time;
            if newest.is_some_and(|newest| newest > past) { Ok(()) } else { log.tick(*partition).await }
        });
        try_join_all(ticks).await.map(drop)
    }
}

#[async_trait]
impl EventIndex for EmbeddedStore {
    async fn find(&self, query: FindRecords) -> Result<Found> {
        find(&self.shared, query).await
    }
}

impl Promises for EmbeddedStore {
    fn settled(&self, partition: u32, next_offset: u64) {
        self.shared.published.timeline().streams.settle(partition, next_offset);
    }
}

/// Assigns every partition, one after the other.
struct AllPartitions {
    shared: Arc<Shared>,
    left: Range<u32>,
}

#[async_trait]
impl Assignments for AllPartitions {
    async fn next(&mut self) -> Result<Assignment> {
        let Some(partition) = self.left.next() else { return std::future::pending().await };
        let reader = Reader { shared: self.shared.clone(), partition, next_offset: 0 };
        Ok(Assignment::Assigned { partition, reader: Box::new(reader) })
    }
}

/// Reads one partition of the log.
struct Reader {
    shared: Arc<Shared>,
    partition: u32,
    next_offset: u64,
}

#[async_trait]
impl PartitionReader for Reader {
    async fn seek(&mut self, offset: u64) -> Result<()> {
        self.next_offset = offset;
        Ok(())
    }

    async fn read(&mut self, bytes_max: usize, wait: Duration) -> Result<Batch> {
        let records = read(&self.shared, self.partition, self.next_offset, bytes_max, wait).await?;
        let extent = self.shared.log.extent(self.partition)?;
        let next_offset = match records.last() {
            Some(last) => last.offset + 1,
            // What is not kept any more is passed over.
            None => self.next_offset.max(extent.start),
        };
        self.next_offset = next_offset;
        let end = if next_offset < extent.end { BatchEnd::More } else { BatchEnd::Reached };
        Ok(Batch { records, next_offset, end_offset: extent.end.max(next_offset), end })
    }
}
