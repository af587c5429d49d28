//! `PublishEventsRequest` and `StreamPublishEventsRequest`, read in place: events go into the log as they came.

use super::body::{publish_some, take_event};
use crate::{
    access::Caller,
    error::{Error, Result},
    event::Payload,
    proto::fields::{Field, each_field, flag, malformed},
    serving::{
        Service,
        events::{EventsBuilder, PublishOutcome, RejectedEvent},
        write::Judge,
    },
    wire::{codec::InPlace, proto},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// Requests of one stream that are under way at once: the log merges their appends into one sync.
const IN_FLIGHT_MAX: usize = 16;

/// Publishes the events of a unary request.
pub async fn publish(
    InPlace(request): &InPlace,
    service: &Service,
    caller: &Caller,
) -> Result<PublishOutcome> {
    let judge = if flag(request, 2)? { Judge::RowByRow } else { Judge::AllOrNothing };
    publish_some(service, caller, read(request, service, caller, judge)?).await
}

/// Answers a stream of requests in their order, each an append of its own, judged event by event.
pub fn publish_stream<E: From<Error>>(
    service: Service,
    caller: Caller,
    requests: impl Stream<Item = Result<InPlace, E>>,
) -> impl Stream<Item = Result<PublishOutcome, E>> {
    let appends = requests.map(move |request| {
        let (service, caller) = (service.clone(), caller.clone());
        // Events are read here, in the order of the requests; only the appends overlap.
        let read =
            request.and_then(|InPlace(request)| Ok(read(&request, &service, &caller, Judge::RowByRow)?));
        async move { Ok(service.publish(&caller, read?).await?) }
    });
    appends.buffered(IN_FLIGHT_MAX)
}

/// Reads either request: their first field is the same.
fn read(request: &Bytes, service: &Service, caller: &Caller, judge: Judge) -> Result<EventsBuilder> {
    let mut events = service.events(caller, judge, 0)?;
    each_field(request, |number, field| match (number, field) {
        (1, Field::Bytes(event)) => take_event(Payload::Proto(request.slice_ref(event)), &mut events),
        (1, _) => Err(malformed("a field has the wrong wire type")),
        _ => Ok(()),
    })?;
    Ok(events)
}

pub fn outcome_to(outcome: PublishOutcome) -> proto::PublishEventsResponse {
    let PublishOutcome { accepted, unused, late, duplicate, rejected } = outcome;
    let rejected = rejected.into_iter().map(rejected_to).collect();
    proto::PublishEventsResponse { accepted, unused, late, duplicate, rejected }
}

pub fn stream_outcome_to(outcome: PublishOutcome) -> proto::StreamPublishEventsResponse {
    let proto::PublishEventsResponse { accepted, unused, late, duplicate, rejected } = outcome_to(outcome);
    proto::StreamPublishEventsResponse { accepted, unused, late, duplicate, rejected }
}

fn rejected_to(rejected: RejectedEvent) -> proto::RejectedEvent {
    let RejectedEvent { event, field, reason } = rejected;
    proto::RejectedEvent { event: u32::try_from(event).unwrap_or(u32::MAX), field, reason }
}
