//! Files of rows or events into the server: what `larder write` and `larder events` share.
//!
//! ```text
//!   file ──▶ reader thread ──▶ (4 batches) ──▶ stream of requests ──▶ server
//!            types every field                  8 under way             │
//!   rejects ◀───────────────── counts ◀──────── acknowledgements ◀──────┘
//! ```
//!
//! Counts are of what was acknowledged only: what they say is on disk.

mod parquet;
mod rejects;
mod source;

pub(super) use parquet::{Cell, is_text, value_cell};
pub(super) use source::{Shape, Source};

use super::{
    args::Connection,
    file::{Format, is_standard},
    output::count,
};
use crate::{
    client::{Acknowledged, Client, StreamWriter},
    error::{Error, Kind, Result},
    wire::{control::Members, json::JsonWriter},
};
use clap::Args;
use prost::Message;
use rejects::Rejects;
use source::SourceRow;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

/// Bounds of one request, which is one transaction or append.
const REQUEST_ROWS_MAX: usize = 2_000;
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Batches read ahead of the stream.
const BATCHES_AHEAD_MAX: usize = 4;
/// Requests that wait for their acknowledgement.
const IN_FLIGHT_MAX: usize = 8;

/// Which file, and where its rejects go.
#[derive(Args, Debug)]
pub(super) struct FileArgs {
    /// The file: CSV, NDJSON or Parquet; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the file is, where its name does not say
    #[arg(long)]
    format: Option<Format>,
    /// Where rejects go, with the reason [default: FILE.rejects.ndjson]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    #[command(flatten)]
    pub connection: Connection,
}

/// What the rows of a file become, and how they are sent.
pub(super) trait Load: Shape {
    type Request: Send + 'static;
    type Answer: Send + 'static;

    /// What the bar says.
    const VERB: &'static str;
    /// What one of them is called.
    const NOUN: &'static str;
    /// Names of the counts, but for the rejected.
    const COUNTS: &'static [&'static str];

    fn open(client: &Client, in_flight_max: usize) -> StreamWriter<Self::Request, Self::Answer>;

    fn request(rows: Vec<Self::Row>) -> Self::Request;

    /// As [`Self::COUNTS`] name them.
    fn counts(answer: &Self::Answer) -> Vec<u64>;

    /// Position, field and reason of each.
    fn rejected(answer: &Self::Answer) -> Vec<(u32, &str, &str)>;

    /// A row as REST takes it, so that a mended line can be sent again.
    fn members(w: &mut JsonWriter<'_>, row: &Self::Row);
}

/// Rows that wait for their acknowledgement, with the line each came from.
type Sent<R> = VecDeque<Vec<(u64, R)>>;

/// Some rows on their way, and how far into the file they reach.
struct Batch<R> {
    rows: Vec<SourceRow<R>>,
    bytes: usize,
    position: u64,
}

/// Sends the whole file.
pub(super) async fn load<L: Load>(args: FileArgs, client: &Client, shape: L) -> Result<()> {
    let output = args.connection.output();
    let format = Format::of(&args.file, args.format)?;
    let total = (!is_standard(&args.file) && format != Format::Parquet)
        .then(|| std::fs::metadata(&args.file).map(|file| file.len()).ok())
        .flatten();
    let bar = output.progress(total, L::VERB);
    let mut rejects = Rejects::new(args.rejects.unwrap_or_else(|| rejects_beside(&args.file)), L::NOUN);
    let mut counts = Counts::<L>::new();
    let (batches, mut read) = mpsc::channel(BATCHES_AHEAD_MAX);
    let file = args.file.clone();
    let reader =
        tokio::task::spawn_blocking(move || read_batches(Source::open(&file, format, shape)?, &batches));
    let mut writer = L::open(client, IN_FLIGHT_MAX);
    let mut in_flight: Sent<L::Row> = VecDeque::new();
    let sent = async {
        while let Some(Batch { rows: read, position, .. }) = read.recv().await {
            let mut rows = Vec::with_capacity(read.len());
            for row in read {
                match row.row {
                    Ok(sound) => rows.push((row.line, sound)),
                    Err((error, text)) => {
                        counts.rejected += 1;
                        rejects.unreadable(row.line, &error, &text)?;
                    }
                }
            }
            if !rows.is_empty() {
                let (request, len) =
                    (L::request(rows.iter().map(|(_, row)| row.clone()).collect()), rows.len());
                in_flight.push_back(rows);
                if let Some(answer) = writer.send_request(request, len).await? {
                    counts.acknowledge(&answer, &mut in_flight, &mut rejects)?;
                }
                while let Some(answer) = writer.ready()? {
                    counts.acknowledge(&answer, &mut in_flight, &mut rejects)?;
                }
            }
            bar.set_position(position);
            bar.set_message(count(counts.taken, L::NOUN));
        }
        writer.finish();
        while let Some(answer) = writer.next().await? {
            counts.acknowledge(&answer, &mut in_flight, &mut rejects)?;
            bar.set_message(count(counts.taken, L::NOUN));
        }
        Ok(())
    };
    let sent = sent.await;
    drop(read); // lets the reader stop where it stands
    bar.finish_and_clear();
    let whole = reader.await.map_err(Error::internal)?;
    let rejects_file = rejects.finish()?;
    if let Err(error) = sent.and(whole) {
        if counts.taken + counts.rejected > 0 {
            output.note(format!("Stopped. So far: {}; what was accepted is durable.", counts.people()));
        }
        return Err(error);
    }
    output.print(&counts.shape(), || format!("{}, all durable.", counts.people()))?;
    match rejects_file {
        Some(file) => Err(Error::new(
            Kind::InvalidArgument,
            format!("{} rejected; {} says why", count(counts.rejected, L::NOUN), file.display()),
        )),
        None => Ok(()),
    }
}

