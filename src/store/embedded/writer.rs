//! The one writer: takes what is queued, judges it in order, and makes all of it durable in one transaction.
//!
//! ```text
//! queue ─> judge unchanged ─> small batches: records of the tail  ─┐
//!                          └> large batches: segment files, synced ─┴> one transaction ─> memtables ─> acknowledge
//! ```
//!
//! A row is visible only after the transaction that holds it is durable, and acknowledged only after it is visible.

use super::{
    Shared,
    background::Handle,
    compact,
    prepare::PreparedBatch,
    readers::ReaderChanges,
    stage::Staged,
    state::{GroupState, State},
    timeline::Timeline,
};
use crate::{
    feature::{RowId, RowSchema, TenantId},
    store::{
        Committed, Idempotency, Result, StoreError,
        readers::{Claim, ReaderId},
    },
};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Commits in one transaction: bounds how long the first of them waits for the last.
const GROUP_COMMITS_MAX: usize = 512;

/// What the writer is asked to do.
pub enum Request {
    Commit(Box<CommitRequest>),
    Stream(Box<StreamRequest>),
    /// Fence whoever has the reader.
    Claim(ReaderId, oneshot::Sender<Result<Claim>>),
    /// Seal all memtables, then run this on the flusher.
    Flush(oneshot::Sender<Result<()>>),
}

/// A commit with its batches sorted.
pub struct CommitRequest {
    pub tenant: TenantId,
    pub batches: Coming<Vec<PreparedBatch>>,
    pub idempotency: Option<Idempotency>,
    pub reply: oneshot::Sender<Result<Committed>>,
    /// Room in the queue, given back when the request is done.
    pub room: OwnedSemaphorePermit,
}

/// A commit of a reader of the event log.
pub struct StreamRequest {
    pub parts: Coming<StreamParts>,
    pub reply: oneshot::Sender<Result<()>>,
    /// Room in the queue, given back when the request is done.
    pub room: OwnedSemaphorePermit,
}

/// Its rows sorted, and the rest of it as bytes.
pub type StreamParts = (Vec<PreparedBatch>, ReaderChanges);

/// What is prepared already, or the promise of it.
pub enum Coming<T> {
    Ready(T),
    Promised(oneshot::Receiver<T>),
}

impl<T> Coming<T> {
    fn wait(self) -> Result<T> {
        match self {
            Coming::Ready(it) => Ok(it),
            Coming::Promised(it) => {
                it.blocking_recv().map_err(|_| StoreError::defect("sorting a batch failed"))
            }
        }
    }
}

/// A transaction of somebody, and later its answer.
enum Transaction {
    Commit(CommitRequest),
    Stream(StreamRequest),
}

enum Answer {
    Commit(oneshot::Sender<Result<Committed>>, Result<Committed>),
    Stream(oneshot::Sender<Result<()>>, Result<()>),
}

/// Runs until the store is dropped.
pub fn run(shared: &Shared, mut queue: mpsc::Receiver<Request>, flusher: &Handle) {
    let mut writer = Writer {
        shared,
        flusher,
        stored_columns: HashMap::new(),
        epochs: HashMap::new(),
        next_commit: shared.first_commit,
    };
    while let Some(first) = queue.blocking_recv() {
        let mut transactions = Vec::new();
        let mut flushes = Vec::new();
        let mut claim = None;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Commit(commit) => transactions.push(Transaction::Commit(*commit)),
                Request::Stream(commit) => transactions.push(Transaction::Stream(*commit)),
                // What came before it may still commit, what comes after it may not.
                Request::Claim(reader, reply) => claim = Some((reader, reply)),
                Request::Flush(reply) => flushes.push(reply),
            }
            let full = claim.is_some() || transactions.len() >= GROUP_COMMITS_MAX;
            next = if full { None } else { queue.try_recv().ok() };
        }
        if !transactions.is_empty() {
            writer.commit(transactions);
        }
        if let Some((reader, reply)) = claim {
            let _ = reply.send(writer.claim(reader));
        }
        writer.seal_if_large();
        if !flushes.is_empty() {
            writer.seal(|_| true);
            flusher.ask(flushes);
        }
    }
}

pub struct Writer<'a> {
    pub shared: &'a Shared,
    flusher: &'a Handle,
    /// Columns of each group that the manifest knows.
    stored_columns: HashMap<RowId, usize>,
    /// Of the readers that were seen: who has another one is fenced.
    pub epochs: HashMap<ReaderId, u64>,
    pub next_commit: u64,
}

