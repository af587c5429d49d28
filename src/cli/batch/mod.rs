//! `larder batch`: a training set, from a file of moments to a file of features as they were.
//!
//! ```text
//!   spine file ──▶ reader thread ──▶ (4 batches) ──▶ server ──▶ rows in order ──▶ file beside OUT ──▶ OUT
//! ```
//!
//! OUT appears when it is whole. A Parquet file remembers the request that made it, so `--repeat` can make it again.

mod records;
mod request;
mod sink;
mod spine;

use super::{
    args::{Connection, KeyId, Moment},
    file::{Format, broken},
    output::count,
};
use crate::{
    error::{Error, Kind, Result},
    feature::{Duration, Round, Timestamp},
    wire::{control::Time, value::timestamp_from},
};
use clap::Args;
use request::{KNOWN_AT_ROW, Request};
use serde::Serialize;
use sink::Sink;
pub(super) use sink::texts;
use spine::SpineFile;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Batches of the spine read ahead.
const BATCHES_AHEAD_MAX: usize = 4;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  larder batch purchases.csv -f country,basket_value -o training.parquet
  larder batch purchases.csv --set fraud --time bought_at --entity user=customer_id -o training.csv
  larder batch --repeat training.parquet -o again.parquet")]
pub(super) struct BatchArgs {
    /// The spine: one row for each moment of an entity, as CSV, NDJSON or Parquet; other columns come back untouched
    #[arg(value_name = "SPINE", required_unless_present = "repeat")]
    spine: Option<PathBuf>,
    /// Which features
    #[command(flatten)]
    features: BatchFeatures,
    /// The training set: .parquet, .csv or .ndjson [default: NDJSON on standard output]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// The column with the moment [default: timestamp, else event_timestamp]
    #[arg(long, value_name = "COL")]
    time: Option<String>,
    /// The column with the ids of a key: --entity user=customer_id [default: the column called as the key, or entity_id]
    #[arg(long = "entity", value_name = "KEY=COL", value_parser = KeyId::from_str)]
    entities: Vec<KeyId>,
    /// Use only what was known at this moment; `row` = at each row's own [default: all that is known now]
    #[arg(long, value_name = "TIME|row")]
    known_at: Option<KnownAt>,
    /// Take values older than this for stale, whatever their ttl
    #[arg(long, value_name = "AGE")]
    max_age: Option<Duration>,
    /// Put defaults into empty cells
    #[arg(long)]
    use_defaults: bool,
    /// Add FEATURE__status and FEATURE__event_timestamp to every row
    #[arg(long)]
    details: bool,
    /// Make the training set of this Parquet file again, byte for byte
    #[arg(long, value_name = "OUT.parquet", conflicts_with_all = ["known_at", "time", "entities", "max_age", "details", "use_defaults"])]
    repeat: Option<PathBuf>,
    /// What the spine file is, where its name does not say
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    connection: Connection,
}

/// Features, which `--repeat` knows by itself.
#[derive(Args, Clone, Debug, Default)]
#[group(required = false, multiple = false)]
struct BatchFeatures {
    /// Features by name (country), reference (profile.country) or version (country@2)
    #[arg(short, long = "feature", value_name = "NAME", num_args = 1.., value_delimiter = ',',
          required_unless_present_any = ["feature_set", "repeat"], conflicts_with = "repeat")]
    features: Vec<String>,
    /// A feature set (fraud, or fraud@3) instead
    #[arg(long = "set", value_name = "SET", conflicts_with = "repeat")]
    feature_set: Option<String>,
}

/// What was known when a past row is read.
#[derive(Clone, Copy, Debug)]
enum KnownAt {
    Row,
    At(Moment),
}

impl FromStr for KnownAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == KNOWN_AT_ROW { Ok(Self::Row) } else { text.parse().map(Self::At) }
    }
}

/// What a training set was made of.
struct Made {
    rows: u64,
    settled_at: Timestamp,
    repeatable: bool,
    spine_hash: String,
}

