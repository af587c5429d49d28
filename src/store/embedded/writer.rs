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
    judge::{self, Before},
    manifest::{Changes, StoredAnswer},
    memtable::Memtable,
    prepare::PreparedBatch,
    segment::Segment,
    segment_writer::write_batch,
    state::{GroupState, State},
    tail::{self, KeyedRow},
};
use crate::{
    error::{Error, Kind, Result},
    feature::{GroupId, GroupSchema, TenantId, Timestamp, row::RowPacker},
    store::{Committed, Idempotency, Receipt, StoredRow},
};
use arrow::buffer::BooleanBuffer;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Commits in one transaction: bounds how long the first of them waits for the last.
const GROUP_COMMITS_MAX: usize = 512;

/// What the writer is asked to do.
pub enum Request {
    Commit(Box<CommitRequest>),
    /// Seal all memtables, then run this on the flusher.
    Flush(oneshot::Sender<Result<()>>),
}

/// A commit with its batches sorted.
pub struct CommitRequest {
    pub tenant: TenantId,
    pub batches: Sorted,
    pub idempotency: Option<Idempotency>,
    pub reply: oneshot::Sender<Result<Committed>>,
    /// Room in the queue, given back when the request is done.
    pub room: OwnedSemaphorePermit,
}

/// Sorted batches, or the promise of them.
pub enum Sorted {
    Ready(Vec<PreparedBatch>),
    Coming(oneshot::Receiver<Vec<PreparedBatch>>),
}

impl Sorted {
    fn wait(self) -> Result<Vec<PreparedBatch>> {
        match self {
            Sorted::Ready(batches) => Ok(batches),
            Sorted::Coming(batches) => {
                batches.blocking_recv().map_err(|_| Error::internal("sorting a batch failed"))
            }
        }
    }
}

/// Runs until the store is dropped.
pub fn run(shared: &Shared, mut queue: mpsc::Receiver<Request>, flusher: &Handle) {
    let mut writer =
        Writer { shared, flusher, stored_columns: HashMap::new(), next_commit: shared.first_commit };
    while let Some(first) = queue.blocking_recv() {
        let mut commits = Vec::new();
        let mut flushes = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Commit(commit) => commits.push(*commit),
                Request::Flush(reply) => flushes.push(reply),
            }
            next = if commits.len() < GROUP_COMMITS_MAX { queue.try_recv().ok() } else { None };
        }
        if !commits.is_empty() {
            writer.commit(commits);
        }
        writer.seal_if_large();
        if !flushes.is_empty() {
            writer.seal(|_| true);
            flusher.ask(flushes);
        }
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    flusher: &'a Handle,
    /// Columns of each group that the manifest knows.
    stored_columns: HashMap<GroupId, usize>,
    next_commit: u64,
}

/// What a group of commits is about to publish.
#[derive(Default)]
struct Staged {
    groups: HashMap<GroupId, StagedGroup>,
    changes: Changes,
}

#[derive(Default)]
struct StagedGroup {
    rows: Memtable,
    segments: Vec<Arc<Segment>>,
}