impl Writer<'_> {
    fn commit(&mut self, transactions: Vec<Transaction>) {
        let now = self.shared.now();
        let mut created = self.shared.published.timeline().begin(now);
        let mut staged = Staged::default();
        let mut answers = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            answers.push(match transaction {
                Transaction::Commit(CommitRequest { tenant, batches, idempotency, reply, room }) => {
                    let answer = batches
                        .wait()
                        .and_then(|batches| self.stage(tenant, batches, idempotency, created, &mut staged));
                    (Answer::Commit(reply, answer), room)
                }
                Transaction::Stream(StreamRequest { parts, reply, room }) => {
                    let answer = parts.wait().and_then(|(batches, changes)| {
                        self.stage_stream(batches, changes, created, &mut staged)
                    });
                    (Answer::Stream(reply, answer), room)
                }
            });
            created += 1;
        }
        let durable = self.make_durable(&staged);
        match &durable {
            Ok(()) => self.publish(staged, created - 1),
            // Nothing of it is visible, and its moments are not used again.
            Err(_) => self.shared.published.timeline().end(created - 1, self.next_commit - 1),
        }
        for (answer, room) in answers {
            drop(room);
            match answer {
                Answer::Commit(reply, answer) => drop(reply.send(durable.clone().and(answer))),
                Answer::Stream(reply, answer) => drop(reply.send(durable.clone().and(answer))),
            }
        }
    }

    fn make_durable(&mut self, staged: &Staged) -> Result<()> {
        let state = self.shared.published.state();
        let groups: Vec<Arc<RowSchema>> = staged
            .groups
            .keys()
            .map(|id| state.groups[id].schema.clone())
            .filter(|schema| self.stored_columns.get(&schema.id) != Some(&schema.columns.len()))
            .collect();
        if !staged.changes.segments.is_empty() {
            self.shared.medium.sync_directory()?;
        }
        let changes = &staged.changes;
        let is_empty = staged.groups.is_empty() && changes.answers.is_empty() && changes.readers.is_empty();
        if !is_empty {
            // A commit that failed may be there at the next start all the same: its segments stay.
            self.shared.check_owned()?;
            self.shared.manifest.apply(&staged.changes, &groups)?;
        }
        for schema in groups {
            self.stored_columns.insert(schema.id, schema.columns.len());
        }
        Ok(())
    }

    fn publish(&self, staged: Staged, last_created: i64) {
        let published = &self.shared.published;
        let state = published.state();
        let mut newest = Vec::new();
        for (id, group) in &staged.groups {
            let rows = group.rows.read();
            let active = &state.groups[id].active;
            active.insert(rows.iter().flat_map(|(key, rows)| rows.iter().map(|row| (&**key, row.clone()))));
            let last = rows.iter().filter_map(|(key, rows)| Some((key.clone(), rows.last()?.row.clone())));
            newest.extend(last.map(|(key, row)| (*id, key, row)));
        }
        let add_segments = |state: &mut State| {
            for (id, group) in &staged.groups {
                let Some(of_group) = state.group_mut(*id) else { continue };
                group.segments.iter().for_each(|segment| of_group.add_segment(segment.clone()));
            }
        };
        let end = |timeline: &mut Timeline| {
            timeline.end(last_created, self.next_commit - 1);
            staged.groups.iter().for_each(|(id, group)| timeline.note_visible(*id, group.newest));
        };
        if staged.changes.segments.is_empty() {
            end(&mut published.timeline());
        } else {
            published.publish(|state, timeline| {
                add_segments(state);
                end(timeline);
            });
        }
        for (id, key, row) in newest {
            self.shared.latest.publish(state.groups[&id].schema.entity_type, id, &key, || row);
        }
        for (id, group) in &staged.groups {
            for segment in &group.segments {
                self.shared.latest.publish_segment(segment, &state.groups[id].schema);
            }
        }
        if !staged.changes.segments.is_empty() {
            self.shared.compactor.notify();
            let too_many = |group: &Arc<GroupState>| group.segments.len() > compact::SEGMENTS_MAX;
            self.shared.compactor.wait_while(|| self.shared.published.state().groups.values().any(too_many));
        }
    }

    /// Seals the largest memtables once together they hold more than they may, and waits while the flusher is behind.
    fn seal_if_large(&self) {
        let bytes_max = self.shared.options.memtable_bytes_max;
        let state = self.shared.published.state();
        let mut sizes: Vec<(usize, RowId)> =
            state.groups.iter().map(|(id, group)| (group.active.bytes(), *id)).collect();
        let total: usize = sizes.iter().map(|(bytes, _)| bytes).sum();
        if total <= bytes_max {
            return;
        }
        sizes.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut left = total;
        let mut chosen = Vec::new();
        for (bytes, id) in sizes {
            if left <= bytes_max / 2 {
                break;
            }
            left -= bytes;
            chosen.push(id);
        }
        let behind = || self.shared.published.state().sealed_bytes() > bytes_max;
        if self.flusher.wait_while(behind) {
            self.seal(|id| chosen.contains(&id));
        }
    }

    fn seal(&self, which: impl Fn(RowId) -> bool) {
        let last_commit = self.next_commit - 1;
        self.shared.published.change(|state| {
            for (id, group) in &mut state.groups {
                if which(*id) && !group.active.is_empty() {
                    Arc::make_mut(group).seal(last_commit);
                }
            }
        });
        self.flusher.notify();
    }
}