pub(super) async fn batch(args: BatchArgs) -> Result<()> {
    let client = args.connection.client().await?;
    let output = args.connection.output();
    let remembered = args.repeat.as_deref().map(request::read).transpose()?;
    let request = match &remembered {
        Some(remembered) => remembered.request.clone(),
        None => args.request(),
    };
    let spine_path = args.spine.clone().unwrap_or_else(|| PathBuf::from(&request.spine));
    let format = match &args.output {
        None => Format::Ndjson,
        Some(out) => Format::of(out, None)?,
    };
    let keep_text = format == Format::Csv;
    let columns: Vec<String> = request.columns.values().cloned().collect();
    let read_as = Format::of(&spine_path, args.format)?;
    let spine =
        tokio::task::spawn_blocking(move || SpineFile::open(&spine_path, read_as, keep_text, &columns));
    let spine = spine.await.map_err(Error::internal)??;
    let rows = spine.rows;
    let (batches, reading) = mpsc::channel(BATCHES_AHEAD_MAX);
    let reader = tokio::task::spawn_blocking(move || spine.read(&batches));
    let mut set = client.training_set(request.options()?, ReceiverStream::new(reading)).await?;
    let names = request.names(&set.header);
    let mut sink = Sink::new(args.output.as_deref(), format)?;
    let bar = output.progress(Some(rows), "Reading the past");
    while let Some(answer) = set.next().await? {
        let answer = names.rename(&answer)?;
        sink.write(&answer)?;
        bar.inc(answer.num_rows() as u64);
        bar.set_message(count(bar.position(), "row"));
    }
    bar.finish_and_clear();
    reader.await.map_err(Error::internal)?;
    let summary = set.summary().cloned().unwrap_or_default();
    if let Some(remembered) = &remembered
        && remembered.spine_hash != summary.spine_hash
    {
        return Err(Error::new(
            Kind::FailedPrecondition,
            "the spine is not the one that the file was made with; give the right one as SPINE",
        ));
    }
    let settled =
        set.header.settled_at.ok_or_else(|| Error::internal("the server's answer lacks settled_at"))?;
    let made = Made {
        rows: summary.rows,
        settled_at: timestamp_from(settled, Round::Down, "settled_at")?,
        repeatable: set.header.repeatable,
        spine_hash: summary.spine_hash,
    };
    sink.finish(|| request.metadata(&set.header, &made))?;
    match args.output {
        Some(out) => output.print(&made.shape(&out), || made.people(&out)),
        None => Ok(()),
    }
}

impl BatchArgs {
    fn request(&self) -> Request {
        let mut columns: BTreeMap<String, String> =
            self.entities.iter().map(|KeyId { key, id }| (key.clone(), id.clone())).collect();
        columns.extend(self.time.iter().map(|column| ("timestamp".to_owned(), column.clone())));
        Request {
            spine: self.spine.as_deref().unwrap_or(Path::new("")).to_string_lossy().into_owned(),
            features: self.features.features.clone(),
            feature_set: self.features.feature_set.clone().unwrap_or_default(),
            columns,
            known_at: self.known_at.map(|known_at| match known_at {
                KnownAt::Row => KNOWN_AT_ROW.to_owned(),
                KnownAt::At(moment) => moment.resolve().to_string(),
            }),
            max_age: self.max_age.map(|age| age.to_string()),
            use_defaults: self.use_defaults,
            details: self.details,
            ..Request::default()
        }
    }
}

impl Made {
    fn people(&self, out: &Path) -> String {
        let again = match (self.repeatable, out.extension().is_some_and(|extension| extension == "parquet")) {
            (true, true) => {
                format!("\n`larder batch --repeat {0} -o AGAIN.parquet` makes it again.", out.display())
            }
            (true, false) => format!("\nThe same with --known-at {} makes it again.", self.settled_at),
            (false, _) => {
                "\nIt used rows that were still being written, so it cannot be promised again.".into()
            }
        };
        format!("{} to {}, settled at {}.{again}", count(self.rows, "row"), out.display(), self.settled_at)
    }

    fn shape(&self, out: &Path) -> impl Serialize {
        #[derive(Serialize)]
        struct Shape {
            output: String,
            rows: u64,
            settled_at: Time,
            repeatable: bool,
            spine_hash: String,
        }
        Shape {
            output: out.to_string_lossy().into_owned(),
            rows: self.rows,
            settled_at: Time(self.settled_at),
            repeatable: self.repeatable,
            spine_hash: self.spine_hash.clone(),
        }
    }
}
