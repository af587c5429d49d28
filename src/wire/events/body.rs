//! Events of one JSON document: an object, or an array of them.

use super::decode;
use crate::{
    access::Caller,
    error::{Error, Result},
    feature::json::{JsonKind, JsonReader},
    serving::{
        Service,
        events::{EventsBuilder, PublishOutcome},
        write::Judge,
    },
    store::events::Payload,
    wire::{json::JsonWriter, query::Query},
};
use bytes::Bytes;

/// How a call of `POST /events` wants its events judged.
#[derive(Debug)]
pub struct JsonRequest {
    judge: Judge,
}

impl JsonRequest {
    /// From the address (`?partial=true`) and the header `Idempotency-Key`, which events do without.
    pub fn new(query: Option<&str>, idempotency_key: Option<&str>) -> Result<Self> {
        let mut query = Query::parse(query)?;
        let judge = if query.take_flag("partial")? { Judge::RowByRow } else { Judge::AllOrNothing };
        query.finish()?;
        match idempotency_key {
            None => Ok(Self { judge }),
            Some(_) => Err(Error::invalid(
                "idempotency_key",
                "events take no Idempotency-Key; give each event an event_id, which makes a repeat harmless",
            )),
        }
    }

    /// Publishes the event or events of a body.
    pub async fn publish(&self, service: &Service, caller: &Caller, body: &Bytes) -> Result<PublishOutcome> {
        let mut events = service.events(caller, self.judge, 0)?;
        let mut reader = JsonReader::new(body)?;
        if reader.peek()? != JsonKind::Array {
            events = events.alone();
            take_event(Payload::Json(body.clone()), &mut events)?;
            return service.publish(caller, events).await;
        }
        // An event's own nesting counts, not that of the array around it.
        let mut texts = Vec::new();
        reader
            .array(|reader, _| {
                texts.push(reader.raw_to_read_again()?);
                Ok(())
            })
            .map_err(|error| error.within("events"))?;
        reader.finish()?;
        for text in texts {
            take_event(Payload::Json(body.slice_ref(text.as_bytes())), &mut events)?;
        }
        publish_some(service, caller, events).await
    }
}

/// Refuses a request without events.
pub(super) async fn publish_some(
    service: &Service,
    caller: &Caller,
    events: EventsBuilder,
) -> Result<PublishOutcome> {
    if events.is_empty() {
        return Err(Error::invalid("events", "there is nothing to publish; send at least one event"));
    }
    service.publish(caller, events).await
}

/// Reads and judges the next event.
pub(super) fn take_event(payload: Payload, events: &mut EventsBuilder) -> Result<()> {
    events.event(|events| {
        let event = decode(&payload)?;
        events.keep(&event.head, &payload)
    })
}

/// `{"accepted": 1, "unused": 0, "late": 0, "duplicate": 0, "rejected": []}`, and `rejected_total` where not all of them
/// are listed.
pub fn publish_outcome(outcome: &PublishOutcome, rejected_total: u64) -> Vec<u8> {
    let mut out = Vec::new();
    JsonWriter::new(&mut out).object(|w| {
        w.key("accepted").uint(outcome.accepted);
        w.key("unused").uint(outcome.unused);
        w.key("late").uint(outcome.late);
        w.key("duplicate").uint(outcome.duplicate);
        w.key("rejected").array(|w| {
            for rejected in &outcome.rejected {
                w.object(|w| {
                    w.key("event").uint(rejected.event);
                    w.key("field").string(&rejected.field);
                    w.key("reason").string(&rejected.reason);
                });
            }
        });
        if rejected_total > outcome.rejected.len() as u64 {
            w.key("rejected_total").uint(rejected_total);
        }
    });
    out
}
