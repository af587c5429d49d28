//! The event log, and what its readers keep.

use super::{EmbeddedStore, stopped};
use crate::{
    error::Result,
    store::events::{
        Claim, DeadLetter, EventLog, FindRecords, Found, LateEvent, LogBounds, NewRecord, Place, ReaderId,
        ReaderState, Record, SideQuery, StreamCommit, StreamStore,
    },
};
use async_trait::async_trait;
use std::time::Duration;

#[async_trait]
impl EventLog for EmbeddedStore {
    fn partitions(&self) -> u32 {
        1
    }

    async fn append(&self, _: Vec<NewRecord>) -> Result<Vec<Place>> {
        Err(stopped())
    }

    async fn tick(&self, _: u32) -> Result<()> {
        Err(stopped())
    }

    async fn read(&self, _: u32, _: u64, _: usize, _: Duration) -> Result<Vec<Record>> {
        Err(stopped())
    }

    async fn bounds(&self, _: u32) -> Result<LogBounds> {
        Err(stopped())
    }

    async fn find(&self, _: FindRecords) -> Result<Found> {
        Err(stopped())
    }
}

#[async_trait]
impl StreamStore for EmbeddedStore {
    async fn claim(&self, _: ReaderId) -> Result<Claim> {
        Err(stopped())
    }

    async fn commit_stream(&self, _: StreamCommit) -> Result<()> {
        Err(stopped())
    }

    fn settled(&self, _: u32, _: u64) {}

    async fn readers(&self) -> Result<Vec<ReaderState>> {
        Err(stopped())
    }

    async fn late_events(&self, _: SideQuery) -> Result<Vec<LateEvent>> {
        Err(stopped())
    }

    async fn dead_letters(&self, _: SideQuery) -> Result<Vec<DeadLetter>> {
        Err(stopped())
    }
}
