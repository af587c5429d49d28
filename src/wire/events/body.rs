//! Events of one JSON document: an object, or an array of them.

use crate::{
    access::Caller,
    error::{Error, Result},
    event::{self, Payload},
    serving::{
        Service,
        events::{EventsBuilder, PublishOutcome},
        write::Judge,
    },
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
        let start = skip_space(body, 0);
        if body.get(start) != Some(&b'[') {
            events = events.alone();
            take_event(Payload::Json(body.clone()), &mut events)?;
            return service.publish(caller, events).await;
        }
        each_element(body, start, |event| take_event(Payload::Json(event), &mut events))?;
        publish_some(service, caller, events).await
    }
}

/// Hands over the elements of the array that begins at `start`, as they stand. Each is read by itself, so only their ends
/// are looked for here: one that is no JSON is a bad event, and not the end of the request.
fn each_element(body: &Bytes, start: usize, mut take: impl FnMut(Bytes) -> Result<()>) -> Result<()> {
    let malformed = |at: usize, why: &str| Err(Error::refused(format!("malformed JSON at byte {at}: {why}")));
    let mut at = skip_space(body, start + 1);
    let mut next = body.get(at);
    if next != Some(&b']') {
        loop {
            let Some(end) = event::value_end(&body[at..]).filter(|end| *end > 0) else {
                return malformed(at, "an event was expected, and then the end of the array");
            };
            take(body.slice(at..at + end))?;
            at = skip_space(body, at + end);
            next = body.get(at);
            if next != Some(&b',') {
                break;
            }
            at = skip_space(body, at + 1);
        }
    }
    match next {
        Some(b']') if skip_space(body, at + 1) == body.len() => Ok(()),
        Some(b']') => malformed(at + 1, "nothing may follow the value"),
        Some(_) => malformed(at, "a comma or the end was expected"),
        None => malformed(at, "the text is cut short"),
    }
}

fn skip_space(body: &[u8], from: usize) -> usize {
    let rest = body[from..].iter();
    from + rest.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
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
        let event = event::decode(&payload)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn elements(body: &str) -> Option<Vec<String>> {
        let mut all = Vec::new();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let take = |element: Bytes| {
            all.push(String::from_utf8_lossy(&element).into_owned());
            Ok(())
        };
        each_element(&body, skip_space(&body, 0), take).ok().map(|()| all)
    }

    #[test]
    fn arrays_come_apart() {
        for (body, wanted) in [
            ("[]", Some(vec![])),
            (" [ ] \n", Some(vec![])),
            (r#"[ {"a":"]},["} , 1,"x\"," ,[[]] ]"#, Some(vec![r#"{"a":"]},["}"#, "1", r#""x\",""#, "[[]]"])),
            ("[1,]", None),
            ("[,1]", None),
            ("[1 2]", None),
            ("[1", None),
            ("[1,", None),
            ("[{]", None),
            ("[1]]", None),
            ("[", None),
            ("[[[[", None),
        ] {
            let wanted = wanted.map(|all: Vec<&str>| all.into_iter().map(str::to_owned).collect());
            assert_eq!(elements(body), wanted, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_array_comes_apart_as_serde_json_reads_it(text in r#"\[[\[\]{}:, "\\a0]{0,12}\]"#) {
            if let Ok(array) = serde_json::from_str::<Vec<serde_json::Value>>(&text) {
                let all = elements(&text).unwrap();
                let read = |text: &String| serde_json::from_str::<serde_json::Value>(text).unwrap();
                prop_assert_eq!(all.iter().map(read).collect::<Vec<_>>(), array);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in r#"\[[\[\]{}:, "\\aé0]{0,24}"#) {
            elements(&text);
        }
    }
}
