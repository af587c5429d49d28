//! `larder write`: rows of a file into the store.
//!
//! ```text
//!   file ──▶ reader thread ──▶ (4 batches) ──▶ stream of requests ──▶ server
//!            types every field                  8 under way             │
//!   rejects ◀───────────────── counts ◀──────── acknowledgements ◀──────┘
//! ```
//!
//! Counts are of acknowledged rows only: what they say is on disk. Writing a file again changes no answer: a row equal to
//! the newest at its moment is unchanged, and rows that correct each other end with the same last word.

mod parquet;
mod rejects;
mod roles;
mod source;

use super::{
    args::Connection,
    file::{Format, is_standard},
    output::count,
};
use crate::{
    client::{Acknowledged, Client},
    error::{Error, Kind, Result},
    wire::{json::JsonWriter, proto::FeatureRow},
};
use clap::Args;
use prost::Message;
use rejects::Rejects;
use roles::{ColumnArgs, Roles};
use source::{Source, SourceRow};
use std::{collections::VecDeque, path::PathBuf};
use tokio::sync::mpsc;

/// Bounds of one request, which is one transaction.
const REQUEST_ROWS_MAX: usize = 2_000;
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Batches read ahead of the stream.
const BATCHES_AHEAD_MAX: usize = 4;
/// Requests that wait for their acknowledgement.
const IN_FLIGHT_MAX: usize = 8;

#[derive(Args, Debug)]
pub(super) struct WriteArgs {
    /// Rows as CSV, NDJSON or Parquet; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the file is, where its name does not say
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Where rejected rows go, with the reason [default: FILE.rejects.ndjson]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// What became of the rows of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    accepted: u64,
    unchanged: u64,
    rejected: u64,
}

/// Some rows on their way, and how far into the file they reach.
#[derive(Default)]
struct Batch {
    rows: Vec<SourceRow>,
    bytes: usize,
    position: u64,
}

pub(super) async fn write(args: WriteArgs) -> Result<()> {
    let client = args.connection.client().await?;
    let output = args.connection.output();
    let format = Format::of(&args.file, args.format)?;
    let roles = Roles::new(&client, args.columns).await?;
    let total = (!is_standard(&args.file) && format != Format::Parquet)
        .then(|| std::fs::metadata(&args.file).map(|file| file.len()).ok())
        .flatten();
    let bar = output.progress(total, "Writing");
    let rejects = args.rejects.unwrap_or_else(|| {
        let name = if is_standard(&args.file) { "stdin".into() } else { args.file.as_os_str().to_owned() };
        [name, ".rejects.ndjson".into()].into_iter().collect::<std::ffi::OsString>().into()
    });
    let mut rejects = Rejects::new(rejects);
    let mut counts = Counts::default();
    let (batches, mut read) = mpsc::channel(BATCHES_AHEAD_MAX);
    let file = args.file.clone();
    let reader =
        tokio::task::spawn_blocking(move || read_batches(Source::open(&file, format, roles)?, &batches));
    let mut writer = client.writer(IN_FLIGHT_MAX);
    let mut in_flight: VecDeque<Vec<(u64, FeatureRow)>> = VecDeque::new();
    let sent = async {
        while let Some(batch) = read.recv().await {
            let mut rows = Vec::with_capacity(batch.rows.len());
            for row in batch.rows {
                match row.row {
                    Ok(sound) => rows.push((row.line, sound)),
                    Err((error, text)) => {
                        counts.rejected += 1;
                        rejects.unreadable(row.line, &error, &text)?;
                    }
                }
            }
            if !rows.is_empty() {
                let request = rows.iter().map(|(_, row)| row.clone()).collect();
                in_flight.push_back(rows);
                if let Some(answer) = writer.send(request).await? {
                    acknowledge(&answer, &mut in_flight, &mut counts, &mut rejects)?;
                }
                while let Some(answer) = writer.ready()? {
                    acknowledge(&answer, &mut in_flight, &mut counts, &mut rejects)?;
                }
            }
            bar.set_position(batch.position);
            bar.set_message(count(counts.accepted + counts.unchanged, "row"));
        }
        writer.finish();
        while let Some(answer) = writer.next().await? {
            acknowledge(&answer, &mut in_flight, &mut counts, &mut rejects)?;
            bar.set_message(count(counts.accepted + counts.unchanged, "row"));
        }
        Ok(())
    };
    let sent = sent.await;
    drop(read); // lets the reader stop where it stands
    bar.finish_and_clear();
    let whole = reader.await.map_err(Error::internal)?;
    let rejects_file = rejects.finish()?;
    if let Err(error) = sent.and(whole) {
        if counts != Counts::default() {
            output.note(format!("Stopped. So far: {}; what was accepted is durable.", counts.people()));
        }
        return Err(error);
    }
    output.print(|w| counts.json(w), || format!("{}, all durable.", counts.people()))?;
    match rejects_file {
        Some(file) => Err(Error::new(
            Kind::InvalidArgument,
            format!("{} rejected; {} says why", count(counts.rejected, "row"), file.display()),
        )),
        None => Ok(()),
    }
}

/// The rows of a short text, which must all be sound.
pub(super) async fn rows_of(client: &Client, text: &'static str, format: Format) -> Result<Vec<FeatureRow>> {
    let roles = Roles::new(client, ColumnArgs::default()).await?;
    let read = move || {
        let mut source = Source::text(Box::new(text.as_bytes()), format, roles)?;
        let mut rows = Vec::new();
        while let Some(row) = source.next()? {
            rows.push(row.row.map_err(|(error, _)| error)?);
        }
        Ok(rows)
    };
    tokio::task::spawn_blocking(read).await.map_err(Error::internal)?
}

/// Reads the whole file; ends early without error when nobody takes the batches any more.
fn read_batches(mut source: Source, batches: &mpsc::Sender<Batch>) -> Result<()> {
    let mut batch = Batch::default();
    while let Some(row) = source.next()? {
        batch.bytes += row.row.as_ref().map_or(0, Message::encoded_len);
        batch.rows.push(row);
        if batch.rows.len() >= REQUEST_ROWS_MAX || batch.bytes >= REQUEST_BYTES_MAX {
            batch.position = source.position();
            if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                return Ok(());
            }
        }
    }
    batch.position = source.position();
    let _ = batches.blocking_send(batch);
    Ok(())
}

fn acknowledge(
    acknowledged: &Acknowledged,
    in_flight: &mut VecDeque<Vec<(u64, FeatureRow)>>,
    counts: &mut Counts,
    rejects: &mut Rejects,
) -> Result<()> {
    let rows = in_flight.pop_front().unwrap_or_default();
    let answer = &acknowledged.answer;
    counts.accepted += answer.accepted;
    counts.unchanged += answer.unchanged;
    counts.rejected += answer.rejected.len() as u64;
    for rejected in &answer.rejected {
        if let Some((line, row)) = rows.get(rejected.row as usize) {
            rejects.refused(*line, rejected, row)?;
        }
    }
    Ok(())
}

impl Counts {
    fn people(self) -> String {
        let Self { accepted, unchanged, rejected } = self;
        format!("{} accepted, {unchanged} unchanged, {rejected} rejected", count(accepted, "row"))
    }

    fn json(self, w: &mut JsonWriter<'_>) {
        w.object(|w| {
            w.key("accepted").uint(self.accepted);
            w.key("unchanged").uint(self.unchanged);
            w.key("rejected").uint(self.rejected);
        });
    }
}
