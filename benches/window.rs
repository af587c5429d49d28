//! What windows cost: JSON events in memory to rows, on one core.
//!
//! ```text
//! cargo bench --bench window -- [events] [part of a form's name]
//! ```
//!
//! Events lie within 10 minutes of event time, up to 30 s out of order, over 100 000 entities; each is the JSON text of
//! `{entity_id, event_type, value, timestamp, metadata}`. `parse` decodes them as the reader of the log does,
//! and does nothing else;
//! `1m / 1m` and `5m / 1m` also sum `value` in windows of that size and slide, and take the rows; `saved` also encodes the
//! state for a commit at every minute. The forms take turns; figures are medians of the rounds.

use bytes::Bytes;
use larder::{
    event::{FieldValue, Payload, decode},
    feature::{Dtype, Duration, RowId, TenantId, Timestamp, WindowFunction},
    window::{Aggregator, Event, Memory, Options, Position, Span, WARM_MAX, WindowFeature, WindowGroup},
};
use std::{hint::black_box, io::Write, time::Instant};

const ENTITIES: u32 = 100_000;
const ROUNDS: usize = 3;
const START: i64 = 1_700_000_000_000_000;
const SPAN: i64 = 600_000_000;
const DISORDER: i64 = 30_000_000;
const TENANT: TenantId = TenantId::from_stored(1);

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Parse,
    Windows { size: &'static str, slide: &'static str, functions: usize, saved: bool },
}

const FORMS: [(&str, Form); 6] = [
    ("parse", Form::Parse),
    ("1m / 1m", Form::Windows { size: "1m", slide: "1m", functions: 1, saved: false }),
    ("5m / 1m", Form::Windows { size: "5m", slide: "1m", functions: 1, saved: false }),
    ("5m / 1m, saved", Form::Windows { size: "5m", slide: "1m", functions: 1, saved: true }),
    ("5m / 1m, five functions", Form::Windows { size: "5m", slide: "1m", functions: 5, saved: false }),
    ("5m / 1s", Form::Windows { size: "5m", slide: "1s", functions: 1, saved: false }),
];

fn main() {
    let events = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(10_000_000);
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with("--") && arg.parse::<usize>().is_err());
    let forms = || {
        FORMS.iter().enumerate().filter(|(_, (name, _))| {
            wanted.as_deref().is_none_or(|wanted| name.contains(wanted) || *name == "parse")
        })
    };
    let log = Log::new(events);
    let mut seconds = vec![Vec::new(); FORMS.len()];
    let mut last = [Outcome::default(); FORMS.len()];
    for _ in 0..ROUNDS {
        for (at, (name, form)) in forms() {
            // Windows of a second make sixty times the rows: a tenth of the events tells enough.
            let part = if *name == "5m / 1s" { events / 10 } else { events };
            let started = Instant::now();
            last[at] = log.run(*form, part);
            seconds[at].push(started.elapsed().as_secs_f64() * events as f64 / part as f64);
        }
    }
    println!("{events} events, {:.0} bytes each", log.text.len() as f64 / events as f64);
    println!("| form | s | million events/s | rows | state MB | bytes per (entity, pane) | saved MB |");
    println!("|---|---|---|---|---|---|---|");
    for (at, (name, _)) in forms() {
        seconds[at].sort_by(f64::total_cmp);
        let median = seconds[at][ROUNDS / 2];
        let Outcome { rows, memory, saved } = last[at];
        println!(
            "| {name} | {median:.2} | {:.2} | {rows} | {:.1} | {:.1} | {:.1} |",
            events as f64 / median / 1e6,
            memory.bytes as f64 / 1e6,
            memory.pane_bytes as f64 / memory.panes.max(1) as f64,
            saved as f64 / 1e6
        );
    }
}

/// Events one after the other, and where each ends.
struct Log {
    text: Bytes,
    ends: Vec<usize>,
}

#[derive(Clone, Copy, Default)]
struct Outcome {
    rows: usize,
    memory: Memory,
    saved: usize,
}

