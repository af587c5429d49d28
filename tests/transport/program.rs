//! `larder serve` as a process: addresses, first key, signals, settings.

use crate::support::RestClient;
use larder::config::Config;
use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A server process, and what it printed until it listened.
struct Served {
    child: Child,
    address: SocketAddr,
    printed: String,
}

fn serve(data_dir: &Path, more: &[&str], bootstrap_key: Option<&str>) -> Served {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir).args(more);
    command.env_remove("LARDER_CONFIG").stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(key) = bootstrap_key {
        command.env("LARDER_BOOTSTRAP_KEY", key);
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.split_once("http://").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    let mut printed = first;
    for line in lines.by_ref() {
        let line = line.unwrap();
        if line.is_empty() {
            break;
        }
        printed = printed + "\n" + &line;
    }
    std::thread::spawn(move || lines.for_each(drop));
    Served { child, address, printed }
}

impl Served {
    /// Sends a signal by name and returns the exit code.
    fn end(mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

#[tokio::test]
async fn the_first_start_makes_a_key_and_signals_end_it_well() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path(), &[], None);
    let file = dir.path().join("admin.key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(served.printed.contains(&key), "{}", served.printed);
    RestClient::new(served.address, Some(&key)).get("/api/v1/features").await.json(200);
    assert_eq!(served.end("TERM"), Some(0));

    let again = serve(dir.path(), &[], None);
    assert!(!again.printed.contains("lrd_"), "{}", again.printed);
    RestClient::new(again.address, Some(&key)).get("/api/v1/features").await.json(200);
    assert_eq!(again.end("INT"), Some(0));
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_costs_its_lines_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path());
    let mut child =
        command.env_remove("LARDER_CONFIG").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.split_once("http://").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    drop(lines);
    let served = Served { child, address, printed: first };
    while !dir.path().join("admin.key").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let key = fs::read_to_string(dir.path().join("admin.key")).unwrap().trim().to_owned();
    let event = serde_json::json!({"entity_id": "u", "event_type": "e", "timestamp": "2024-01-15T14:22:00Z"});
    let rest = RestClient::new(address, Some(&key));
    assert_eq!(rest.post("/api/v1/events", &event).await.json(200)["accepted"], 1);
    rest.post("/api/v1/events", &serde_json::json!({"entity_id": ""})).await.json(400);
    assert_eq!(served.end("TERM"), Some(0));
}

/// Reads log lines until one holds a text.
fn wait_for(lines: &mut impl Iterator<Item = std::io::Result<String>>, text: &str) -> String {
    lines.map(|line| line.unwrap()).find(|line| line.contains(text)).unwrap()
}

#[tokio::test]
async fn a_hangup_takes_the_log_level_from_the_settings_and_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("larder.yaml");
    fs::write(&settings, "log: {level: info, format: text}\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--config"]).arg(&settings);
    command.env("LARDER_VERSION", "1").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = wait_for(&mut log, "LARDER_VERSION");
    assert!(!first.contains('\u{1b}'), "no colours where nobody looks: {first}");
    wait_for(&mut log, "listening");
    for (level, told) in [("debug", "debug"), ("inof", "is no level"), ("info", "restart")] {
        fs::write(&settings, format!("log: {{level: {level}, format: text}}\n")).unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
        let line = wait_for(&mut log, "SIGHUP");
        assert!(line.contains(told), "{line}");
    }
    std::thread::spawn(move || log.for_each(drop));
    let served = Served { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), printed: String::new() };
    assert_eq!(served.end("TERM"), Some(0));
}

#[test]
fn an_error_that_cannot_be_written_is_no_panic() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(["serve", "--in-memory", "--listen", "nowhere"]).stdout(full()).stderr(full());
    assert_eq!(command.status().unwrap().code(), Some(1));
}

#[tokio::test]
async fn an_operator_chooses_the_first_key() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path(), &["--in-memory"], Some("chosen-by-operator"));
    assert!(!served.printed.contains("chosen-by-operator"), "{}", served.printed);
    RestClient::new(served.address, Some("chosen-by-operator")).get("/api/v1/features").await.json(200);
    assert!(!dir.path().join("admin.key").exists());
    assert_eq!(served.end("TERM"), Some(0));
}

#[test]
fn wrong_settings_end_the_start_with_their_name() {
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        let output = command.args(args).envs(env.iter().copied()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let error = run(&["serve", "--in-memory"], &[("LARDER_LIMITS__ENTITY_MAX", "1")]);
    assert!(error.contains("LARDER_LIMITS__ENTITY_MAX") && error.contains("entities_max"), "{error}");
    let error = run(&["serve", "--in-memory", "--listen", "nowhere"], &[]);
    assert!(error.contains("--listen"), "{error}");
    let error = run(&["serve", "--in-memory", "--listen", "192.0.2.1:1"], &[]);
    assert!(error.contains("192.0.2.1:1"), "{error}");
}

#[test]
fn the_sample_holds_every_setting_at_its_default() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/larder.example.yaml")).unwrap();
    let default = Config::default();
    let sample = Config::from_yaml(&text).unwrap();
    assert_eq!(Config { data_dir: default.data_dir.clone(), ..sample }, default);
    // Every field of the settings, as their debug form names them.
    let printed = format!("{default:#?}");
    let fields = printed.lines().filter_map(|line| line.trim().split_once(": ").map(|(name, _)| name));
    for field in fields {
        let described = text.lines().any(|line| {
            line.trim().trim_start_matches("# ").strip_prefix(field).is_some_and(|rest| rest.starts_with(':'))
        });
        assert!(described, "{field} is missing");
    }
}
