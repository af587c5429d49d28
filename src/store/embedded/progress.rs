//! What readers of the event log keep, and how a start takes it up again.

use super::{
    EmbeddedStore, coming,
    log::PartitionedLog,
    manifest::Manifest,
    prepare::{self, PreparedBatch},
    readers::{self, ReaderChanges},
    stopped,
    timeline::Streams,
    writer::{Request, StreamRequest},
};
use crate::{
    feature::Timestamp,
    store::{
        Result, StoreError,
        readers::{
            Claim, DeadLetter, LateEvent, Progress, Purpose, ReaderId, ReaderState, SideQuery, StreamCommit,
        },
    },
};
use async_trait::async_trait;
use std::collections::HashMap;
use tokio::sync::oneshot;

#[async_trait]
impl Progress for EmbeddedStore {
    async fn claim(&self, reader: ReaderId) -> Result<Claim> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Claim(reader, reply)).await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn commit_stream(&self, mut commit: StreamCommit) -> Result<()> {
        let of_rows = commit.rows.iter().map(|rows| prepare::bytes(&rows.rows.keys, &rows.rows.columns));
        let bytes = of_rows.sum::<usize>() + readers::bytes(&commit);
        let room = self.writer_room(bytes).await?;
        let parts = coming(bytes, move || {
            let rows = std::mem::take(&mut commit.rows).into_iter();
            let batches = rows.map(|rows| PreparedBatch::of_stream(rows, commit.created)).collect();
            (batches, ReaderChanges::new(commit))
        });
        let (reply, answer) = oneshot::channel();
        self.send(Request::Stream(Box::new(StreamRequest { parts, reply, room }))).await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn readers(&self) -> Result<Vec<ReaderState>> {
        self.blocking(|shared| shared.manifest.readers()).await
    }

    async fn note_stalled(&self, reader: ReaderId, epoch: u64, why: &str) -> Result<()> {
        let why = why.to_owned();
        let noted = self.blocking(move |shared| shared.manifest.note_stalled(reader, epoch, &why)).await?;
        noted.ok_or(StoreError::Fenced(reader))
    }

    async fn late_events(&self, query: SideQuery) -> Result<Vec<LateEvent>> {
        self.blocking(move |shared| shared.manifest.late_events(&query)).await
    }

    async fn dead_letters(&self, query: SideQuery) -> Result<Vec<DeadLetter>> {
        self.blocking(move |shared| shared.manifest.dead_letters(&query)).await
    }
}

/// Finds where the live reader of each partition stands: records from there on may still cause rows, and stay. Refuses a
/// log that ends before: its newest volume is gone, and what came next would get offsets that were read already.
pub fn recover(manifest: &Manifest, log: &PartitionedLog, streams: &mut Streams) -> Result<()> {
    let live = manifest.readers()?.into_iter().filter(|state| state.reader.purpose == Purpose::Live);
    let next_offsets: HashMap<u32, u64> =
        live.map(|state| (state.reader.partition, state.next_offset)).collect();
    for partition in 0..log.partitions() {
        let next = next_offsets.get(&partition).copied().unwrap_or(0);
        let bounds = log.extent(partition)?;
        if next > bounds.end {
            return Err(StoreError::Unusable(format!(
                "the event log ends at offset {} of partition {partition}, which was read up to {next}: its newest \
                 file is missing or too old; restore the whole data directory from one backup",
                bounds.end
            )));
        }
        let unsettled = if next < bounds.end {
            log.log_time_at(partition, next)?.map(|log_time| (next, log_time))
        } else {
            None
        };
        log.keep_from(partition, next);
        streams.add(bounds.end, bounds.log_time.map(Timestamp::micros), unsettled);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feature::TenantId,
        store::{
            embedded::Options,
            log::{EventSink, NewRecord, Payload},
            readers::Created,
        },
    };
    use std::fs;

    #[tokio::test]
    async fn a_log_without_its_newest_volume_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            let options = Options { event_volume_bytes_max: 1, ..Options::default() };
            EmbeddedStore::open(directory.path(), options)
        };
        let store = open().unwrap();
        let record = NewRecord {
            tenant: TenantId::from_stored(1),
            key: "key".into(),
            event_timestamp: Timestamp::from_stored(0),
            payload: Payload::Json("{}".into()),
        };
        for _ in 0..3 {
            let room = store.room(0).await.unwrap();
            store.append(room, vec![record.clone()]).await.unwrap();
        }
        let reader = ReaderId { partition: 0, purpose: Purpose::Live };
        let commit = StreamCommit {
            epoch: store.claim(reader).await.unwrap().epoch,
            state: ReaderState { next_offset: 3, ..ReaderState::new(reader) },
            save: None,
            drop_saves: Vec::new(),
            rows: Vec::new(),
            created: Created::AsLogged,
            late: Vec::new(),
            dead: Vec::new(),
            opens: Vec::new(),
        };
        store.commit_stream(commit).await.unwrap();
        drop(store);
        fs::remove_file(directory.path().join("events/000000000003.redb")).unwrap();
        let refused = open().err().unwrap();
        assert!(refused.to_string().contains("ends at offset 2 of partition 0"), "{refused}");
    }
}
