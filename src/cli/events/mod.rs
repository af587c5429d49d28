//! `larder events`: events of a file into the log that windows are computed from.
//!
//! Sending a file again counts its events again, unless each bears an `event_id`: the same id of the same entity within an
//! hour is counted once.

mod columns;

use super::{
    file::Format,
    load::{FileArgs, Source, load},
};
use crate::{error::Result, wire::proto::Event};
use clap::Args;
use columns::{ColumnArgs, Columns};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  larder events purchases.ndjson
  larder events purchases.csv --type purchase --time bought_at --entity customer_id --value amount
  larder events views.parquet --type-column kind --text stock_code")]
pub(super) struct EventsArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    columns: ColumnArgs,
}

pub(super) async fn events(args: EventsArgs) -> Result<()> {
    let client = args.file.connection.client().await?;
    load(args.file, &client, Columns(args.columns)).await
}

/// The events of a short text as REST takes them, one a line; all must be sound.
pub(super) fn events_of(text: &'static str) -> Result<Vec<Event>> {
    Source::text(Box::new(text.as_bytes()), Format::Ndjson, Columns(ColumnArgs::default()))?.all()
}
