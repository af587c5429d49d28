//! Random histories: against the rules as they are written, and against themselves cut and restarted anywhere.

use super::{
    Aggregator, Field, Judgement, Options, OwnedEvent, Row, SECOND, START, Said, Span, Step, brute::Brute,
    feature, group, groups_of, rows, run, seconds, take,
};
use crate::{
    feature::{Cell, Dtype, Element, RowId, TenantId, Timestamp, Value, WindowFunction as F},
    window::{WindowFeature, WindowGroup},
};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
};
use std::collections::BTreeMap;

fn options() -> Options {
    Options {
        watermark_delay: seconds(33),
        future_max: seconds(20),
        ids_for: seconds(60),
        ids_max: 6,
        ..Options::default()
    }
}

/// Features of every function.
fn all_features() -> Vec<WindowFeature> {
    let (value, x) = (Some("value"), Some("metadata.x"));
    vec![
        feature(F::Count, None, Dtype::Int64),
        feature(F::Count, x, Dtype::Int64),
        feature(F::Sum, value, Dtype::Float64),
        feature(F::Sum, value, Dtype::Int64),
        feature(F::Mean, value, Dtype::Float64),
        feature(F::Min, value, Dtype::Float64),
        feature(F::Min, value, Dtype::Int64),
        feature(F::Max, value, Dtype::Float64),
        feature(F::Max, value, Dtype::Int64),
        feature(F::Stddev, value, Dtype::Float64),
        feature(F::Variance, value, Dtype::Float64),
        feature(F::First, x, Dtype::String),
        feature(F::First, value, Dtype::Int64),
        feature(F::Last, x, Dtype::String),
        feature(F::Last, x, Dtype::Bool),
        feature(F::Last, value, Dtype::Float64),
        feature(F::ApproxDistinct, x, Dtype::Int64),
        feature(F::Percentile { quantile: 0.5 }, value, Dtype::Float64),
        feature(F::Percentile { quantile: 0.95 }, value, Dtype::Float64),
        feature(F::TopK { k: 2, counts: false }, x, Dtype::List(Element::String)),
        feature(F::TopK { k: 100, counts: false }, value, Dtype::List(Element::Int64)),
        feature(F::TopK { k: 1, counts: false }, x, Dtype::List(Element::Bool)),
        feature(F::TopK { k: 3, counts: false }, value, Dtype::List(Element::Timestamp)),
        feature(F::TopK { k: 3, counts: true }, x, Dtype::Json),
    ]
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        1 => Just(Field::Missing),
        4 => (-5i64..50).prop_map(Field::Int),
        5 => (-1e3..1e3f64).prop_map(Field::Float),
        1 => any::<bool>().prop_map(Field::Bool),
        3 => "[a-d]{1,2}".prop_map(Field::Text),
        1 => "2024-01-01T00:00:00.00000[0-3]{1,2}Z".prop_map(Field::Text),
        1 => (0i64..3).prop_map(|micros| Field::Time(1_704_067_200_000_000 + micros)),
        1 => Just(Field::Other),
    ]
}

/// Log time that passes, and the step: an event by how old it is.
fn step() -> impl Strategy<Value = (i64, Option<(i64, OwnedEvent)>, bool)> {
    let passes = prop_oneof![6 => 0..3 * SECOND, 2 => 0..20 * SECOND, 1 => Just(0), 1 => 0..200 * SECOND];
    let age =
        prop_oneof![8 => 0..15 * SECOND, 3 => 0..60 * SECOND, 1 => 0..200 * SECOND, 1 => -25 * SECOND..0];
    let event = (
        select(vec![1u64, 1, 1, 2]),
        select(vec![None, None, Some("user"), Some("merchant")]),
        "[a-d]",
        select(vec!["purchase", "purchase", "purchase", "view"]),
        option::weighted(0.3, "[0-9]"),
        field(),
        field(),
    )
        .prop_map(|(tenant, entity_type, entity, event_type, event_id, value, x)| OwnedEvent {
            tenant,
            entity_type,
            entity,
            event_type,
            timestamp: 0,
            event_id,
            values: vec![("value", value), ("metadata.x", x)],
        });
    (passes, option::weighted(0.85, (age, event)), any::<bool>())
}

/// A group: (size / slide, slide in s, which features, tenant, entity type, event type, when it is registered).
fn registration() -> impl Strategy<Value = (WindowGroup, usize)> {
    (
        1i64..6,
        select(vec![1i64, 5, 7, 10, 10]),
        vec(any::<bool>(), all_features().len()),
        select(vec![1u64, 1, 1, 2]),
        select(vec!["user", "user", "user", "merchant"]),
        select(vec!["purchase", "purchase", "view"]),
        prop_oneof![2 => Just(0usize), 1 => 0..60usize],
    )
        .prop_map(|(ratio, slide, chosen, tenant, entity_type, event_type, at)| {
            let mut features: Vec<_> = all_features()
                .into_iter()
                .zip(chosen)
                .filter(|(_, chosen)| *chosen)
                .map(|(f, _)| f)
                .collect();
            if features.is_empty() {
                features = all_features();
            }
            let group = WindowGroup {
                tenant: TenantId::from_stored(tenant),
                entity_type: entity_type.into(),
                event_type: event_type.into(),
                ..group(0, ratio * slide, slide, features)
            };
            (group, at)
        })
}

