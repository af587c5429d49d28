//! What the documents tell people to type works as it stands.

use super::{Terminal, said};
use std::path::Path;

/// The shell blocks of a document that follow a comment beginning with "tested".
fn tested_blocks(text: &str) -> Vec<&str> {
    let after = text.split("<!-- tested").skip(1);
    after.filter_map(|rest| rest.split_once("```sh\n")?.1.split_once("```").map(|(block, _)| block)).collect()
}

/// Whether a program is installed.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_commands_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let blocks = tested_blocks(&readme);
    assert_eq!(blocks.len(), 4);
    let terminal = Terminal::new().await;
    std::os::unix::fs::symlink(root.join("examples"), terminal.directory.path().join("examples")).unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_larder")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    // A machine without curl or grpcurl still checks everything else.
    let absent = ["curl", "grpcurl"].into_iter().filter(|program| !installed(program));
    let stubs: String = absent.map(|program| format!("{program}() {{ :; }}\n")).collect();
    for block in blocks {
        let script = format!("set -eu\n{stubs}{block}");
        let mut shell = terminal.command("sh");
        shell.env("PATH", &path).args(["-c", &script]);
        let out = said(shell).await.ok();
        assert!(!out.contains("\"status\":4"), "{out}");
    }
    let rows = terminal.run(&["get", "lamp", "-f", "price"]).await.ok();
    assert!(rows.contains("PRESENT"), "{rows}");
}

#[test]
fn every_command_explains_itself() {
    let mut program = larder::cli::command();
    program.build();
    let commands: Vec<_> = program.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for wanted in [
        "serve",
        "demo",
        "apply",
        "get",
        "batch",
        "write",
        "events",
        "history",
        "features",
        "feature",
        "sets",
        "invalidate",
    ] {
        assert!(commands.iter().any(|name| name == wanted), "{wanted} is missing");
    }
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        assert!(command.get_about().is_some(), "{} has no help", command.get_name());
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{} {} has no help",
                command.get_name(),
                argument.get_id()
            );
        }
    }
}
