//! `larder streams`, `larder late`, `larder dead`: how events are taken in, and what was not counted.

use super::{args::Connection, output::table, shape};
use crate::{
    error::Result,
    wire::{
        json::JsonWriter,
        proto::{Backfill, DeadLetter, LateEvent, Ledger, ListLateEventsRequest, Stream},
    },
};
use clap::Args;
use comfy_table::Table;

/// Characters of a dead record that a table shows.
const RECORD_CHARS_MAX: usize = 80;

#[derive(Args, Debug)]
pub(super) struct StreamsArgs {
    /// Show the backfills of the key's tenant instead of the partitions
    #[arg(long)]
    backfills: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args, Debug)]
pub(super) struct LateArgs {
    /// Only events of this type
    #[arg(long)]
    event_type: Option<String>,
    /// Only events of this entity
    #[arg(long, value_name = "ENTITY")]
    entity_id: Option<String>,
    /// Print at most this many, in the order of the log
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args, Debug)]
pub(super) struct DeadArgs {
    /// Print at most this many, in the order of the log
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

/// How partitions, or backfills, stand.
pub(super) async fn streams(args: StreamsArgs) -> Result<()> {
    let (client, output) = (args.connection.client().await?, args.connection.output());
    if args.backfills {
        let backfills = client.backfills().await?;
        if backfills.is_empty() {
            output.note("No backfill is known; registering a windowed feature over an event log that holds events starts one.");
        }
        return output.print(
            |w| w.array(|w| backfills.iter().for_each(|backfill| backfill_json(w, backfill))),
            || backfill_table(&backfills).trim_fmt(),
        );
    }
    let streams = client.streams().await?;
    if streams.is_empty() {
        output.note("This server reads no event log.");
    }
    output.print(
        |w| w.array(|w| streams.iter().for_each(|stream| stream_json(w, stream))),
        || stream_table(&streams).trim_fmt(),
    )
}

/// Lists late events.
pub(super) async fn late(args: LateArgs) -> Result<()> {
    let filter = ListLateEventsRequest {
        event_type: args.event_type.unwrap_or_default(),
        entity_id: args.entity_id.unwrap_or_default(),
        ..Default::default()
    };
    let client = args.connection.client().await?;
    let (events, more) = client.late_events(filter, args.limit as usize).await?;
    note_length(&args.connection, events.len(), more, "No event missed a window.");
    args.connection.output().print(
        |w| w.array(|w| events.iter().for_each(|event| late_json(w, event))),
        || late_table(&events).trim_fmt(),
    )
}

/// Lists dead letters.
pub(super) async fn dead(args: DeadArgs) -> Result<()> {
    let client = args.connection.client().await?;
    let (letters, more) = client.dead_letters(args.limit as usize).await?;
    note_length(&args.connection, letters.len(), more, "Every record could be used.");
    args.connection.output().print(
        |w| w.array(|w| letters.iter().for_each(|letter| dead_json(w, letter))),
        || dead_table(&letters).trim_fmt(),
    )
}

fn note_length(connection: &Connection, entries: usize, more: bool, none: &str) {
    match (entries, more) {
        (0, _) => connection.output().note(none),
        (_, true) => connection.output().note("There is more: raise --limit."),
        _ => {}
    }
}

fn stream_table(streams: &[Stream]) -> Table {
    let rows = streams.iter().map(|stream| {
        let ledger = stream.ledger.unwrap_or_default();
        let state = match stream.stalled.as_str() {
            "" if stream.lag == 0 => "up to date".to_owned(),
            "" => "catching up".to_owned(),
            why => format!("stalled: {why}"),
        };
        [
            stream.partition.to_string(),
            stream.end_offset.to_string(),
            stream.next_offset.to_string(),
            stream.committed_offset.to_string(),
            stream.lag.to_string(),
            shape::moment_text(stream.log_time.as_ref()),
            ledger_text(&ledger),
            stream.entities.to_string(),
            format!("{} KiB", stream.state_bytes.div_ceil(1_024)),
            state,
        ]
    });
    let header = [
        "partition",
        "end",
        "counted to",
        "durable to",
        "lag",
        "log time",
        "events",
        "entities",
        "memory",
        "state",
    ];
    table(header, rows)
}

fn stream_json(w: &mut JsonWriter<'_>, stream: &Stream) {
    w.object(|w| {
        w.key("partition").uint(stream.partition.into());
        w.key("end_offset").uint(stream.end_offset);
        w.key("next_offset").uint(stream.next_offset);
        w.key("committed_offset").uint(stream.committed_offset);
        w.key("lag").uint(stream.lag);
        shape::moment(w.key("log_time"), stream.log_time.as_ref());
        ledger_json(w.key("ledger"), stream.ledger.as_ref());
        w.key("entities").uint(stream.entities);
        w.key("panes").uint(stream.panes);
        w.key("state_bytes").uint(stream.state_bytes);
        w.key("stalled").option(given(&stream.stalled), JsonWriter::string);
    });
}

fn backfill_table(backfills: &[Backfill]) -> Table {
    let rows = backfills.iter().map(|backfill| {
        [
            backfill.groups.join(", "),
            backfill.partition.to_string(),
            backfill.next_offset.to_string(),
            backfill.end_offset.to_string(),
            shape::moment_text(backfill.joins_at.as_ref()),
            backfill.ledger.as_ref().map_or_else(|| "–".to_owned(), ledger_text),
            if backfill.done { "done" } else { "under way" }.to_owned(),
        ]
    });
    table(["groups", "partition", "read to", "end", "windows before", "events", "state"], rows)
}

fn backfill_json(w: &mut JsonWriter<'_>, backfill: &Backfill) {
    w.object(|w| {
        w.key("partition").uint(backfill.partition.into());
        w.key("groups").strings(&backfill.groups);
        w.key("next_offset").uint(backfill.next_offset);
        w.key("end_offset").uint(backfill.end_offset);
        shape::moment(w.key("joins_at"), backfill.joins_at.as_ref());
        w.key("done").boolean(backfill.done);
        ledger_json(w.key("ledger"), backfill.ledger.as_ref());
    });
}

fn late_table(events: &[LateEvent]) -> Table {
    let rows = events.iter().map(|event| {
        let missed = event.missed.iter().map(|missed| format!("{} of {}", missed.windows, missed.group));
        [
            format!("{}/{}", event.partition, event.offset),
            event.entity_id.clone(),
            event.event_type.clone(),
            shape::moment_text(event.timestamp.as_ref()),
            shape::moment_text(event.log_time.as_ref()),
            missed.collect::<Vec<_>>().join(", "),
            if event.late { "no" } else { "in other windows" }.to_owned(),
        ]
    });
    table(["record", "entity", "event type", "happened", "came", "windows missed", "counted"], rows)
}

fn late_json(w: &mut JsonWriter<'_>, event: &LateEvent) {
    w.object(|w| {
        w.key("partition").uint(event.partition.into());
        w.key("offset").uint(event.offset);
        shape::moment(w.key("log_time"), event.log_time.as_ref());
        w.key("entity_id").string(&event.entity_id);
        w.key("event_type").string(&event.event_type);
        shape::moment(w.key("timestamp"), event.timestamp.as_ref());
        w.key("event_id").option(given(&event.event_id), JsonWriter::string);
        w.key("entity_type").option(given(&event.entity_type), JsonWriter::string);
        w.key("late").boolean(event.late);
        w.key("missed").array(|w| {
            for missed in &event.missed {
                w.object(|w| {
                    w.key("group").string(&missed.group);
                    shape::moment(w.key("first_end"), missed.first_end.as_ref());
                    shape::moment(w.key("last_end"), missed.last_end.as_ref());
                    w.key("windows").uint(missed.windows.into());
                });
            }
        });
    });
}

fn dead_table(letters: &[DeadLetter]) -> Table {
    let rows = letters.iter().map(|letter| {
        [
            format!("{}/{}", letter.partition, letter.offset),
            shape::moment_text(letter.log_time.as_ref()),
            letter.reason.clone(),
            record_text(&letter.record),
        ]
    });
    table(["record", "came", "reason", "content"], rows)
}

fn dead_json(w: &mut JsonWriter<'_>, letter: &DeadLetter) {
    w.object(|w| {
        w.key("partition").uint(letter.partition.into());
        w.key("offset").uint(letter.offset);
        shape::moment(w.key("log_time"), letter.log_time.as_ref());
        w.key("reason").string(&letter.reason);
        w.key("record").bytes(&letter.record);
    });
}

/// The beginning of a record: its sender wrote it, so nothing in it may reach a terminal as more than text.
fn record_text(record: &[u8]) -> String {
    let text = String::from_utf8_lossy(record);
    let mut chars = text.chars();
    let mut shown: String = chars
        .by_ref()
        .take(RECORD_CHARS_MAX)
        .map(|char| if char.is_control() { '·' } else { char })
        .collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

fn ledger_text(ledger: &Ledger) -> String {
    let parts = [
        (ledger.counted, "counted"),
        (ledger.unused, "unused"),
        (ledger.late, "late"),
        (ledger.duplicate, "duplicate"),
        (ledger.dead, "dead"),
    ];
    let known: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if known.is_empty() { "none yet".to_owned() } else { known.join(", ") }
}

fn ledger_json(w: &mut JsonWriter<'_>, ledger: Option<&Ledger>) {
    w.option(ledger, |w, ledger| {
        w.object(|w| {
            w.key("produced").uint(ledger.produced);
            w.key("counted").uint(ledger.counted);
            w.key("unused").uint(ledger.unused);
            w.key("late").uint(ledger.late);
            w.key("duplicate").uint(ledger.duplicate);
            w.key("dead").uint(ledger.dead);
        });
    });
}

/// In the contract an empty text is none.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_shown_as_text_alone() {
        assert_eq!(record_text(b"{\"a\": 1}\n\x1b[2J"), "{\"a\": 1}··[2J");
        assert_eq!(record_text(&[0xff, b'x']), "\u{fffd}x");
        assert_eq!(record_text("é".repeat(81).as_bytes()), format!("{}…", "é".repeat(80)));
    }
}
