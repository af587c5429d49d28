//! What a reader makes durable in one transaction, and how it goes on meanwhile.

use super::reader::Reader;
use crate::{
    error::{Error, Result},
    feature::{Column, RowId, Timestamp},
    store::events::{
        Body, Created, DeadLetter, LateEvent, Payload, Place, Purpose, ReaderId, ReaderState, ReaderSummary,
        Record, StateSize, StreamCommit, StreamRows,
    },
    window::{Aggregator, Event, Memory, Verdict, WindowRows},
};
use arrow::{
    array::{AsArray, BooleanArray},
    compute::filter,
};
use tokio::{task::JoinHandle, time::Instant};

/// A commit under way. The reader goes on; the next commit waits for this one.
pub struct Pending {
    task: JoinHandle<Result<()>>,
    began: Instant,
    next_offset: u64,
    rows: u64,
    /// Groups with rows, and when the newest of them was learned.
    groups: Vec<RowId>,
    created: Option<Timestamp>,
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
        let result = (&mut under_way.task).await.map_err(Error::internal).and_then(|result| result);
        let pending = pending.take().expect("it was there");
        Done { pending, result }
    }
}

/// Late events and dead letters that wait for a commit.
#[derive(Default)]
pub struct Side {
    late: Vec<LateEvent>,
    dead: Vec<DeadLetter>,
    since: Option<Instant>,
}

impl Side {
    pub fn late(&mut self, place: Place, log_time: Timestamp, event: &Event<'_>, verdict: &Verdict<'_>) {
        self.since.get_or_insert_with(Instant::now);
        self.late.push(LateEvent {
            tenant: event.tenant,
            place,
            log_time,
            entity_type: event.entity_type.map(str::to_owned),
            entity_id: event.entity.to_owned(),
            event_type: event.event_type.to_owned(),
            event_timestamp: event.timestamp,
            event_id: event.event_id.map(str::to_owned),
            late: verdict.judgement == crate::window::Judgement::Late,
            missed: verdict.missed.to_vec(),
        });
    }

    pub fn dead(&mut self, place: Place, record: &Record, reason: &str) {
        let Body::Event { tenant, payload: Payload::Json(bytes) | Payload::Proto(bytes) } = &record.body
        else {
            return;
        };
        self.since.get_or_insert_with(Instant::now);
        self.dead.push(DeadLetter {
            tenant: *tenant,
            place,
            log_time: record.log_time,
            reason: reason.to_owned(),
            record: bytes.to_vec(),
        });
    }

    /// Since when something waits.
    pub fn waits_since(&self) -> Option<Instant> {
        self.since
    }
}

/// How far a reader has come, and what its aggregator holds at this moment.
pub fn state_of(reader: ReaderId, aggregator: &Aggregator, done: bool) -> ReaderState {
    let groups: Vec<_> = aggregator.registered().map(|group| (group.tenant, group.id)).collect();
    let joins_at = groups.first().and_then(|(_, group)| aggregator.ends_before(*group));
    let Memory { entities, panes, bytes, .. } = aggregator.memory();
    let state = StateSize { entities: entities as u64, panes: panes as u64, bytes: bytes as u64 };
    ReaderState {
        reader,
        next_offset: aggregator.next_offset(),
        log_time: aggregator.log_time(),
        summary: ReaderSummary { groups, joins_at, ledger: aggregator.ledger(), state },
        done,
        stalled: None,
    }
}

impl Reader {
    /// Begins to commit what there is; no other commit may be under way. The last one of a backfill is `done`.
    pub(super) async fn commit(&mut self, done: bool) -> Result<()> {
        let bound = self.shared.store.retention_bound();
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
        let side = std::mem::take(&mut self.side);
        let (Side { late, dead, .. }, created) = match self.id.purpose {
            Purpose::Live => (side, Created::AsLogged),
            Purpose::Backfill(_) => (Side::default(), Created::AtCommit),
        };
        let state = state_of(self.id, &self.aggregator, done);
        let opens = std::mem::take(&mut self.opens);
        let newest = rows.iter().filter_map(|of| of.rows.created.iter().copied().max()).max();
        let (next_offset, groups) = (state.next_offset, rows.iter().map(|of| of.group.id).collect());
        let row_count = rows.iter().map(|of| of.rows.event_timestamps.len() as u64).sum();
        let opened = opens.iter().map(|(state, _)| state.reader).collect();
        let commit =
            StreamCommit { epoch: self.epoch, state, save, drop_saves, rows, created, late, dead, opens };
        let store = self.shared.stream_store.clone();
        self.pending = Some(Pending {
            task: tokio::spawn(async move { Ok(store.commit_stream(commit).await?) }),
            began: Instant::now(),
            next_offset,
            rows: row_count,
            groups,
            created: newest.map(Timestamp::from_stored),
            opened,
        });
        (self.events_since_commit, self.has_new_groups) = (0, false);
        (self.commit_asked, self.was_stalled) = (false, false);
        self.committed_at = Instant::now();
        // It takes its place in the store's queue now, however long this reader computes before it waits again.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Takes note of a commit that ended.
    pub(super) fn committed(&mut self, Done { pending, result }: Done) -> Result<()> {
        result?;
        self.status.committed_offset = pending.next_offset;
        self.status.rows_committed += pending.rows;
        self.status.commits += 1;
        self.status.commit_time += pending.began.elapsed();
        if let Some(created) = pending.created {
            self.shared.last_written.note(pending.groups.into_iter(), created);
        }
        for reader in pending.opened {
            self.shared.spawn(reader)?;
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
        if self.status.committed_offset != self.aggregator.next_offset()
            || self.aggregator.rows_waiting() > 0
            || !self.opens.is_empty()
            || self.side.waits_since().is_some()
            || self.has_new_groups
        {
            self.commit(false).await?;
            self.wait().await?;
        }
        Ok(())
    }
}

/// The rows that retention keeps.
fn kept(rows: WindowRows, bound: Timestamp) -> Result<WindowRows> {
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
        columns: columns.collect::<Result<_>>()?,
    })
}
