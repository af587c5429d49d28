//! `larder demo`: the whole chain on one screen, with a server of its own that stays up afterwards.
//!
//! The features and rows are those of `examples/shop`, at fixed moments of one afternoon, so every run shows the same
//! answers and the printed calls can be repeated.

mod shop;
mod story;

use crate::{
    app::{App, Storage},
    client::{Client, Target},
    clock::Clock,
    config::Config,
    error::{Error, Result},
    serve::stop_on_signals,
};
use clap::Args;
use std::net::{Ipv4Addr, SocketAddr};

#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// Where the server listens [default: 127.0.0.1:8000, or a free port if that is taken]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Stop when everything is shown
    #[arg(long)]
    exit: bool,
}

pub(super) async fn demo(args: DemoArgs) -> Result<()> {
    let app = start(args.listen).await?;
    stop_on_signals(app.stop())?;
    let key = app.first_key().ok_or_else(|| Error::internal("a store in memory begins without keys"))?;
    let target = Target { url: format!("http://{}", app.address()), key: Some(key.reveal().to_owned()) };
    let client = Client::connect(&target).await?;
    let stop = app.stop();
    tokio::select! {
        // A signal in the middle of the story ends it.
        () = stop.cancelled() => {}
        told = story::tell(&client, app.address(), key.reveal(), args.exit) => told?,
    }
    if args.exit {
        stop.cancel();
    }
    drop(client);
    app.wait_termination().await?;
    if !args.exit {
        super::output::say("\nStopped. Nothing was kept: the demo's store lies in memory.")?;
    }
    Ok(())
}

/// A server in this process on a store in memory.
async fn start(listen: Option<SocketAddr>) -> Result<App> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
    match (build(listen.unwrap_or(usual)).await, listen) {
        (Err(_), None) => build(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await,
        (built, _) => built,
    }
}

async fn build(listen: SocketAddr) -> Result<App> {
    let config = Config { listen, in_memory: true, ..Config::default() };
    let clock = Clock::system();
    App::build_on(&config, Storage::embedded(&config, &clock)?, clock, None).await
}
