//! `larder sets`: named lists of features with their versions pinned.

use super::{
    args::{Connection, from_proto},
    output::table,
};
use crate::{
    error::Result,
    wire::{control, proto::FeatureSet},
};
use clap::{Args, Subcommand};

#[derive(Args, Debug)]
pub(super) struct SetsArgs {
    #[command(subcommand)]
    command: Option<SetsCommand>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum SetsCommand {
    /// List the newest version of every feature set (the default)
    List,
    /// Show a feature set and the versions it pins
    Get {
        /// `fraud`, or `fraud@3`
        name: String,
    },
    /// Pin features under a name; other content than the newest version makes the next one
    Put {
        name: String,
        /// Features by name, reference or version
        #[arg(short, long = "feature", value_name = "NAME", num_args = 1.., value_delimiter = ',', required = true)]
        features: Vec<String>,
    },
}

pub(super) async fn sets(args: SetsArgs) -> Result<()> {
    let connection = args.connection;
    match args.command {
        None | Some(SetsCommand::List) => list(connection).await,
        Some(SetsCommand::Get { name }) => {
            let set = connection.client().await?.feature_set(&name).await?;
            connection.output().print(&control::FeatureSet::from(set.clone()), || members(&set))
        }
        Some(SetsCommand::Put { name, features }) => {
            let set = connection.client().await?.put_feature_set(&name, &features).await?;
            connection.output().print(&control::FeatureSet::from(set.clone()), || members(&set))
        }
    }
}

async fn list(connection: Connection) -> Result<()> {
    let sets = connection.client().await?.feature_sets().await?;
    if sets.is_empty() {
        connection.output().note("No feature set yet; `larder sets put NAME -f FEATURE,…` makes one.");
    }
    connection.output().print(&control::list::<_, control::FeatureSet>(sets.clone()), || {
        let rows = sets.iter().map(|set| {
            let created = set.created_at.as_ref().map(|at| from_proto(at).to_string());
            [format!("{}@{}", set.name, set.version), set.names.join(", "), created.unwrap_or_default()]
        });
        table(["set", "features", "created"], rows).trim_fmt()
    })
}

fn members(set: &FeatureSet) -> String {
    let rows = set.names.iter().zip(&set.features).map(|(name, reference)| [name, reference]);
    table([&format!("{}@{}", set.name, set.version), "pinned"], rows).trim_fmt()
}
