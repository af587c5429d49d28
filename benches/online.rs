//! What an online answer costs, as a ratio to a static reply of the same bytes from the same stack.
//!
//! ```text
//! cargo bench --bench online
//! ```
//!
//! Two children run pinned to the first core: the real server (gate, keys, store in memory) and one that sends fixed
//! bytes through the same hyper, axum and tonic. This process, pinned to the second core, drives them in turns, a
//! second each, so that whatever else the machine does meets both. CPU is read from `/proc/PID/stat`. Ratios are
//! medians over the rounds; absolute figures are this machine's. Needs Linux with `taskset` and two cores.

#[path = "online/children.rs"]
mod children;
#[path = "online/load.rs"]
mod load;
#[path = "online/shape.rs"]
mod shape;

use children::{Child, Server};
use load::{Load, Outcome};
use shape::{Form, Shape};
use std::{error::Error, time::Duration};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 8;
const STREAMS: usize = 16;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let Some(child) = args.iter().position(|arg| arg == "--child") {
        return children::run(&args[child + 1..]);
    }
    if std::env::var_os("LARDER_BENCH_PINNED").is_none() {
        return children::rerun_pinned(&args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(args.get(1).filter(|arg| !arg.starts_with('-')).map(String::as_str)))
}

/// Measures every case whose name holds `filter`.
async fn measure(filter: Option<&str>) -> Result<()> {
    let shapes = [
        ("gRPC 1×250", Shape { entities: 1, form: Form::Grpc { schema_held: true, set: false } }),
        (
            "gRPC 1×250, schema sent",
            Shape { entities: 1, form: Form::Grpc { schema_held: false, set: false } },
        ),
        ("gRPC 1×250, by set", Shape { entities: 1, form: Form::Grpc { schema_held: true, set: true } }),
        ("gRPC 100×250", Shape { entities: 100, form: Form::Grpc { schema_held: true, set: false } }),
        ("REST 1×250", Shape { entities: 1, form: Form::Rest }),
        ("REST 100×250", Shape { entities: 100, form: Form::Rest }),
    ];
    let larder = Child::start(Server::Larder)?;
    println!("{ROUNDS} rounds of {} s, server on core 0, load on core 1\n", ROUND.as_secs());
    println!(
        "| case | load | answer bytes | static µs CPU | larder µs CPU | ratio | static /s | larder /s | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, shape) in shapes.iter().filter(|(name, _)| filter.is_none_or(|part| name.contains(part))) {
        let load = Load::prepare(&larder, shape).await?;
        let fixed = Child::start(Server::Static { reply: load.reply() })?;
        let streams = if matches!(shape.form, Form::Rest) { 2 } else { STREAMS };
        let (a, b) = rounds(&load, &fixed, &larder, CONNECTIONS, streams).await?;
        row(name, &format!("{CONNECTIONS} × {streams}"), load.reply().len(), &a, &b);
        let (a, b) = rounds(&load, &fixed, &larder, 1, 1).await?;
        latency(name, &a, &b);
    }
    Ok(())
}

/// Both servers in turns.
async fn rounds(
    load: &Load,
    fixed: &Child,
    larder: &Child,
    connections: usize,
    streams: usize,
) -> Result<(Vec<Outcome>, Vec<Outcome>)> {
    let (mut of_fixed, mut of_larder) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let fixed = load.drive(fixed, connections, streams, ROUND).await?;
        let larder = load.drive(larder, connections, streams, ROUND).await?;
        // The first round warms.
        if round > 0 {
            of_fixed.push(fixed);
            of_larder.push(larder);
        }
    }
    Ok((of_fixed, of_larder))
}

fn row(name: &str, load: &str, bytes: usize, fixed: &[Outcome], larder: &[Outcome]) {
    let cpu = |outcomes: &[Outcome]| median(outcomes.iter().map(Outcome::cpu_us));
    let rate = |outcomes: &[Outcome]| median(outcomes.iter().map(Outcome::rate));
    let ratio = |of: fn(&Outcome) -> f64| median(fixed.iter().zip(larder).map(|(a, b)| of(b) / of(a)));
    println!(
        "| {name} | {load} | {bytes} | {:.1} | {:.1} | **{:.2}** | {:.0} | {:.0} | **{:.2}** |",
        cpu(fixed),
        cpu(larder),
        ratio(Outcome::cpu_us),
        rate(fixed),
        rate(larder),
        ratio(Outcome::rate),
    );
}

fn latency(name: &str, fixed: &[Outcome], larder: &[Outcome]) {
    let all = |outcomes: &[Outcome]| {
        let mut micros: Vec<f64> = outcomes.iter().flat_map(|outcome| outcome.latencies_us.clone()).collect();
        micros.sort_by(f64::total_cmp);
        micros
    };
    let (fixed, larder) = (all(fixed), all(larder));
    let at = |sorted: &[f64], share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    for (title, share) in [("p50", 0.5), ("p99", 0.99)] {
        let (a, b) = (at(&fixed, share), at(&larder, share));
        println!(
            "| {name}, one closed loop, {title} µs | 1 × 1 | | {a:.0} | {b:.0} | **{:.2}** | | | |",
            b / a
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
