//! Records of the log on their way into the aggregator: decoded ahead, judged one by one in their order.

use super::{failure::Result, reader::Reader};
use crate::{
    event::{DecodedEvent, FieldValue, decode},
    feature::{TenantId, Timestamp},
    registry::RegistrySnapshot,
    serving::streams::RecordOutcome,
    store::{
        log::{Body, Record, RecordId},
        readers::Purpose,
    },
    window::{Event, Judgement, Position, WARM_MAX},
};
use std::collections::VecDeque;

/// Rows that wait for a commit before reading waits too.
const ROWS_WAITING_MAX: usize = 400_000;
/// Records between two looks at how many rows wait.
const ROWS_LOOK_EVERY: usize = 256;

/// A record, decoded.
enum Decoded<'a> {
    Tick,
    Event(TenantId, DecodedEvent<'a>),
    /// It can never be used. Without a tenant nobody may see it.
    Dead(Option<TenantId>, String),
}

impl Reader {
    /// Judges records in their order, and tells producers.
    pub(super) async fn take(&mut self, records: &[Record]) -> Result<()> {
        let registry = self.assigned.shared.registry.snapshot();
        let mut from = 0;
        let mut outcomes = Vec::with_capacity(records.len());
        let mut ahead: VecDeque<Decoded<'_>> = VecDeque::with_capacity(WARM_MAX);
        for (at, record) in records.iter().enumerate() {
            if ahead.is_empty() {
                ahead.extend(records[at..].iter().take(WARM_MAX).map(|record| decoded(record, &registry)));
                self.aggregator.warm(ahead.iter().filter_map(about));
            }
            let decoded = ahead.pop_front().expect("just filled");
            if at > from && record.offset != records[at - 1].offset + 1 {
                self.publish_outcomes(&records[from], &outcomes);
                (from, outcomes) = (at, Vec::new());
            }
            match self.judge(record, decoded) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    // What was judged so far is committed.
                    if let Some(first) = records.get(from).filter(|_| !outcomes.is_empty()) {
                        self.publish_outcomes(first, &outcomes);
                    }
                    self.commit_all().await?;
                    return Err(error);
                }
            }
            if at % ROWS_LOOK_EVERY == ROWS_LOOK_EVERY - 1
                && self.aggregator.rows_waiting() > ROWS_WAITING_MAX
            {
                self.commit_all().await?;
            }
        }
        if let Some(first) = records.get(from) {
            self.publish_outcomes(first, &outcomes);
        }
        self.events_since_commit += records.len() as u64;
        Ok(())
    }

    /// Shows the ledger, then tells producers: nobody who was answered finds their events missing in it.
    fn publish_outcomes(&mut self, first: &Record, outcomes: &[RecordOutcome]) {
        if self.id.purpose == Purpose::Live {
            self.show_status();
            self.assigned.shared.streams.judged(self.id.partition, first.offset, outcomes);
        }
    }

    fn judge(&mut self, record: &Record, decoded: Decoded<'_>) -> Result<RecordOutcome> {
        let position = Position { offset: record.offset, log_time: record.log_time };
        let (tenant, decoded) = match decoded {
            Decoded::Tick => {
                self.aggregator.tick(position)?;
                return Ok(RecordOutcome::Tick);
            }
            Decoded::Dead(tenant, reason) => {
                self.aggregator.dead(position)?;
                self.dead_letter(tenant, record, &reason);
                return Ok(RecordOutcome::Dead);
            }
            Decoded::Event(tenant, decoded) => (tenant, decoded),
        };
        let head = &decoded.head;
        let mut values = recycled(std::mem::take(&mut self.values));
        decoded.fields(self.aggregator.fields(tenant, &head.event_type), &mut values);
        let event = Event {
            tenant,
            entity_type: head.entity_type.as_deref(),
            entity: &head.entity_id,
            event_type: &head.event_type,
            timestamp: head.timestamp,
            event_id: head.event_id.as_deref(),
            values: &values,
        };
        let verdict = self.aggregator.event(position, &event)?;
        let judgement = verdict.judgement;
        if !verdict.missed.is_empty() {
            let id = RecordId { partition: self.id.partition, offset: record.offset };
            self.uncounted.late(id, record.log_time, &event, &verdict);
        }
        if let Judgement::Dead(reason) = judgement {
            self.dead_letter(Some(tenant), record, reason.message());
        }
        self.values = recycled(values);
        Ok(RecordOutcome::Event(judgement))
    }

    /// Keeps a record that cannot be used for its tenant to look at: it delays nobody.
    fn dead_letter(&mut self, tenant: Option<TenantId>, record: &Record, reason: &str) {
        let id = RecordId { partition: self.id.partition, offset: record.offset };
        match (tenant, &record.body) {
            (Some(tenant), Body::Event { payload, .. }) => {
                self.uncounted.dead(tenant, id, record.log_time, reason, payload.bytes());
            }
            (Some(tenant), Body::Invalid { bytes, .. }) => {
                self.uncounted.dead(tenant, id, record.log_time, reason, bytes);
            }
            _ => tracing::warn!(
                partition = id.partition,
                offset = id.offset,
                reason,
                "a record was passed over"
            ),
        }
    }
}

fn decoded<'a>(record: &'a Record, registry: &RegistrySnapshot) -> Decoded<'a> {
    let (named, body) = match &record.body {
        Body::Tick => return Decoded::Tick,
        Body::Event { tenant, payload } => (tenant, Ok(payload)),
        Body::Invalid { tenant, reason, .. } => (tenant, Err(reason)),
    };
    let Some(tenant) = registry.tenant_of(named) else {
        return Decoded::Dead(None, format!("its tenant {named:?} is not registered"));
    };
    let event = match body {
        Ok(payload) => decode(payload).map_err(|error| error.to_string()),
        Err(reason) => Err(reason.clone()),
    };
    match event {
        Err(reason) => Decoded::Dead(Some(tenant), reason),
        Ok(event) => match &record.key {
            Some(key) if **key != *event.head.entity_id.as_bytes() => {
                let reason =
                    "the record's key is not its entity_id: partitions would each count a part of it";
                Decoded::Dead(Some(tenant), reason.to_owned())
            }
            _ => Decoded::Event(tenant, event),
        },
    }
}

/// Whom an event is about and when, as [`Aggregator::warm`](crate::window::Aggregator::warm) asks.
fn about<'a>(decoded: &'a Decoded<'_>) -> Option<(TenantId, &'a str, &'a str, Timestamp)> {
    let Decoded::Event(tenant, event) = decoded else { return None };
    Some((*tenant, &event.head.event_type, &event.head.entity_id, event.head.timestamp))
}

/// An empty list for values of another record, in the same memory.
fn recycled<'b>(mut values: Vec<FieldValue<'_>>) -> Vec<FieldValue<'b>> {
    values.clear();
    values.into_iter().map(|_| unreachable!("it is empty")).collect()
}
