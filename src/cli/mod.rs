//! The command line: a client of the same API as everybody's, and the way to start the server.
//!
//! One file for each command; [`output`] is how all of them speak: tables for people, JSON with `--json`, errors that say
//! what to do next, and an exit code that is 0 only when everything asked for was done.

mod output;

use crate::{
    client::{Client, Target},
    error::Result,
};
use clap::{Args, Parser, Subcommand};
use output::Output;
use std::{path::PathBuf, process::ExitCode};

/// A feature store that serves: online features in milliseconds, training sets without leaks, one binary.
#[derive(Debug, Parser)]
#[command(name = "larder", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

/// Options of every command that calls a server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
struct Connection {
    /// Where the server is [default: http://127.0.0.1:8000]
    #[arg(long, env = "LARDER_URL", global = true)]
    url: Option<String>,
    /// The API key [default: DATA_DIR/admin.key, which a server on this machine left there]
    #[arg(long, env = "LARDER_KEY", hide_env_values = true, global = true)]
    key: Option<String>,
    /// Data directory of the server on this machine
    #[arg(long, env = "LARDER_DATA_DIR", default_value = "larder-data", global = true)]
    data_dir: PathBuf,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
}

impl Connection {
    fn target(&self) -> Target {
        Target::find(self.url.clone(), self.key.clone(), &self.data_dir)
    }

    async fn client(&self) -> Result<Client> {
        Client::connect(&self.target()).await
    }

    fn output(&self) -> Output {
        Output { json: self.json }
    }
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {}
}
