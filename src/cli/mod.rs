//! The command line: a client of the same API as everybody's, and the way to start the server.
//!
//! One file for each command; `output` is how all of them speak: tables for people, JSON with `--json`, errors that say
//! what to do next, and an exit code that is 0 only when everything asked for was done.

mod admin;
mod apply;
mod args;
mod batch;
mod catalogue;
mod demo;
mod events;
mod explain;
mod feature_file;
mod file;
mod get;
mod history;
mod invalidate;
mod load;
mod output;
mod sets;
mod shape;
mod statistics;
mod value;
mod write;

use crate::{
    error::{Error, Result},
    serve::{ServeArgs, serve},
};
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// A feature store that serves: online features in milliseconds, training sets without leaks, one binary.
#[derive(Debug, Parser)]
#[command(name = "larder", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// See the whole chain on a server in memory that stays up; try this first
    Demo(demo::DemoArgs),
    /// Show what a file of features changes, then register it
    Apply(apply::ApplyArgs),
    /// The features of entities, with the status and age of every value
    Get(get::GetArgs),
    /// Make a training set: the features of every row of a file, as they were at its moment
    Batch(Box<batch::BatchArgs>),
    /// Write the rows of a file
    Write(write::WriteArgs),
    /// Send the events of a file, for windows to count
    Events(events::EventsArgs),
    /// Values of one feature of one entity over time
    History(history::HistoryArgs),
    /// Why a value is what it is: the row behind it, its age, its window and the events in it
    Explain(explain::ExplainArgs),
    /// List what is registered
    Features(catalogue::FeaturesArgs),
    /// Show one feature, or how its values are spread; make a version active or deprecate it
    Feature(catalogue::FeatureArgs),
    /// List, show and pin feature sets
    Sets(sets::SetsArgs),
    /// Drop an entity from the caches; the next read comes from the durable store
    Invalidate(invalidate::InvalidateArgs),
    /// How the event log and the backfills stand
    Streams(admin::StreamsArgs),
    /// List events that came when their windows were closed
    Late(admin::LateArgs),
    /// List records that could not be used
    Dead(admin::DeadArgs),
}

/// The program's commands with all their help.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let json = std::env::args_os().any(|arg| arg == "--json");
    let run = || tokio::runtime::Runtime::new().map_err(Error::internal)?.block_on(run(command));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error, json);
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Serve(args) => serve(&args).await,
        Command::Demo(args) => demo::demo(args).await,
        Command::Apply(args) => apply::apply(args).await,
        Command::Get(args) => get::get(args).await,
        Command::Batch(args) => batch::batch(*args).await,
        Command::Write(args) => write::write(args).await,
        Command::Events(args) => events::events(args).await,
        Command::History(args) => history::history(args).await,
        Command::Explain(args) => explain::explain(args).await,
        Command::Features(args) => catalogue::features(args).await,
        Command::Feature(args) => catalogue::feature(args).await,
        Command::Sets(args) => sets::sets(args).await,
        Command::Invalidate(args) => invalidate::invalidate(args).await,
        Command::Streams(args) => admin::streams(args).await,
        Command::Late(args) => admin::late(args).await,
        Command::Dead(args) => admin::dead(args).await,
    }
}
