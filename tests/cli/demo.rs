//! The demo: what it shows, that its calls work when pasted, and that it stops cleanly.

use super::said;
use crate::support::RestClient;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long the demo may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(["demo", "--listen", "127.0.0.1:0"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// A child that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_demo_tells_its_story() {
    let story = said(demo(&["--exit"])).await.ok();
    for part in [
        "profile.country@1",
        "17 rows accepted",
        "8 events accepted: 1 unused, 0 late, 1 duplicate.",
        "ann      spent_1h      31.5    PRESENT",
        "4 events accepted: 0 unused, 1 late, 0 duplicate.",
        "ann      spent_1h      39.5    PRESENT",
        "sum of value over purchase",
        "PRESENT",
        "NULL_VALUE",
        "OUTSIDE_MAX_AGE",
        "NOT_FOUND",
        "2025-11-28T12:00:00Z   ann    lamp      1        GB        bronze   73.49",
        "2025-11-28T15:00:00Z   ann    radio     1        GB        gold     129.0",
        "2025-11-28T12:00:00Z   ann    GB                           IE",
        "2025-11-28T15:00:00Z   ann    GB                           GB",
    ] {
        assert!(story.contains(part), "{part:?} is missing in\n{story}");
    }
}

#[tokio::test]
async fn the_demos_calls_work_when_pasted_and_sigterm_ends_it() {
    let mut running = Running(demo(&[]).spawn().unwrap());
    let out = running.0.stdout.take().unwrap();
    let (story, reader) = tokio::task::spawn_blocking(|| read_story(BufReader::new(out))).await.unwrap();
    let calls: Vec<_> = story.lines().filter(|line| line.starts_with("curl ")).map(words).collect();
    assert_eq!(calls.len(), 4, "{story}");
    for (words, parts) in calls.iter().zip([
        ["\"OUTSIDE_MAX_AGE\"", "\"tier\":\"gold\""],
        ["\"tier\":\"bronze\"", "\"bought\": 1"],
        ["\"accepted\":1", "\"late\":0"],
        ["\"status\":\"PRESENT\"", "39.5"],
    ]) {
        let text = call(words).await;
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let grpc: Vec<_> = story.lines().filter(|line| line.starts_with("grpcurl ")).collect();
    assert!(grpc[0].ends_with("larder.v1.FeatureService/GetOnlineFeatures"), "{story}");
    for line in story.lines().filter(|line| line.starts_with("curl ") || line.starts_with("grpcurl ")) {
        let program = line.split(' ').next().unwrap();
        if super::documents::installed(program) {
            let mut shell = Command::new("sh");
            shell.args(["-c", line]).stdin(Stdio::null());
            said(shell).await.ok();
        }
    }
    let id = running.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let start = Instant::now();
    let status = loop {
        match running.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(start.elapsed() < STOP_TIMEOUT, "it does not stop"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success());
    drop(reader);
}

/// Everything up to the last line of the story; the reader is kept, so that the farewell has somewhere to go.
fn read_story(mut reader: impl BufRead) -> (String, impl BufRead) {
    let mut story = String::new();
    while !story.contains("Ctrl-C") {
        assert!(reader.read_line(&mut story).unwrap() > 0, "the story broke off:\n{story}");
    }
    (story, reader)
}

/// The words of a shell's line that quotes with '…' only.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        match i % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// Does what `curl -s URL -H HEADER… -d BODY` does.
async fn call(words: &[String]) -> String {
    let after = |flag: &str| {
        words.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].clone()).collect::<Vec<_>>()
    };
    let url = words.iter().find(|word| word.starts_with("http://")).unwrap();
    let (address, path) = url["http://".len()..].split_once('/').unwrap();
    let headers = after("-H");
    let header = |name: &str| headers.iter().find_map(|header| header.strip_prefix(name)).unwrap().to_owned();
    let client = RestClient::new(address.parse().unwrap(), Some(&header("X-API-Key: ")));
    let answer =
        client.post_text(&format!("/{path}"), &header("Content-Type: "), after("-d").remove(0)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}