prop_compose! {
    fn history()(
        raw in vec(step(), 1..120),
        registrations in vec(registration(), 1..5),
        data_age in select(vec![0, 0, 3_000 * SECOND]),
        before in option::weighted(0.3, 0..300i64),
    ) -> Vec<Step> {
        let mut log_time = START;
        let mut steps = Vec::new();
        for (at, (passes, event, dead)) in raw.into_iter().enumerate() {
            for (id, (group, _)) in registrations.iter().enumerate().filter(|(_, (_, when))| *when == at) {
                let slide = group.slide.micros();
                let span = match before {
                    // The first window of a live span.
                    Some(before) if id == 0 => {
                        let end = (START - data_age + before * SECOND).div_euclid(slide) * slide;
                        Span::Before(Timestamp::from_stored(end))
                    }
                    _ => Span::Live,
                };
                steps.push(Step::Register(WindowGroup { id: RowId::from_stored(id as u64), ..group.clone() }, span));
            }
            log_time += passes;
            steps.push(match event {
                Some((age, event)) => {
                    let timestamp = log_time - age - if event.timestamp == 0 { data_age } else { 0 };
                    Step::Event(log_time, OwnedEvent { timestamp, ..event })
                }
                None if dead => Step::Dead(log_time),
                None => Step::Tick(log_time),
            });
        }
        steps
    }
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| (a.sequence, a.group, a.end, &a.key).cmp(&(b.sequence, b.group, b.end, &b.key)));
    rows
}

/// Equal but for what rule 13 grants: sums and their kin 1e-9, percentiles 1 %.
fn agree(own: &Cell, expected: &Cell, feature: &WindowFeature) -> bool {
    let (Cell::Value(Value::Float64(own)), Cell::Value(Value::Float64(expected))) = (own, expected) else {
        return own == expected;
    };
    let tolerance = match feature.function {
        F::Percentile { .. } => 0.01 * expected.abs(),
        // What cancels leaves an error in proportion to the values, which lie within ±1 000.
        F::Sum | F::Mean | F::Stddev => 1e-9 * expected.abs().max(1e3),
        F::Variance => 1e-9 * expected.abs().max(1e6),
        _ => 0.0,
    };
    (own - expected).abs() <= tolerance
}