fn rejects_beside(file: &Path) -> PathBuf {
    let name = if is_standard(file) { "stdin".into() } else { file.as_os_str().to_owned() };
    [name, ".rejects.ndjson".into()].into_iter().collect::<std::ffi::OsString>().into()
}

/// Reads the whole file; ends early without error when nobody takes the batches any more.
fn read_batches<S: Shape>(mut source: Source<S>, batches: &mpsc::Sender<Batch<S::Row>>) -> Result<()> {
    loop {
        let mut batch = Batch { rows: Vec::new(), bytes: 0, position: 0 };
        let mut ended = false;
        while !ended && batch.rows.len() < REQUEST_ROWS_MAX && batch.bytes < REQUEST_BYTES_MAX {
            match source.next()? {
                Some(row) => {
                    batch.bytes += row.row.as_ref().map_or(0, Message::encoded_len);
                    batch.rows.push(row);
                }
                None => ended = true,
            }
        }
        batch.position = source.position();
        if batches.blocking_send(batch).is_err() || ended {
            return Ok(());
        }
    }
}

/// What became of the rows of a file.
struct Counts<L> {
    /// By the names of the load.
    named: Vec<u64>,
    /// All that were acknowledged and not rejected.
    taken: u64,
    rejected: u64,
    load: std::marker::PhantomData<fn() -> L>,
}

impl<L: Load> Counts<L> {
    fn new() -> Self {
        Self { named: vec![0; L::COUNTS.len()], taken: 0, rejected: 0, load: std::marker::PhantomData }
    }

    fn acknowledge(
        &mut self,
        acknowledged: &Acknowledged<L::Answer>,
        in_flight: &mut Sent<L::Row>,
        rejects: &mut Rejects,
    ) -> Result<()> {
        let rows = in_flight.pop_front().unwrap_or_default();
        let rejected = L::rejected(&acknowledged.answer);
        self.named.iter_mut().zip(L::counts(&acknowledged.answer)).for_each(|(sum, count)| *sum += count);
        self.rejected += rejected.len() as u64;
        self.taken += (acknowledged.count - rejected.len()) as u64;
        for (position, field, reason) in rejected {
            if let Some((line, row)) = rows.get(position as usize) {
                rejects.refused(*line, position, field, reason, |w| L::members(w, row))?;
            }
        }
        Ok(())
    }

    fn people(&self) -> String {
        let named = L::COUNTS.iter().zip(&self.named).enumerate().map(|(i, (name, number))| match i {
            0 => format!("{} {name}, ", count(*number, L::NOUN)),
            _ => format!("{number} {name}, "),
        });
        format!("{}{} rejected", named.collect::<String>(), self.rejected)
    }

    fn shape(&self) -> Members<u64> {
        let named = L::COUNTS.iter().copied().zip(self.named.iter().copied());
        Members(named.chain([("rejected", self.rejected)]).map(|(name, n)| (name.to_owned(), n)).collect())
    }
}
