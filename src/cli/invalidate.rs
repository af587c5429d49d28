//! `larder invalidate`: drops an entity from the caches.

use super::args::{Connection, OneEntityArgs};
use crate::{
    error::Result,
    wire::{control::Invalidated, proto::InvalidateCacheRequest},
};
use clap::Args;

#[derive(Args, Debug)]
pub(super) struct InvalidateArgs {
    #[command(flatten)]
    entity: OneEntityArgs,
    /// Only this entity type [default: every type that the id can name]
    #[arg(long)]
    entity_type: Option<String>,
    /// Only these features
    #[arg(short, long = "feature", value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    features: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn invalidate(args: InvalidateArgs) -> Result<()> {
    let request = InvalidateCacheRequest {
        entity_id: args.entity.id(),
        entities: args.entity.keys(),
        entity_type: args.entity_type.unwrap_or_default(),
        features: args.features,
    };
    let invalidated = args.connection.client().await?.invalidate(request).await?;
    args.connection.output().print(&Invalidated { invalidated }, || {
        "Dropped from the caches; the next read comes from the durable store.".into()
    })
}
