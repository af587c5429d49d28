//! The command line as people use it: the program in a process of its own, against a server in this one.

mod batch;
mod commands;
mod decimals;
mod demo;
mod documents;
mod events;
mod looks;
mod write;

use crate::support::TestApp;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

/// How long a command may take before the test fails.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// The features and rows of the example shop.
fn shop(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop").join(file)
}

/// A server, a directory for files, and the program that calls the server.
struct Terminal {
    app: TestApp,
    directory: tempfile::TempDir,
}

/// What a command said.
struct Said {
    success: bool,
    out: String,
    err: String,
}

impl Terminal {
    async fn new() -> Self {
        Self { app: TestApp::start().await, directory: tempfile::tempdir().unwrap() }
    }

    /// With the shop's features and rows.
    async fn with_shop() -> Self {
        let terminal = Self::new().await;
        terminal.run(&["apply", &shop("features.yaml").to_string_lossy()]).await.ok();
        for file in ["profiles.csv", "baskets.ndjson", "products.csv", "views.csv"] {
            terminal.run(&["write", &shop(file).to_string_lossy()]).await.ok();
        }
        terminal
    }

    /// The program, pointed at the server, in the directory.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("LARDER_URL", format!("http://{}", self.app.address()))
            .env("LARDER_KEY", self.app.key())
            .env_remove("LARDER_DATA_DIR")
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    async fn run(&self, args: &[&str]) -> Said {
        let mut command = self.command(env!("CARGO_BIN_EXE_larder"));
        command.args(args);
        said(command).await
    }

    /// Makes a file in the directory.
    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.directory.path().join(name), text).unwrap();
        name.to_owned()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.path().join(name)).unwrap()
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }
}

impl Said {
    /// What a command said that did what it was told.
    #[track_caller]
    fn ok(self) -> String {
        assert!(self.success, "{}{}", self.out, self.err);
        self.out
    }

    /// The same as JSON.
    #[track_caller]
    fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// What a command complained of.
    #[track_caller]
    fn complaint(self) -> String {
        assert!(!self.success, "{}", self.out);
        self.err
    }
}

/// Runs a command to its end, on a thread that may wait: the server lives on the others.
async fn said(mut command: Command) -> Said {
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(COMMAND_TIMEOUT, output).await.expect("the command ends");
    let Output { status, stdout, stderr } = output.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { success: status.success(), out: text(stdout), err: text(stderr) }
}
