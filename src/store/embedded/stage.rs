//! What the writer stages of each commit before all of them become durable together.

use super::{
    judge::{self, Before},
    manifest::{Changes, StoredAnswer},
    memtable::{Memtable, RecentRow},
    prepare::PreparedBatch,
    readers::ReaderChanges,
    segment::Segment,
    segment_writer::write_batch,
    state::GroupState,
    tail::{self, KeyedRow},
    writer::Writer,
};
use crate::{
    feature::{RowId, RowSchema, TenantId, Timestamp, row::RowPacker},
    store::{
        Committed, Idempotency, Receipt, Refusal, Result, StoreError, StoredRow,
        readers::{Claim, ReaderId},
    },
};
use arrow::buffer::BooleanBuffer;
use std::{collections::HashMap, sync::Arc};

/// What a group of commits is about to publish.
#[derive(Default)]
pub struct Staged {
    pub groups: HashMap<RowId, StagedGroup>,
    pub changes: Changes,
}

pub struct StagedGroup {
    pub rows: Memtable,
    pub segments: Vec<Arc<Segment>>,
    /// The greatest `created` of its rows.
    pub newest: i64,
}

impl Default for StagedGroup {
    fn default() -> Self {
        Self { rows: Memtable::default(), segments: Vec::new(), newest: i64::MIN }
    }
}

impl Writer<'_> {
    /// Judges one commit and writes its large batches.
    pub fn stage(
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
            staged.add(part, &prepared.batch.group, commit);
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

    /// Stages rows of a stream as they are, with what its reader keeps.
    pub fn stage_stream(
        &mut self,
        batches: Vec<PreparedBatch>,
        changes: ReaderChanges,
        created: i64,
        staged: &mut Staged,
    ) -> Result<()> {
        if self.epoch(changes.reader)? != changes.epoch {
            return Err(StoreError::Fenced(changes.reader));
        }
        let mut parts = Vec::with_capacity(batches.len());
        for prepared in &batches {
            self.learn(&prepared.batch.group);
            let part = self.write(prepared, None, created).inspect_err(|_| self.discard(&parts))?;
            parts.push((part, None));
        }
        for ((part, _), prepared) in parts.into_iter().zip(&batches) {
            // A number each, since a group may come twice. They become visible together.
            let commit = self.next_commit;
            self.next_commit += 1;
            staged.add(part, &prepared.batch.group, commit);
        }
        staged.changes.readers.push(changes);
        Ok(())
    }

    /// Takes a reader over.
    pub fn claim(&mut self, reader: ReaderId) -> Result<Claim> {
        let claim = self.shared.manifest.claim(reader)?;
        self.epochs.insert(reader, claim.epoch);
        Ok(claim)
    }

    fn epoch(&mut self, reader: ReaderId) -> Result<u64> {
        if let Some(epoch) = self.epochs.get(&reader) {
            return Ok(*epoch);
        }
        let epoch = self.shared.manifest.epoch(reader)?;
        self.epochs.insert(reader, epoch);
        Ok(epoch)
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
                let key = idempotency.key.clone();
                Err(StoreError::Refused(Refusal::OtherFingerprint { key }))
            }
        }
    }

    /// The group's state, made or widened as the batch needs it.
    fn learn(&self, schema: &Arc<RowSchema>) -> Arc<GroupState> {
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
                if unchanged.is_some_and(|unchanged| unchanged.value(*row as usize)) {
                    continue;
                }
                bytes.clear();
                judge::pack_batch_row(prepared, *row, &mut packer, &mut bytes);
                let stored = StoredRow {
                    event_timestamp: Timestamp::from_stored(prepared.batch.event_timestamps[*row as usize]),
                    created: Timestamp::from_stored(prepared.created(*row, created)),
                    sequence: prepared.sequence(*row),
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
}

enum Part {
    Segment(Arc<Segment>),
    Rows(Vec<KeyedRow>),
}

impl Staged {
    fn add(&mut self, part: Part, group: &RowSchema, commit: u64) {
        match part {
            Part::Rows(rows) if rows.is_empty() => {}
            Part::Rows(rows) => {
                self.changes.tail.push((group.id, commit, tail::encode(&rows)));
                let staged = self.groups.entry(group.id).or_default();
                let newest = rows.iter().map(|(_, row)| row.created.micros()).max();
                staged.newest = staged.newest.max(newest.unwrap_or(i64::MIN));
                let recent = |row: &Arc<StoredRow>| RecentRow { row: row.clone(), commit };
                staged.rows.insert(rows.iter().map(|(key, row)| (&**key, recent(row))));
            }
            Part::Segment(segment) => {
                self.changes.segments.push(segment.meta.clone());
                let staged = self.groups.entry(group.id).or_default();
                staged.newest = staged.newest.max(segment.meta.created.1);
                staged.segments.push(segment);
            }
        }
    }
}
