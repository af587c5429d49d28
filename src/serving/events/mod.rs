//! Taking events in: judged one by one, appended to the log, answered when its reader has judged them too.
//!
//! ```text
//!   body ── wire ──> EventsBuilder ── checked ──> log.append ── durable ──> verdicts of the log's reader ──> PublishOutcome
//! ```
//!
//! Nobody here can wait for the verdicts of partitions that another process reads: of their events the outcome says only
//! that they are durable.

mod builder;

pub use builder::EventsBuilder;

use super::{Service, write::Judge};
use crate::{
    access::{Caller, Scope},
    error::{Error, Result},
    store::log::{Appended, NewRecord, RecordId},
    window::DeadReason,
};
use std::collections::BTreeSet;

/// What became of the events: accepted + rejected = all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishOutcome {
    /// Made durable by this call, and fit to be counted; the unused, late and duplicate ones are among them.
    pub accepted: u64,
    /// No feature takes them: by type, field or start.
    pub unused: u64,
    /// Every window that would have counted them was closed.
    pub late: u64,
    /// Their event id was seen already.
    pub duplicate: u64,
    /// Refused here, or found dead by the log's reader, which keeps those as dead letters.
    pub rejected: Vec<RejectedEvent>,
}

/// An event that was not accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedEvent {
    /// Position in the request, from 0.
    pub event: u64,
    /// The offending field, such as `events[57].timestamp`; of an event that was sent alone, `timestamp`.
    pub field: String,
    pub reason: String,
}

impl RejectedEvent {
    /// What an error says that names its field in the request.
    fn new(event: u64, error: Error) -> Self {
        Self { event, field: error.field.unwrap_or_default(), reason: error.message }
    }
}

impl Service {
    /// A builder for the events of one append; the first stands at this position in the request.
    pub fn events(&self, caller: &Caller, judge: Judge, first: u64) -> Result<EventsBuilder> {
        caller.require(Scope::Write)?;
        Ok(EventsBuilder::new(
            caller.tenant(),
            self.registry.catalogue(caller),
            self.limits.clone(),
            self.time_bounds(),
            judge,
            first,
        ))
    }

    /// Appends events: all are durable when this returns, and judged. An event that the log's reader finds dead, which
    /// takes a change of the registry or of the clock in between, is among the rejected, also where one bad event should
    /// have failed the call: by then they are durable.
    pub async fn publish(&self, caller: &Caller, mut events: EventsBuilder) -> Result<PublishOutcome> {
        caller.require(Scope::Write)?;
        let (records, rejected) = events.take();
        let mut outcome =
            PublishOutcome { accepted: records.len() as u64, rejected, ..PublishOutcome::default() };
        if records.is_empty() {
            return Ok(outcome);
        }
        let sink = &self.events.log.sink;
        let partitions: BTreeSet<u32> = records.iter().map(|record| sink.partition(&record.key)).collect();
        let subscription = self.events.streams.subscribe(partitions)?;
        // Without the runtime's turns, as commits: a later append of the same stream must not come before this one.
        let bytes = records.iter().map(NewRecord::bytes).sum();
        let room = tokio::task::unconstrained(sink.room(bytes)).await?;
        let ids = durable(sink.append(room, records).await?)?;
        let counts = subscription.judged(&ids).await?;
        outcome.unused = counts.unused;
        outcome.late = counts.late;
        outcome.duplicate = counts.duplicate;
        outcome.accepted -= counts.dead.len() as u64;
        outcome.rejected.extend(counts.dead.into_iter().map(|(at, reason)| events.dead(at, reason)));
        outcome.rejected.sort_by_key(|rejected| rejected.event);
        Ok(outcome)
    }
}

/// The ids of records that were all appended.
fn durable(appended: Appended) -> Result<Vec<RecordId>> {
    let results = match appended {
        Appended::All(ids) => return Ok(ids),
        Appended::Part(results) => results,
    };
    let all = results.len();
    let mut ids = Vec::with_capacity(all);
    let mut failed = None;
    for result in results {
        match result {
            Ok(id) => ids.push(id),
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    match failed {
        None => Ok(ids),
        Some(error) => {
            let mut error = Error::from(error);
            error.message = format!(
                "{} of {all} events are durable, the others perhaps not: {}; send them again with the same event_id, \
                 which counts each once",
                ids.len(),
                error.message
            );
            Err(error)
        }
    }
}

/// Why the log's reader could not use an event that was sound when it came.
fn dead_error(reason: Option<DeadReason>) -> Error {
    match reason {
        Some(reason @ DeadReason::Future) => Error::invalid("timestamp", reason.message()),
        Some(reason @ DeadReason::EntityTypeNeeded) => Error::invalid("entity_type", reason.message()),
        None => Error::refused("the event could not be read back from the log; it is kept as a dead letter"),
    }
}
