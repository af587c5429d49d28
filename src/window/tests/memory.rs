//! What the state takes, and its bound.

use super::{
    Aggregator, Options, Position, SECOND, START, Span, Step, feature, group, groups_of, purchase, rows,
    take, tick,
};
use crate::{
    error::Kind,
    feature::{Dtype, Timestamp, WindowFunction as F},
};

fn sums() -> Step {
    Step::Register(group(1, 300, 60, vec![feature(F::Sum, Some("value"), Dtype::Float64)]), Span::Live)
}

/// 48 bytes for each (entity, pane) of a sum, the entity's own share included.
#[test]
fn a_pane_of_a_sum_is_small() {
    let mut aggregator = Aggregator::new(Options::default());
    let mut offset = 0;
    take(&mut aggregator, &sums(), &mut offset);
    for pane in 0..10 {
        for entity in 0..20_000 {
            let step = purchase(600, &format!("user_{entity}"), pane * 60, 1.0);
            take(&mut aggregator, &step, &mut offset);
        }
    }
    let memory = aggregator.memory();
    assert_eq!((memory.entities, memory.panes), (20_000, 200_000));
    let each = memory.pane_bytes as f64 / memory.panes as f64;
    println!("{each:.1} bytes for each (entity, pane)");
    assert!(each <= 48.0, "{each}");
}

/// What is closed is given back, and places are used again.
#[test]
fn state_goes_with_its_windows() {
    let mut aggregator = Aggregator::new(Options::default());
    let mut offset = 0;
    take(&mut aggregator, &sums(), &mut offset);
    let mut most = 0;
    for hour in 0..20 {
        for entity in 0..500 {
            let step = purchase(hour * 3_600, &format!("u{hour}_{entity}"), hour * 3_600, 1.0);
            take(&mut aggregator, &step, &mut offset);
        }
        aggregator.take_rows();
        aggregator.changes();
        most = most.max(aggregator.memory().entities);
    }
    assert_eq!(most, 500);
    take(&mut aggregator, &purchase(100_000, "x", 100_000, 1.0), &mut offset);
    assert_eq!((aggregator.memory().entities, aggregator.memory().panes), (1, 1));
}

/// Sketches and texts are given back as well.
#[test]
fn what_lies_beside_the_panes_goes_too() {
    let features = vec![
        feature(F::ApproxDistinct, Some("value"), Dtype::Int64),
        feature(F::Percentile { quantile: 0.5 }, Some("value"), Dtype::Float64),
        feature(F::Last, Some("value"), Dtype::String),
    ];
    let register = Step::Register(group(1, 300, 60, features), Span::Live);
    let mut aggregator = Aggregator::new(Options::default());
    let mut offset = 0;
    take(&mut aggregator, &register, &mut offset);
    let mut bytes = Vec::new();
    for hour in 0..3 {
        for i in 0..3_000 {
            take(
                &mut aggregator,
                &purchase(hour * 3_600, "u", hour * 3_600, f64::from(i) + 0.5),
                &mut offset,
            );
        }
        aggregator.take_rows();
        bytes.push(aggregator.memory().bytes);
    }
    assert!(bytes[0] > 16_384);
    assert!(bytes[2] < bytes[1] + 1_000, "{bytes:?}");
    // A restart accounts for the same sketches.
    let loaded = Aggregator::load(&[aggregator.snapshot()], Options::default()).unwrap();
    assert!(loaded.memory().bytes > 16_384);
}

/// Over the bound a record is refused and nothing has changed: with a higher bound it goes on where it was.
#[test]
fn the_state_is_bounded() {
    let options = Options { bytes_max: 200_000, ..Options::default() };
    let mut aggregator = Aggregator::new(options);
    let mut offset = 0;
    take(&mut aggregator, &sums(), &mut offset);
    let mut taken = 0;
    let refused = loop {
        let position = Position { offset, log_time: Timestamp::from_stored(START) };
        if let Err(error) = aggregator.tick(position) {
            break error;
        }
        offset += 1;
        take(&mut aggregator, &purchase(0, &format!("u{taken}"), 0, 1.0), &mut offset);
        taken += 1;
        assert!(taken < 100_000, "never refused");
    };
    assert_eq!(refused.kind, Kind::Unavailable);
    assert!(aggregator.memory().bytes < 400_000);
    assert_eq!(aggregator.next_offset(), offset);
    let mut aggregator = Aggregator::load(&[aggregator.snapshot()], Options::default()).unwrap();
    assert_eq!(aggregator.ledger().counted, taken);
    take(&mut aggregator, &tick(60), &mut offset);
    assert_eq!(rows(aggregator.take_rows(), &groups_of(&[sums()])).len(), taken as usize);
}

/// Damaged or foreign bytes are an error, never a panic.
#[test]
fn saves_are_checked() {
    let mut aggregator = Aggregator::new(Options::default());
    let mut offset = 0;
    take(&mut aggregator, &sums(), &mut offset);
    for i in 0..50 {
        take(&mut aggregator, &purchase(0, &format!("u{i}"), i * SECOND / SECOND, 1.0), &mut offset);
    }
    let save = aggregator.snapshot();
    for end in 0..save.len() {
        assert!(Aggregator::load(&[&save[..end]], Options::default()).is_err(), "{end}");
    }
    let mut newer = save.clone();
    newer[0] = 3;
    let error = Aggregator::load(&[newer], Options::default()).err().unwrap();
    assert!(error.message.contains("format 3"), "{error}");
}