impl Writer<'_> {
    fn commit(&mut self, requests: Vec<CommitRequest>) {
        let now = self.shared.now();
        let mut created = self.shared.published.timeline().begin(now);
        let mut staged = Staged::default();
        let mut replies = Vec::with_capacity(requests.len());
        for request in requests {
            let (reply, room) = (request.reply, request.room);
            let answer = request.batches.wait().and_then(|batches| {
                self.stage(request.tenant, batches, request.idempotency, created, &mut staged)
            });
            created += 1;
            replies.push((reply, answer, room));
        }
        let durable = self.make_durable(&staged);
        match &durable {
            Ok(()) => self.publish(staged, created - 1),
            // Nothing of it is visible, and its moments are not used again.
            Err(_) => self.shared.published.timeline().end(created - 1),
        }
        for (reply, answer, room) in replies {
            drop(room);
            let _ = reply.send(durable.clone().and(answer));
        }
    }

    /// Judges one commit and writes its large batches.
    fn stage(
        &mut self,
        tenant: TenantId,
        batches: Vec<PreparedBatch>,
        idempotency: Option<Idempotency>,
        created: i64,
        staged: &mut Staged,
    ) -> Result<Committed> {
        if let Some(idempotency) = &idempotency
            && let Some(answer) = self.seen(tenant, idempotency, created, staged)?
        {
            return Ok(Committed::Replayed(answer));
        }
        // Nothing of a commit is staged before all of it is written.
        let mut parts = Vec::with_capacity(batches.len());
        for prepared in &batches {
            let group = self.learn(&prepared.batch.group);
            let empty = StagedGroup::default();
            let earlier = staged.groups.get(&prepared.batch.group.id).unwrap_or(&empty);
            let before = Before {
                published: &group,
                staged_rows: (!earlier.rows.is_empty()).then_some(&earlier.rows),
                staged_segments: &earlier.segments,
            };
            let unchanged = judge::unchanged(prepared, &before);
            let part =
                self.write(prepared, unchanged.as_ref(), created).inspect_err(|_| self.discard(&parts))?;
            parts.push((part, unchanged));
        }
        let commit = self.next_commit;
        self.next_commit += 1;
        let mut receipt =
            Receipt { created: Timestamp::from_stored(created), unchanged: Vec::with_capacity(parts.len()) };
        for ((part, unchanged), prepared) in parts.into_iter().zip(&batches) {
            staged.add(part, &prepared.batch.group, commit, created);
            receipt.unchanged.push(unchanged);
        }
        if let Some(idempotency) = idempotency {
            staged.changes.answers.push(StoredAnswer {
                tenant,
                key: idempotency.key,
                fingerprint: idempotency.fingerprint,
                created,
                answer: (idempotency.answer)(&receipt),
            });
        }
        Ok(Committed::Fresh(receipt))
    }

    /// The answer that the same request got before, if it did.
    fn seen(
        &self,
        tenant: TenantId,
        idempotency: &Idempotency,
        now: i64,
        staged: &Staged,
    ) -> Result<Option<Vec<u8>>> {
        let same = |answer: &&StoredAnswer| answer.tenant == tenant && answer.key == idempotency.key;
        let stored = match staged.changes.answers.iter().find(same) {
            Some(answer) => Some(answer.clone()),
            None => self.shared.manifest.answer(tenant, &idempotency.key, now)?,
        };
        match stored {
            None => Ok(None),
            Some(stored) if stored.fingerprint == idempotency.fingerprint => Ok(Some(stored.answer)),
            Some(_) => {
                let message = format!(
                    "the idempotency key {:?} was used with another request; use a new key",
                    idempotency.key
                );
                Err(Error::new(Kind::Aborted, message))
            }
        }
    }

    /// The group's state, made or widened as the batch needs it.
    fn learn(&self, schema: &Arc<GroupSchema>) -> Arc<GroupState> {
        let state = self.shared.published.state();
        if let Some(group) = state.groups.get(&schema.id)
            && group.schema.columns.len() >= schema.columns.len()
        {
            return group.clone();
        }
        self.shared.published.change(|state| match state.group_mut(schema.id) {
            Some(group) => group.schema = schema.clone(),
            None => drop(state.groups.insert(schema.id, Arc::new(GroupState::new(schema.clone())))),
        });
        self.shared.published.state().groups[&schema.id].clone()
    }

    /// Writes what is to be kept of a batch: a segment if it is large, else rows for the tail.
    fn write(
        &self,
        prepared: &PreparedBatch,
        unchanged: Option<&BooleanBuffer>,
        created: i64,
    ) -> Result<Part> {
        let rows = prepared.order.len() - unchanged.map_or(0, BooleanBuffer::count_set_bits);
        let large = prepared.bytes >= self.shared.options.segment_bytes_min;
        if large && rows > prepared.order.len() / 2 {
            let id = self.shared.next_segment_id();
            return write_batch(&self.shared.medium, id, prepared, unchanged, created).map(Part::Segment);
        }
        let mut packer = RowPacker::default();
        let mut bytes = Vec::new();
        let mut kept: Vec<KeyedRow> = Vec::with_capacity(rows);
        for (key, rows) in prepared.entities() {
            for row in rows {
                let at = *row as usize;
                if unchanged.is_some_and(|unchanged| unchanged.value(at)) {
                    continue;
                }
                bytes.clear();
                judge::pack_batch_row(prepared, *row, &mut packer, &mut bytes);
                let stored = StoredRow {
                    event_timestamp: Timestamp::from_stored(prepared.batch.event_timestamps[at]),
                    created: Timestamp::from_stored(created),
                    sequence: u64::from(prepared.batch.sequences[at]),
                    values: bytes.as_slice().into(),
                };
                kept.push((key.into(), Arc::new(stored)));
            }
        }
        Ok(Part::Rows(kept))
    }

    fn discard(&self, parts: &[(Part, Option<BooleanBuffer>)]) {
        for (part, _) in parts {
            if let Part::Segment(segment) = part {
                self.shared.medium.remove(segment.meta.id);
            }
        }
    }

    fn make_durable(&mut self, staged: &Staged) -> Result<()> {
        let state = self.shared.published.state();
        let groups: Vec<Arc<GroupSchema>> = staged
            .groups
            .keys()
            .map(|id| state.groups[id].schema.clone())
            .filter(|schema| self.stored_columns.get(&schema.id) != Some(&schema.columns.len()))
            .collect();
        if !staged.changes.segments.is_empty() {
            self.shared.medium.sync_directory()?;
        }
        let is_empty = staged.groups.is_empty() && staged.changes.answers.is_empty();
        if !is_empty {
            self.shared.manifest.apply(&staged.changes, &groups).inspect_err(|_| {
                staged.changes.segments.iter().for_each(|meta| self.shared.medium.remove(meta.id));
            })?;
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
            let last = rows.iter().filter_map(|(key, rows)| Some((key.clone(), rows.last()?.clone())));
            newest.extend(last.map(|(key, row)| (*id, key, row)));
        }
        let add_segments = |state: &mut State| {
            for (id, group) in &staged.groups {
                let Some(of_group) = state.group_mut(*id) else { continue };
                group.segments.iter().for_each(|segment| of_group.add_segment(segment.clone()));
            }
        };
        if staged.changes.segments.is_empty() {
            published.timeline().end(last_created);
        } else {
            published.publish(|state, timeline| {
                add_segments(state);
                timeline.end(last_created);
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
        let mut sizes: Vec<(usize, GroupId)> =
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

    fn seal(&self, which: impl Fn(GroupId) -> bool) {
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

enum Part {
    Segment(Arc<Segment>),
    Rows(Vec<KeyedRow>),
}

impl Staged {
    fn add(&mut self, part: Part, group: &GroupSchema, commit: u64, created: i64) {
        match part {
            Part::Rows(rows) if rows.is_empty() => {}
            Part::Rows(rows) => {
                self.changes.tail.push((group.id, commit, tail::encode(created, &rows)));
                let staged = self.groups.entry(group.id).or_default();
                staged.rows.insert(rows.iter().map(|(key, row)| (&**key, row.clone())));
            }
            Part::Segment(segment) => {
                self.changes.segments.push(segment.meta.clone());
                self.groups.entry(group.id).or_default().segments.push(segment);
            }
        }
    }
}
