//! The event log in one call each.

use larder::{
    feature::Timestamp,
    store::log::{Appended, Batch, EventSink, EventSource, NewRecord, Record, RecordId, Ticks},
};
use std::time::Duration;

/// Appends records; all of them become durable.
pub async fn append(log: &impl EventSink, records: Vec<NewRecord>) -> Vec<RecordId> {
    let bytes = records.iter().map(NewRecord::bytes).sum();
    let room = log.room(bytes).await.unwrap();
    match log.append(room, records).await.unwrap() {
        Appended::All(ids) => ids,
        Appended::Part(results) => results.into_iter().map(Result::unwrap).collect(),
    }
}

/// Appends a record that only carries log time.
pub async fn tick(log: &impl Ticks, partition: u32) {
    log.ask(&[partition], Timestamp::MAX).await.unwrap();
}

/// One read by a reader of its own.
pub async fn read(
    log: &impl EventSource,
    partition: u32,
    from: u64,
    bytes_max: usize,
    wait: Duration,
) -> Vec<Record> {
    batch(log, partition, from, bytes_max, wait).await.records
}

/// The same with what the read says of the end.
pub async fn batch(
    log: &impl EventSource,
    partition: u32,
    from: u64,
    bytes_max: usize,
    wait: Duration,
) -> Batch {
    let mut reader = log.reader(partition).await.unwrap();
    reader.seek(from).await.unwrap();
    reader.read(bytes_max, wait).await.unwrap()
}

pub async fn partitions(log: &impl EventSource) -> u32 {
    log.identity().await.unwrap().partitions
}

pub async fn end(log: &impl EventSource, partition: u32) -> u64 {
    log.extent(partition).await.unwrap().end
}
