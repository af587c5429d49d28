//! `larder serve`: settings joined, logging started, the server run until a signal ends it.

use crate::{
    app::{App, admin_key_file},
    clock::Clock,
    config::{Config, Loaded},
    error::{Error, Result},
    telemetry::{LogControl, init_logs},
};
use clap::Args;
use std::{io::Write, path::PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Flags of `larder serve`; each wins over environment and file.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Where everything durable is kept [default: $XDG_DATA_HOME/larder or ~/.local/share/larder; without HOME ./larder-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where gRPC and REST listen; port 0 picks a free one [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Where metrics are answered to everybody
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<String>,
    /// A file of settings; larder.example.yaml documents them
    #[arg(long, value_name = "FILE", env = "LARDER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Keep everything in memory; all is gone at the end
    #[arg(long)]
    pub in_memory: bool,
}

impl ServeArgs {
    /// Joins defaults, file, environment and these flags.
    pub fn load(&self) -> Result<Loaded> {
        let data_dir = self.data_dir.as_ref().map(|path| path.to_string_lossy().into_owned());
        let flags = [
            ("data_dir", data_dir),
            ("listen", self.listen.clone()),
            ("metrics_listen", self.metrics_listen.clone()),
            ("in_memory", self.in_memory.then(|| "true".to_owned())),
        ];
        let flags = flags.into_iter().filter_map(|(path, value)| Some((path, value?)));
        Config::load(self.config.as_deref(), std::env::vars(), flags)
            .map_err(|error| Error::invalid("settings", error))
    }
}

/// Runs a server until SIGTERM or Ctrl-C, then drains it.
pub async fn serve(args: &ServeArgs) -> Result<()> {
    let Loaded { config, ignored } = args.load()?;
    let logs = init_logs(&config.log, Clock::system()).map_err(|error| Error::invalid("log", error))?;
    for variable in ignored {
        tracing::warn!(
            variable,
            "this variable begins like a setting of larder and names none; it is ignored"
        );
    }
    let bootstrap_key = std::env::var("LARDER_BOOTSTRAP_KEY").ok();
    let app = App::build(&config, bootstrap_key.as_deref()).await?;
    announce(&app, &config, bootstrap_key.is_some());
    stop_on_signals(app.stop())?;
    reload_on_hangup(args.clone(), logs)?;
    app.wait_termination().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Says where the server is, to people on standard output and in the log.
fn announce(app: &App, config: &Config, key_was_chosen: bool) {
    let address = app.address();
    let mut lines = format!("larder listens on http://{address} (gRPC and REST)\n");
    if let Some(metrics) = app.metrics_address() {
        lines += &format!("metrics on http://{metrics}/metrics\n");
    }
    if let Some(key) = app.first_key().filter(|_| !key_was_chosen) {
        lines += &format!("API key of the tenant \"default\", shown once: {}\n", key.reveal());
        if !config.in_memory {
            lines += &format!("it also lies in {}\n", admin_key_file(&config.data_dir).display());
        }
    }
    // Whoever started the server may have left since.
    let _ = writeln!(std::io::stdout(), "{lines}");
    let data_dir = (!config.in_memory).then(|| config.data_dir.display().to_string());
    tracing::info!(
        address = %address,
        metrics_address = app.metrics_address().map(|address| address.to_string()),
        data_dir,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
}

/// Cancels `stop` at SIGTERM or Ctrl-C, and ends the process at the second one.
pub(crate) fn stop_on_signals(stop: CancellationToken) -> Result<()> {
    tokio::spawn(handle_signals(Signals::listen()?, stop));
    Ok(())
}

/// At SIGHUP reads the settings again and takes what can change while the server runs: the level of the log.
fn reload_on_hangup(args: ServeArgs, logs: LogControl) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).map_err(Error::internal)?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let level = args
                .load()
                .map_err(|error| error.to_string())
                .and_then(|loaded| logs.set_level(&loaded.config.log).map(|()| loaded.config.log.level));
            match level {
                Ok(level) => tracing::info!(
                    signal = "SIGHUP",
                    level,
                    "took the log level from the settings; other settings need a restart"
                ),
                Err(error) => tracing::error!(signal = "SIGHUP", error, "the settings stay as they were"),
            }
        }
    });
    Ok(())
}

/// The signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(Error::internal);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The first signal drains; a second one ends the process at once.
async fn handle_signals(mut signals: Signals, stop: CancellationToken) {
    let signal = signals.next().await;
    tracing::info!(signal, "draining; a second signal stops at once");
    stop.cancel();
    let signal = signals.next().await;
    tracing::warn!(signal, "stopping at once");
    std::process::exit(1);
}
