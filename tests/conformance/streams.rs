//! What readers of the event log keep.

use larder::store::events::{Created, Purpose, ReaderId, ReaderState, StreamCommit, StreamStore};

pub fn live(partition: u32) -> ReaderId {
    ReaderId { partition, purpose: Purpose::Live }
}

/// A commit of nothing but where a reader stands.
pub fn progress(reader: ReaderId, epoch: u64, next_offset: u64) -> StreamCommit {
    let state = ReaderState { reader, next_offset, log_time: None, summary: Vec::new(), done: false };
    StreamCommit {
        epoch,
        state,
        save: None,
        drop_saves: Vec::new(),
        rows: Vec::new(),
        created: Created::AsLogged,
        late: Vec::new(),
        dead: Vec::new(),
        opens: Vec::new(),
    }
}

/// Takes the live reader over and commits that it has come to an offset.
pub async fn commit_progress(store: &impl StreamStore, partition: u32, next_offset: u64) {
    let epoch = store.claim(live(partition)).await.unwrap().epoch;
    store.commit_stream(progress(live(partition), epoch, next_offset)).await.unwrap();
    store.settled(partition, next_offset);
}