proptest! {
    /// Rules 10 to 15: rows, judgements, missed windows, and when a tick is due.
    #[test]
    fn the_rules_as_they_are_written(steps in history()) {
        let (mut own, mut brute) = (Aggregator::new(options()), Brute::run(&[], options()));
        let mut offset = 0;
        let (mut judged, mut produced) = (Vec::new(), 0);
        for step in &steps {
            judged.extend(take(&mut own, step, &mut offset));
            brute.step(step);
            prop_assert_eq!(own.due_at().map(Timestamp::micros), brute.due_at(), "after {} records", offset);
            // Rule 15: the ledger at every moment.
            if let Step::Event(..) | Step::Dead(_) = step {
                produced += 1;
            }
            let of = |wanted| judged.iter().filter(|(judgement, _): &&Said| *judgement == wanted).count() as u64;
            let ledger = own.ledger();
            prop_assert_eq!(
                (ledger.counted, ledger.late, ledger.unused, ledger.duplicate, ledger.produced()),
                (of(Judgement::Counted), of(Judgement::Late), of(Judgement::Unused), of(Judgement::Duplicate), produced)
            );
        }
        let sort_missed = |mut said: Vec<Said>| {
            said.iter_mut().for_each(|(_, missed)| missed.sort_unstable());
            said
        };
        prop_assert_eq!(sort_missed(judged), sort_missed(brute.said));
        let groups = groups_of(&steps);
        let own = sorted(rows(own.take_rows(), &groups));
        let expected = sorted(brute.rows);
        prop_assert_eq!(own.len(), expected.len());
        for (own, expected) in own.iter().zip(&expected) {
            let place = |row: &Row| (row.sequence, row.created, row.group, row.end, row.key.clone());
            prop_assert_eq!(place(own), place(expected));
            let features = &groups.iter().find(|group| group.id.get() == own.group).unwrap().features;
            for ((own, expected), feature) in own.cells.iter().zip(&expected.cells).zip(features) {
                prop_assert!(agree(own, expected, feature), "{feature:?}: {own:?}, expected {expected:?}");
            }
        }
        // Rule 3: no two rows have the same place in the order.
        let mut places: Vec<_> = own.iter().map(|row| (row.group, &row.key, row.end, row.created, row.sequence)).collect();
        places.sort();
        places.dedup();
        prop_assert_eq!(places.len(), own.len());
    }

    /// Cuts, restarts, dropped and merged saves, and looking ahead, change nothing, to the bit.
    #[test]
    fn restarts_and_cuts_change_nothing(
        steps in history(),
        cuts in vec(0u8..12, 120),
    ) {
        let groups = groups_of(&steps);
        let (expected, expected_said, whole) = run(&steps, options());
        let mut aggregator = Aggregator::new(options());
        let (mut saves, mut got, mut said, mut offset) = (Vec::<Vec<u8>>::new(), Vec::new(), Vec::new(), 0);
        for (at, (step, cut)) in steps.iter().zip(cuts.iter().cycle()).enumerate() {
            // What was looked at may be gone or another's when it comes.
            if *cut % 2 == 0 {
                aggregator.warm(steps[at..].iter().filter_map(|step| match step {
                    Step::Event(_, event) => Some((
                        TenantId::from_stored(event.tenant),
                        event.event_type,
                        &*event.entity,
                        Timestamp::from_stored(event.timestamp),
                    )),
                    _ => None,
                }));
            }
            said.extend(take(&mut aggregator, step, &mut offset));
            if *cut > 5 {
                continue;
            }
            got.extend(rows(aggregator.take_rows(), &groups));
            if *cut < 5 {
                saves.push(aggregator.changes());
                let newest = saves.pop().unwrap();
                saves.retain(|save| aggregator.needs(save).unwrap());
                saves.push(newest);
            }
            match cut {
                0 => {
                    aggregator = Aggregator::load(&saves, options()).unwrap();
                }
                1 => {
                    // Merged behind the scenes.
                    let merged = Aggregator::load(&saves, options()).unwrap().snapshot();
                    saves = vec![merged];
                }
                2 => {
                    saves = vec![aggregator.snapshot()];
                    aggregator = Aggregator::load(&saves, options()).unwrap();
                }
                _ => {}
            }
        }
        got.extend(rows(aggregator.take_rows(), &groups));
        prop_assert_eq!(said, expected_said);
        prop_assert_eq!(aggregator.ledger(), whole.ledger());
        prop_assert_eq!(aggregator.due_at(), whole.due_at());
        // Batches list their rows by group; within a group the order is part of what must agree.
        for group in &groups {
            let of = |rows: &[Row]| rows.iter().filter(|row| row.group == group.id.get()).map(bits).collect::<Vec<_>>();
            prop_assert_eq!(of(&got), of(&expected));
        }
    }

    /// Rule 14: wherever a group is registered, its backfill and its live windows together are what one aggregator from the
    /// start gives, and no window has a row from both.
    #[test]
    fn a_backfill_joins_the_live_windows(
        steps in history(),
        (group, _) in registration(),
        at in any::<Index>(),
    ) {
        let mut steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Register(..))).collect();
        let at = at.index(steps.len() + 1);
        // Whatever is pending is emitted, and whatever is open closes.
        let ends = START + 100_000 * SECOND;
        let last = OwnedEvent {
            tenant: group.tenant.get(),
            entity_type: None,
            entity: "z".into(),
            event_type: if group.event_type == "view" { "view" } else { "purchase" },
            timestamp: ends,
            event_id: None,
            values: vec![("value", Field::Int(1)), ("metadata.x", Field::Text("a".into()))],
        };
        steps.extend([Step::Tick(ends - SECOND), Step::Event(ends, last)]);
        let registered = |span| [Step::Register(group.clone(), span)];
        let whole = run(&[&registered(Span::Live), &steps[..]].concat(), options()).0;
        let (live, _, aggregator) =
            run(&[&steps[..at], &registered(Span::Live), &steps[at..]].concat(), options());
        let Some(first) = aggregator.first_end(group.id) else { return Ok(()) };
        let filled = run(&[&registered(Span::Before(first)), &steps[..]].concat(), options()).0;
        let newest = |rows: &[&[Row]]| {
            let rows = rows.concat();
            rows.iter().map(|row| ((row.key.clone(), row.end), bits(&Row { created: 0, sequence: 0, ..row.clone() }))).collect::<BTreeMap<_, _>>()
        };
        let (of_filled, of_live) = (newest(&[&filled]), newest(&[&live]));
        let both = of_filled.keys().find(|window| of_live.contains_key(*window));
        prop_assert_eq!(both, None, "first live window ends at {}", first.micros());
        prop_assert_eq!(newest(&[&filled, &live]), newest(&[&whole]));
    }
}

/// A row with the bits of its floats.
fn bits(row: &Row) -> (i64, String, i64, u64, String) {
    let cells = row.cells.iter().map(|cell| match cell {
        Cell::Value(Value::Float64(v)) => format!("{:x}", v.to_bits()),
        cell => format!("{cell:?}"),
    });
    (row.end, row.key.clone(), row.created, row.sequence, cells.collect::<Vec<_>>().join(" "))
}