impl Log {
    fn new(events: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(42);
        let (mut text, mut ends) = (Vec::with_capacity(events * 120), Vec::with_capacity(events));
        for at in 0..events {
            let age = random.i64(0..DISORDER) / 1_000 * 1_000;
            let timestamp = Timestamp::from_stored(log_time(at, events).micros() - age);
            write!(
                text,
                r#"{{"entity_id":"user_{}","event_type":"purchase","value":{:.2},"timestamp":"{timestamp}","metadata":{{}}}}"#,
                random.u32(..ENTITIES),
                random.f64() * 500.0,
            )
            .expect("memory takes all");
            ends.push(text.len());
        }
        Self { text: text.into(), ends }
    }

    fn run(&self, form: Form, events: usize) -> Outcome {
        let mut outcome = Outcome::default();
        let mut aggregator = Aggregator::new(Options::default());
        let mut saves = false;
        if let Form::Windows { size, slide, functions, saved } = form {
            aggregator.register(group(size, slide, functions), Span::Live).expect("a group");
            saves = saved;
        }
        let names = ["value".to_owned()];
        let (mut start, mut minute) = (0, 0);
        let mut values: Vec<FieldValue<'static>> = Vec::new();
        for (chunk, ends) in self.ends[..events].chunks(WARM_MAX).enumerate() {
            let payloads: Vec<Payload> = ends
                .iter()
                .map(|end| Payload::Json(self.text.slice(std::mem::replace(&mut start, *end)..*end)))
                .collect();
            let decoded: Vec<_> = payloads.iter().map(|payload| decode(payload).expect("an event")).collect();
            aggregator.warm(decoded.iter().map(|event| {
                (TENANT, &*event.head.event_type, &*event.head.entity_id, event.head.timestamp)
            }));
            for (offset, decoded) in (chunk * WARM_MAX..).zip(&decoded) {
                let mut of_event = recycled(std::mem::take(&mut values));
                decoded.fields(&names, &mut of_event);
                if form == Form::Parse {
                    black_box((&decoded.head, &of_event));
                    values = recycled(of_event);
                    continue;
                }
                let event = Event {
                    tenant: TENANT,
                    entity_type: None,
                    entity: &decoded.head.entity_id,
                    event_type: &decoded.head.event_type,
                    timestamp: decoded.head.timestamp,
                    event_id: None,
                    values: &of_event,
                };
                let position =
                    Position { offset: offset as u64, log_time: log_time(offset, self.ends.len()) };
                aggregator.event(position, &event).expect("room");
                values = recycled(of_event);
                let now = position.log_time.micros() / 60_000_000;
                if now != minute {
                    minute = now;
                    outcome.rows += aggregator.rows_waiting();
                    black_box(aggregator.take_rows());
                    if saves {
                        outcome.saved += black_box(aggregator.changes()).len();
                    }
                }
            }
        }
        outcome.rows += aggregator.rows_waiting();
        Outcome { memory: aggregator.memory(), ..outcome }
    }
}

/// An empty list for values of another event, in the same memory.
fn recycled<'b>(mut values: Vec<FieldValue<'_>>) -> Vec<FieldValue<'b>> {
    values.clear();
    values.into_iter().map(|_| unreachable!("it is empty")).collect()
}

fn log_time(at: usize, events: usize) -> Timestamp {
    Timestamp::from_stored(START + (SPAN as f64 * at as f64 / events as f64) as i64)
}

fn group(size: &str, slide: &str, functions: usize) -> WindowGroup {
    use WindowFunction::{Last, Max, Mean, Min, Sum};
    let duration = |text: &str| text.parse::<Duration>().expect("a duration");
    let feature = |function| WindowFeature {
        function,
        field: Some("value".into()),
        dtype: Dtype::Float64,
        allow_non_finite: false,
    };
    WindowGroup {
        id: RowId::from_stored(1),
        tenant: TENANT,
        entity_type: "user".into(),
        event_type: "purchase".into(),
        size: duration(size),
        slide: duration(slide),
        features: [Sum, Mean, Min, Max, Last][..functions].iter().copied().map(feature).collect(),
    }
}
