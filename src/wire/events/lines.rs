//! Events as NDJSON, one a line: a body without end, in bounded memory.
//!
//! ```text
//!   pieces ──> lines ──> chunks of events (by count, bytes, and the caller's silence) ──> appends, some at once, in order
//! ```

use super::body::take_event;
use crate::{
    access::Caller,
    error::{Error, Result},
    event::Payload,
    serving::{
        Service,
        events::{EventsBuilder, PublishOutcome, RejectedEvent},
        write::Judge,
    },
    wire::lines::{Lines, Listed},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use std::time::Duration;
use tokio::time::timeout;

/// An append takes at most so many events, of at most so many bytes.
const CHUNK_EVENTS_MAX: usize = 8_192;
const CHUNK_BYTES_MAX: usize = 2 << 20;
/// Appends under way at once.
const CHUNKS_IN_FLIGHT_MAX: usize = 4;
/// A caller that is silent for so long has its events appended: windows need not wait for its next ones.
const SILENCE: Duration = Duration::from_millis(50);

/// Publishes the events of a body, judged line by line. Events count from 0; empty lines are passed over. The outcome
/// lists the first rejected events; the number beside it counts all.
pub async fn publish_lines(
    service: &Service,
    caller: &Caller,
    pieces: impl Stream<Item = Result<Bytes>> + Send + Unpin + 'static,
) -> Result<(PublishOutcome, u64)> {
    let chunks = Chunks {
        service: service.clone(),
        caller: caller.clone(),
        lines: Lines::new(pieces, service.limits.line_bytes_max),
        events: 0,
    };
    let chunks = stream::try_unfold(chunks, |mut chunks| async move {
        let chunk = chunks.next().await?;
        Ok(chunk.map(|chunk| (chunk, chunks)))
    });
    let (service, caller) = (service.clone(), caller.clone());
    let appends = chunks.map(move |chunk: Result<EventsBuilder>| {
        let (service, caller) = (service.clone(), caller.clone());
        async move { service.publish(&caller, chunk?).await }
    });
    let mut appends = Box::pin(appends.buffered(CHUNKS_IN_FLIGHT_MAX));
    let mut total = Total::default();
    loop {
        match appends.try_next().await {
            Ok(Some(outcome)) => total.add(outcome),
            Ok(None) => return Ok(total.finish()),
            Err(error) => return Err(total.interrupted(error)),
        }
    }
}

/// Cuts a body into chunks.
struct Chunks<S> {
    service: Service,
    caller: Caller,
    lines: Lines<S>,
    /// Events in earlier chunks.
    events: u64,
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Chunks<S> {
    async fn next(&mut self) -> Result<Option<EventsBuilder>> {
        let mut events = self.service.events(&self.caller, Judge::RowByRow, self.events)?;
        let mut bytes = 0;
        while events.len() < CHUNK_EVENTS_MAX && bytes < CHUNK_BYTES_MAX {
            let line = match events.is_empty() {
                true => self.lines.next().await?,
                false => match timeout(SILENCE, self.lines.next()).await {
                    Ok(line) => line?,
                    Err(_) => break,
                },
            };
            match line {
                None => break,
                Some(Ok(line)) => {
                    bytes += line.len();
                    take_event(Payload::Json(line.slice_ref(line.trim_ascii())), &mut events)?;
                }
                Some(Err(refused)) => events.event(|_| Err(refused))?,
            }
        }
        self.events += events.len() as u64;
        Ok((!events.is_empty()).then_some(events))
    }
}

/// What became of the chunks so far.
#[derive(Default)]
struct Total {
    outcome: PublishOutcome,
    rejected: Listed<RejectedEvent>,
}

impl Total {
    fn add(&mut self, outcome: PublishOutcome) {
        self.outcome.accepted += outcome.accepted;
        self.outcome.unused += outcome.unused;
        self.outcome.late += outcome.late;
        self.outcome.duplicate += outcome.duplicate;
        self.rejected.add(outcome.rejected);
    }

    fn finish(mut self) -> (PublishOutcome, u64) {
        self.outcome.rejected = self.rejected.first;
        (self.outcome, self.rejected.total)
    }

    /// An error after a part of the body was appended says how much is durable.
    fn interrupted(&self, mut error: Error) -> Error {
        let (accepted, rejected) = (self.outcome.accepted, self.rejected.total);
        let events = accepted + rejected;
        if events > 0 {
            error.message = format!(
                "{}; the first {events} events were judged before: {accepted} accepted, {rejected} rejected",
                error.message
            );
        }
        error
    }
}
