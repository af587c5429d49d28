//! The layout of online answers: what each costs to build, to read, and on the wire.
//!
//! ```text
//! cargo bench --bench layout
//! ```
//!
//! Every layout answers the same question: key checked, newest rows read from a store in memory, TTL judged cell by
//! cell or group by group, message encoded. The first column is that whole, then the same without what all layouts
//! share. Decoding is prost's, into the generated types. Medians of turns in which every layout comes once.

#[path = "layout/layouts.rs"]
mod layouts;
#[path = "layout/world.rs"]
mod world;

use layouts::LAYOUTS;
use std::time::Instant;
use world::{Question, World};

const TURNS: usize = 9;
const TURN_MS: u128 = 60;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let world = World::new().await;
    for question in world::QUESTIONS {
        println!("\n{}\n", question.name);
        println!("| layout | whole µs | build + encode µs | decode µs | bytes |");
        println!("|---|---|---|---|---|");
        let mut shared = Vec::new();
        let mut whole = vec![Vec::new(); LAYOUTS.len()];
        let mut decode = vec![Vec::new(); LAYOUTS.len()];
        let replies: Vec<Vec<u8>> = {
            let mut replies = Vec::new();
            for layout in LAYOUTS {
                replies.push((layout.encode)(world.ask(question).await));
            }
            replies
        };
        for _ in 0..TURNS {
            shared.push(time(&world, question, |answer| drop(std::hint::black_box(answer))).await);
            for (position, layout) in LAYOUTS.iter().enumerate() {
                let encode = |answer| drop(std::hint::black_box((layout.encode)(answer)));
                whole[position].push(time(&world, question, encode).await);
                decode[position].push(repeat(|| (layout.decode)(&replies[position])));
            }
        }
        let shared = median(&mut shared);
        for (position, layout) in LAYOUTS.iter().enumerate() {
            let whole = median(&mut whole[position]);
            println!(
                "| {} | {whole:.2} | {:.2} | {:.2} | {} |",
                layout.name,
                whole - shared,
                median(&mut decode[position]),
                replies[position].len(),
            );
        }
        println!("| (key, plan and rows alone) | {shared:.2} | | | |");
    }
}

/// µs of one question and what is made of its answer.
async fn time(
    world: &World,
    question: &Question,
    mut make: impl FnMut(larder::serving::online::OnlineAnswer),
) -> f64 {
    let (start, mut times) = (Instant::now(), 0);
    while start.elapsed().as_millis() < TURN_MS {
        make(world.ask(question).await);
        times += 1;
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

fn repeat(mut run: impl FnMut()) -> f64 {
    let (start, mut times) = (Instant::now(), 0);
    while start.elapsed().as_millis() < TURN_MS {
        run();
        times += 1;
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
