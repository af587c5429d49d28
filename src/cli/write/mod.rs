//! `larder write`: rows of a file into the store.
//!
//! Writing a file again changes no answer: a row equal to the newest at its moment is unchanged, and rows that correct
//! each other end with the same last word.

mod roles;
mod rows;

use super::{
    file::Format,
    load::{FileArgs, Source, load},
};
use crate::{client::Client, error::Error, error::Result, wire::proto::FeatureRow};
use clap::Args;
use roles::{ColumnArgs, Roles};

#[derive(Args, Debug)]
pub(super) struct WriteArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    columns: ColumnArgs,
}

pub(super) async fn write(args: WriteArgs) -> Result<()> {
    let client = args.file.connection.client().await?;
    let roles = Roles::new(&client, args.columns).await?;
    load(args.file, &client, roles).await
}

/// The rows of a short text, which must all be sound.
pub(super) async fn rows_of(client: &Client, text: &'static str, format: Format) -> Result<Vec<FeatureRow>> {
    let roles = Roles::new(client, ColumnArgs::default()).await?;
    let read = move || Source::text(Box::new(text.as_bytes()), format, roles)?.all();
    tokio::task::spawn_blocking(read).await.map_err(Error::internal)?
}
