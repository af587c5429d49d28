//! Events as they come in: one at a time, judged before anything is kept.

use super::{RejectedEvent, dead_error};
use crate::{
    error::{Error, Result},
    event::{EventHead, Payload},
    feature::TenantId,
    registry::Catalogue,
    serving::{Limits, time_bounds::TimeBounds, write::Judge},
    store::log::NewRecord,
    window::DeadReason,
};
use bytes::Bytes;
use std::{borrow::Cow, sync::Arc};

/// Gathers the events of one append. For each event: [`event`](Self::event), in it [`keep`](Self::keep).
pub struct EventsBuilder {
    tenant: TenantId,
    catalogue: Arc<Catalogue>,
    limits: Arc<Limits>,
    judge: Judge,
    bounds: TimeBounds,
    /// The event was sent without a list around it: its fields bear no position.
    alone: bool,
    /// Position of the next event in the request.
    next: u64,
    first: u64,
    records: Vec<NewRecord>,
    /// Of each record, in the request.
    positions: Vec<u64>,
    rejected: Vec<RejectedEvent>,
}

impl EventsBuilder {
    pub(super) fn new(
        tenant: TenantId,
        catalogue: Arc<Catalogue>,
        limits: Arc<Limits>,
        bounds: TimeBounds,
        judge: Judge,
        first: u64,
    ) -> Self {
        Self {
            tenant,
            catalogue,
            judge,
            bounds,
            limits,
            alone: false,
            next: first,
            first,
            records: Vec::new(),
            positions: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// For the only event of a request, which stands in no list.
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// Events seen so far, bad ones counted.
    pub fn len(&self) -> usize {
        (self.next - self.first) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.next == self.first
    }

    /// Takes the next event with `read`, whose errors name the field within the event. A bad one is refused or set aside,
    /// as the judge says.
    pub fn event(&mut self, read: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let position = self.next;
        self.next += 1;
        let Err(error) = read(self) else { return Ok(()) };
        let error = self.placed(position, error);
        match self.judge {
            Judge::AllOrNothing => Err(error),
            Judge::RowByRow => {
                self.rejected.push(RejectedEvent::new(position, error));
                Ok(())
            }
        }
    }

    /// Judges the current event and keeps it. `payload` is what the head was read from.
    pub fn keep(&mut self, head: &EventHead<'_>, payload: &Payload) -> Result<()> {
        let bytes = payload.bytes();
        if bytes.len() > self.limits.row_bytes_max {
            let (len, bytes_max) = (bytes.len(), self.limits.row_bytes_max);
            return Err(Error::refused(format!("the event has {len} bytes, over the limit of {bytes_max}")));
        }
        self.bounds.check_ahead(head.timestamp).map_err(|why| Error::invalid("timestamp", why))?;
        if head.entity_type.is_none() {
            self.check_unambiguous(&head.event_type)?;
        }
        let key = match &head.entity_id {
            Cow::Borrowed(id) => bytes.slice_ref(id.as_bytes()),
            Cow::Owned(id) => Bytes::copy_from_slice(id.as_bytes()),
        };
        let payload = payload.clone();
        self.records.push(NewRecord { tenant: self.tenant, key, event_timestamp: head.timestamp, payload });
        self.positions.push(self.next - 1);
        Ok(())
    }

    /// What to append, and what was set aside.
    pub(super) fn take(&mut self) -> (Vec<NewRecord>, Vec<RejectedEvent>) {
        (std::mem::take(&mut self.records), std::mem::take(&mut self.rejected))
    }

    /// A record, by its position among all of them, that the log's reader could not use.
    pub(super) fn dead(&self, record: usize, reason: Option<DeadReason>) -> RejectedEvent {
        let position = self.positions[record];
        RejectedEvent::new(position, self.placed(position, dead_error(reason)))
    }

    fn placed(&self, position: u64, error: Error) -> Error {
        if self.alone { error } else { error.within(format_args!("events[{position}]")) }
    }

    fn check_unambiguous(&self, event_type: &str) -> Result<()> {
        let mut types = self.catalogue.entity_types_of_events(event_type).map(|known| known.name.as_str());
        if let (Some(one), Some(other)) = (types.next(), types.next()) {
            let message = format!(
                "events of the type {event_type:?} feed features of {one:?} and {other:?}; say in entity_type whose this is"
            );
            return Err(Error::invalid("entity_type", message));
        }
        Ok(())
    }
}
