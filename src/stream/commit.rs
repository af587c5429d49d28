//! What a reader makes durable in one transaction, and how it goes on meanwhile.

use super::{
    failure::{Failure, Result},
    reader::Reader,
};
use crate::{
    error::{self, Error},
    feature::{Column, TenantId, Timestamp},
    store::{
        self,
        log::RecordId,
        readers::{
            Created, DeadLetter, LateEvent, Purpose, ReaderId, ReaderState, ReaderSummary, StateSize,
            StreamCommit, StreamRows,
        },
    },
    window::{Aggregator, Event, Judgement, Memory, Verdict, WindowRows},
};
use arrow::{
    array::{AsArray, BooleanArray},
    compute::filter,
};
use tokio::{task::JoinHandle, time::Instant};

/// A commit under way. The reader goes on; the next commit waits for this one.
pub struct Pending {
    task: JoinHandle<store::Result<()>>,
    began: Instant,
    next_offset: u64,
    rows: u64,
    opened: Vec<ReaderId>,
}

/// How a commit ended.
pub struct Done {
    pending: Pending,
    result: Result<()>,
}

impl Pending {
    /// Waits for a commit under way, which is taken out; for ever if there is none.
    pub async fn done(pending: &mut Option<Pending>) -> Done {
        let Some(under_way) = pending else { return std::future::pending().await };
        let result = (&mut under_way.task).await.map_err(Error::internal);
        let result = result.map_err(Failure::from).and_then(|result| result.map_err(Failure::from));
        let pending = pending.take().expect("it was there");
        Done { pending, result }
    }
}

/// Late events and dead letters that wait for a commit.
#[derive(Default)]
pub struct UncountedEvents {
    late: Vec<LateEvent>,
    dead: Vec<DeadLetter>,
    since: Option<Instant>,
}

impl UncountedEvents {
    pub fn late(&mut self, id: RecordId, log_time: Timestamp, event: &Event<'_>, verdict: &Verdict<'_>) {
        self.since.get_or_insert_with(Instant::now);
        self.late.push(LateEvent {
            tenant: event.tenant,
            place: id,
            log_time,
            entity_type: event.entity_type.map(str::to_owned),
            entity_id: event.entity.to_owned(),
            event_type: event.event_type.to_owned(),
            event_timestamp: event.timestamp,
            event_id: event.event_id.map(str::to_owned),
            late: verdict.judgement == Judgement::Late,
            missed: verdict.missed.to_vec(),
        });
    }

    pub fn dead(&mut self, tenant: TenantId, id: RecordId, log_time: Timestamp, reason: &str, record: &[u8]) {
        self.since.get_or_insert_with(Instant::now);
        let (reason, record) = (reason.to_owned(), record.to_vec());
        self.dead.push(DeadLetter { tenant, place: id, log_time, reason, record });
    }

    /// Since when something waits.
    pub fn waits_since(&self) -> Option<Instant> {
        self.since
    }
}

/// How far a reader has come, and what its aggregator holds at this moment.
pub fn state_of(reader: ReaderId, next_offset: u64, aggregator: &Aggregator, done: bool) -> ReaderState {
    let groups: Vec<_> = aggregator.registered().map(|group| (group.tenant, group.id)).collect();
    let joins_at = groups.first().and_then(|(_, group)| aggregator.ends_before(*group));
    let Memory { entities, panes, bytes, .. } = aggregator.memory();
    let state = StateSize { entities: entities as u64, panes: panes as u64, bytes: bytes as u64 };
    ReaderState {
        reader,
        next_offset,
        log_time: aggregator.log_time(),
        summary: ReaderSummary { groups, joins_at, ledger: aggregator.ledger(), state },
        done,
        stalled: None,
    }
}

