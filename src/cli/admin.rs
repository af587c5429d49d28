//! `larder streams`, `larder late`, `larder dead`: how events are taken in, and what was not counted.

use super::{args::Connection, output::table, shape};
use crate::{
    error::Result,
    wire::{
        control::{self, list},
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
        return output.print(&list::<_, control::Backfill>(backfills.clone()), || {
            backfill_table(&backfills).trim_fmt()
        });
    }
    let streams = client.streams().await?;
    if streams.is_empty() {
        output.note("This server reads no event log.");
    }
    output.print(&list::<_, control::Stream>(streams.clone()), || stream_table(&streams).trim_fmt())
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
    args.connection
        .output()
        .print(&list::<_, control::LateEvent>(events.clone()), || late_table(&events).trim_fmt())
}

/// Lists dead letters.
pub(super) async fn dead(args: DeadArgs) -> Result<()> {
    let client = args.connection.client().await?;
    let (letters, more) = client.dead_letters(args.limit as usize).await?;
    note_length(&args.connection, letters.len(), more, "Every record could be used.");
    args.connection
        .output()
        .print(&list::<_, control::DeadLetter>(letters.clone()), || dead_table(&letters).trim_fmt())
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