impl Reader {
    /// Begins to commit what there is; no other commit may be under way. The last one of a backfill is `done`.
    pub(super) fn commit(&mut self, done: bool) -> Result<()> {
        let bound = self.assigned.shared.store.retention_bound();
        let mut rows = Vec::new();
        for batch in self.aggregator.take_rows() {
            let schema = self.schemas.get(&batch.group).cloned().ok_or_else(|| {
                Error::internal(format!("the group {} of windows is not registered any more", batch.group))
            })?;
            let before = batch.event_timestamps.len();
            let batch = match bound {
                Some(bound) => kept(batch, bound)?,
                None => batch,
            };
            self.status.rows_dropped += (before - batch.event_timestamps.len()) as u64;
            if !batch.event_timestamps.is_empty() {
                rows.push(StreamRows { group: schema, rows: batch });
            }
        }
        let (save, drop_saves) = match done {
            true => (None, self.saves.drop_all()),
            false => {
                let step = self.saves.step(&mut self.aggregator)?;
                (Some(step.save), step.drop_saves)
            }
        };
        // Events that a backfill finds late or dead were judged by the live reader, or came before there was one.
        let uncounted = std::mem::take(&mut self.uncounted);
        let (UncountedEvents { late, dead, .. }, created) = match self.id.purpose {
            Purpose::Live => (uncounted, Created::AsLogged),
            Purpose::Backfill(_) => (UncountedEvents::default(), Created::AtCommit),
        };
        let state = state_of(self.id, self.next_offset(), &self.aggregator, done);
        let opens = std::mem::take(&mut self.opens);
        let next_offset = state.next_offset;
        let row_count = rows.iter().map(|of| of.rows.event_timestamps.len() as u64).sum();
        let opened = opens.iter().map(|(state, _)| state.reader).collect();
        let commit =
            StreamCommit { epoch: self.epoch, state, save, drop_saves, rows, created, late, dead, opens };
        let shared = &self.assigned.shared;
        let progress = shared.progress.clone();
        self.pending = Some(Pending {
            task: shared.runtime.spawn(async move { progress.commit_stream(commit).await }),
            began: Instant::now(),
            next_offset,
            rows: row_count,
            opened,
        });
        (self.events_since_commit, self.has_new_groups) = (0, false);
        (self.commit_asked, self.was_stalled) = (false, false);
        self.committed_at = Instant::now();
        Ok(())
    }

    /// Takes note of a commit that ended.
    pub(super) fn committed(&mut self, Done { pending, result }: Done) -> Result<()> {
        result?;
        self.status.committed_offset = pending.next_offset;
        self.status.rows_committed += pending.rows;
        self.status.commits += 1;
        self.status.commit_time += pending.began.elapsed();
        if self.id.purpose == Purpose::Live {
            self.assigned.shared.source.committed(self.id.partition, pending.next_offset);
        }
        for reader in pending.opened {
            self.assigned.spawn(reader, None)?;
        }
        Ok(())
    }

    /// Waits for the commit under way.
    pub(super) async fn wait(&mut self) -> Result<()> {
        if self.pending.is_some() {
            let done = Pending::done(&mut self.pending).await;
            self.committed(done)?;
        }
        Ok(())
    }

    /// Commits everything, and waits until it is durable.
    pub(super) async fn commit_all(&mut self) -> Result<()> {
        self.wait().await?;
        if self.status.committed_offset != self.next_offset()
            || self.aggregator.rows_waiting() > 0
            || !self.opens.is_empty()
            || self.uncounted.waits_since().is_some()
            || self.has_new_groups
        {
            self.commit(false)?;
            self.wait().await?;
        }
        Ok(())
    }
}

/// The rows that retention keeps.
fn kept(rows: WindowRows, bound: Timestamp) -> error::Result<WindowRows> {
    let keep: BooleanArray =
        rows.event_timestamps.iter().map(|event| Some(*event >= bound.micros())).collect();
    if keep.true_count() == keep.len() {
        return Ok(rows);
    }
    fn pick<T: Copy>(values: &[T], keep: &BooleanArray) -> Vec<T> {
        values.iter().zip(keep.values()).filter(|(_, keep)| *keep).map(|(value, _)| *value).collect()
    }
    let keys = filter(&rows.keys, &keep).map_err(Error::internal)?;
    let columns = rows.columns.iter().map(|column| {
        Ok(Column { values: filter(&column.values, &keep).map_err(Error::internal)?, left_out: None })
    });
    Ok(WindowRows {
        tenant: rows.tenant,
        group: rows.group,
        keys: keys.as_string().clone(),
        event_timestamps: pick(&rows.event_timestamps, &keep),
        created: pick(&rows.created, &keep),
        sequences: pick(&rows.sequences, &keep),
        columns: columns.collect::<error::Result<_>>()?,
    })
}
