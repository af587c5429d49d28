//! Rules 10 to 15, each by an example of its own.

use super::{
    Aggregator, DeadReason, Judgement, Options, OwnedEvent, Row, SECOND, START, Span, Step, count_and_sum,
    feature, group, groups_of, purchase, rows, run, seconds, take, tick,
};
use crate::feature::{Cell, Dtype, RowId, Timestamp, Value, WindowFunction as F};

/// (end in s after START, created in s after START, count, sum)
fn shown(rows: &[Row]) -> Vec<(i64, i64, i64, f64)> {
    let number = |cell: &Cell| match cell {
        Cell::Value(Value::Int64(v)) => *v as f64,
        Cell::Value(Value::Float64(v)) => *v,
        _ => f64::NAN,
    };
    let after = |micros: i64| (micros - START) / SECOND;
    rows.iter()
        .map(|row| (after(row.end), after(row.created), number(&row.cells[0]) as i64, number(&row.cells[1])))
        .collect()
}

/// START is a multiple of 20 s: windows of 40 s sliding by 20 s.
fn register() -> Step {
    Step::Register(group(1, 40, 20, count_and_sum()), Span::Live)
}

fn judgements(steps: &[Step]) -> Vec<Judgement> {
    run(steps, Options::default()).1.into_iter().map(|said| said.0).collect()
}

#[test]
fn rule_10_an_event_at_the_end_is_in_the_next_window() {
    let steps = [register(), purchase(100, "u", 0, 1.0), purchase(100, "u", 20, 2.0), tick(300)];
    let (rows, ..) = run(&steps, Options::default());
    assert_eq!(shown(&rows), [(20, 100, 1, 1.0), (40, 300, 2, 3.0), (60, 300, 1, 2.0), (80, 300, 0, 0.0)]);
}

#[test]
fn rule_10_windows_before_the_epoch() {
    let event = |timestamp| match purchase(0, "u", 0, 1.0) {
        Step::Event(log_time, event) => Step::Event(log_time, OwnedEvent { timestamp, ..event }),
        step => step,
    };
    let steps = [register(), event(-1), event(-20 * SECOND), event(0), tick(60)];
    let (rows, ..) = run(&steps, Options::default());
    let ends: Vec<_> = rows.iter().map(|row| row.end / SECOND).collect();
    assert_eq!(ends, [0, 20, 40, 60]);
}

/// A pause, or old data, makes nothing late: log time moves emission time, never the watermark. Emission time, a running
/// maximum, then waits until the new greatest has caught up with it.
#[test]
fn rule_11_a_pause_makes_nothing_late() {
    let steps = [
        register(),
        purchase(0, "u", 0, 1.0),
        tick(100_000),
        purchase(100_000, "u", 5, 2.0),
        tick(200_014),
        tick(200_015),
    ];
    let (rows, said, _) = run(&steps, Options::default());
    assert_eq!(said[1].0, Judgement::Counted);
    assert_eq!(
        shown(&rows),
        [
            (20, 100_000, 1, 1.0),
            (40, 100_000, 1, 1.0),
            (60, 100_000, 0, 0.0),
            (20, 200_015, 2, 3.0),
            (40, 200_015, 2, 3.0),
        ]
    );
}

/// Emission by log time comes before the record counts: the row does not hold the event that caused it.
#[test]
fn rule_11_log_time_first_then_the_event() {
    let steps =
        [register(), purchase(0, "u", 0, 1.0), purchase(20, "u", 19, 2.0), purchase(40, "u", 40, 4.0)];
    let (rows, ..) = run(&steps, Options::default());
    assert_eq!(shown(&rows), [(20, 20, 1, 1.0), (20, 40, 2, 3.0), (40, 40, 2, 3.0)]);
}

#[test]
fn rule_11_a_tick_is_due_when_a_row_is() {
    let mut aggregator = Aggregator::new(Options::default());
    let mut offset = 0;
    let mut due_after = |step| {
        take(&mut aggregator, &step, &mut offset);
        aggregator.due_at().map(|due| (due.micros() - START) / SECOND)
    };
    assert_eq!(due_after(register()), None);
    assert_eq!(due_after(purchase(7, "u", 1, 1.0)), Some(7 + 19));
    assert_eq!(due_after(tick(25)), Some(26));
    assert_eq!(due_after(tick(26)), Some(46));
    assert_eq!(due_after(tick(46)), Some(66));
    assert_eq!(due_after(tick(66)), None, "the empty window was the last row");
}

/// A late pane is new, but the window after it, the only one left open, holds another pane and is emitted already.
#[test]
fn rule_11_no_tick_is_due_for_a_window_that_is_not_empty() {
    let of_merchant = match purchase(647, "m", 641, 1.0) {
        Step::Event(log_time, event) => {
            Step::Event(log_time, OwnedEvent { entity_type: Some("merchant"), ..event })
        }
        step => step,
    };
    let steps = [register(), purchase(45, "u", 45, 1.0), purchase(646, "u", 19, 2.0), of_merchant];
    let (rows, _, aggregator) = run(&steps, Options::default());
    assert_eq!(shown(&rows)[3..], [(20, 647, 1, 2.0), (40, 647, 1, 2.0)]);
    assert_eq!(aggregator.due_at(), None);
}

/// Only what changed is emitted again, at the next multiple of the slide.
#[test]
fn rule_12_changed_windows_come_again() {
    let steps = [
        register(),
        purchase(10, "u", 10, 1.0),
        purchase(10, "v", 10, 1.0),
        tick(25),
        purchase(26, "u", 3, 2.0),
        tick(39),
        tick(40),
        tick(60),
        tick(80),
    ];
    let (rows, ..) = run(&steps, Options::default());
    let of = |key: &str| shown(&rows.iter().filter(|row| row.key == key).cloned().collect::<Vec<_>>());
    assert_eq!(of("u"), [(20, 25, 1, 1.0), (20, 40, 2, 3.0), (40, 40, 2, 3.0), (60, 60, 0, 0.0)]);
    assert_eq!(of("v"), [(20, 25, 1, 1.0), (40, 40, 1, 1.0), (60, 60, 0, 0.0)]);
}

/// The watermark runs 10 min behind the greatest event; what is pending is emitted when it passes the end.
#[test]
fn rule_12_pending_windows_are_emitted_at_their_close() {
    let delay = Options { watermark_delay: seconds(610), ..Options::default() };
    let steps = [
        register(),
        purchase(700, "u", 0, 1.0),
        purchase(700, "w", 629, 0.0),
        purchase(700, "u", 1, 2.0),
        // Closes at 630 − 610 = 20, but passes no multiple of the slide.
        purchase(700, "w", 630, 0.0),
    ];
    let (rows, ..) = run(&steps, delay);
    let rows: Vec<_> = rows.into_iter().filter(|row| row.key == "u").collect();
    assert_eq!(shown(&rows), [(20, 700, 1, 1.0), (40, 700, 1, 1.0), (60, 700, 0, 0.0), (20, 700, 2, 3.0)]);
    assert_eq!(rows[3].sequence, 3);
}

/// An event counts in the windows that are still open; the ends it missed are told. Only one that missed all is late.
#[test]
fn rule_12_late_events() {
    // The watermark is at 20.
    let steps =
        [register(), purchase(700, "w", 620, 0.0), purchase(700, "u", 5, 1.0), purchase(700, "u", -15, 1.0)];
    let (_, said, aggregator) = run(&steps, Options::default());
    let end = |s: i64| START + s * SECOND;
    assert_eq!(said[1], (Judgement::Counted, vec![(1, end(20))]));
    assert_eq!(said[2], (Judgement::Late, vec![(1, end(0)), (1, end(20))]));
    assert_eq!(aggregator.ledger().late, 1);
}

#[test]
fn rule_13_rows_are_populated_windows_and_the_empty_one_after() {
    let steps = [register(), purchase(0, "u", 0, 1.0), purchase(150, "u", 145, 2.0), tick(400)];
    let (rows, ..) = run(&steps, Options::default());
    let ends: Vec<_> = shown(&rows).iter().map(|row| (row.0, row.2)).collect();
    assert_eq!(ends, [(20, 1), (40, 1), (60, 0), (160, 1), (180, 1), (200, 0)]);
}

/// A feature counts from its registration; its first window starts after all that the partition has seen.
#[test]
fn rule_14_windows_start_after_what_was_seen() {
    let later = Step::Register(group(2, 40, 20, count_and_sum()), Span::Live);
    let steps = [
        register(),
        purchase(50, "u", 20, 1.0),
        later,
        purchase(50, "u", 39, 2.0),
        purchase(50, "u", 40, 4.0),
        tick(300),
    ];
    let (rows, _, aggregator) = run(&steps, Options::default());
    let of = |id| shown(&rows.iter().filter(|row| row.group == id).cloned().collect::<Vec<_>>());
    assert_eq!(of(1), [(40, 50, 2, 3.0), (60, 300, 3, 7.0), (80, 300, 1, 4.0), (100, 300, 0, 0.0)]);
    assert_eq!(of(2), [(80, 300, 1, 4.0), (100, 300, 0, 0.0)]);
    assert_eq!(aggregator.first_end(RowId::from_stored(1)), None);
    assert_eq!(
        aggregator.first_end(RowId::from_stored(2)),
        Some(Timestamp::from_stored(START + 80 * SECOND))
    );
}

/// Backfill and the live windows of one log together are what one aggregator from the start gives.
#[test]
fn rule_14_backfill_joins_the_live_windows() {
    let events: Vec<Step> = (0..400i64)
        .map(|i| {
            purchase(
                i * 5,
                ["u", "v", "w"][(i % 3) as usize],
                i * 5 - (i * 7) % 31 - if i > 200 && i % 3 == 1 { 900 } else { 0 },
                1.0,
            )
        })
        .chain([tick(10_000), purchase(10_000, "x", 9_000, 1.0)])
        .collect();
    let last = |rows: Vec<Row>| {
        let mut newest = std::collections::BTreeMap::new();
        for row in rows {
            newest.insert((row.key.clone(), row.end), row.cells);
        }
        newest
    };
    let whole = run(&[&[register()], &events[..]].concat(), Options::default()).0;
    for at in [1, 57, 200, 399] {
        let live = run(&[&events[..at], &[register()], &events[at..]].concat(), Options::default());
        let first = live.2.first_end(RowId::from_stored(1)).unwrap();
        let backfill = Step::Register(group(1, 40, 20, count_and_sum()), Span::Before(first));
        let filled = run(&[&[backfill], &events[..]].concat(), Options::default());
        assert!(filled.2.is_backfilled());
        assert!(
            filled
                .0
                .iter()
                .all(|row| row.end < first.micros() || row.cells[0] == Cell::Value(Value::Int64(0)))
        );
        let joined: Vec<Row> = filled.0.into_iter().chain(live.0).collect();
        let mut ends: Vec<_> =
            joined.iter().map(|row| (row.key.clone(), row.end, row.created, row.sequence)).collect();
        ends.sort();
        ends.dedup();
        assert_eq!(ends.len(), joined.len(), "no overlap");
        assert_eq!(last(joined), last(whole.clone()), "no gap");
    }
}

/// An event that comes too late for every window of a backfill still says that the first live one, which has it, is not
/// empty.
#[test]
fn rule_14_backfill_knows_late_events_of_the_live_window() {
    let span = Span::Before(Timestamp::from_stored(START + 220 * SECOND));
    let steps = [
        Step::Register(group(1, 20, 10, count_and_sum()), span),
        purchase(215, "a", 199, 1.0),
        purchase(224, "a", 243, 1.0),
        purchase(224, "a", 209, 1.0),
        purchase(261, "a", 261, 1.0),
    ];
    let options = Options { watermark_delay: seconds(33), ..Options::default() };
    let (rows, said, _) = run(&steps, options);
    assert_eq!((said[2].0, &said[2].1[..]), (Judgement::Late, &[(1, START + 210 * SECOND)][..]));
    assert_eq!(shown(&rows), [(200, 224, 1, 1.0), (210, 224, 1, 1.0)]);
}

fn with_id(step: Step, id: &str) -> Step {
    match step {
        Step::Event(log_time, event) => {
            Step::Event(log_time, OwnedEvent { event_id: Some(id.into()), ..event })
        }
        step => step,
    }
}

#[test]
fn rule_15_event_ids_are_remembered_for_an_hour_of_log_time() {
    let steps = [
        register(),
        with_id(purchase(0, "u", 0, 1.0), "a"),
        with_id(purchase(1, "u", 0, 1.0), "a"),
        with_id(purchase(1, "v", 0, 1.0), "a"),
        with_id(purchase(3_599, "u", 0, 1.0), "a"),
        with_id(purchase(3_600, "u", 0, 1.0), "a"),
    ];
    use Judgement::{Counted, Duplicate};
    assert_eq!(judgements(&steps), [Counted, Duplicate, Counted, Duplicate, Counted]);
}

#[test]
fn rule_15_the_oldest_ids_go_first() {
    let options = Options { ids_max: 2, ..Options::default() };
    let event = |id| with_id(purchase(0, "u", 0, 1.0), id);
    let steps = [register(), event("a"), event("b"), event("c"), event("b"), event("c"), event("a")];
    let said: Vec<_> = run(&steps, options).1.into_iter().map(|said| said.0).collect();
    use Judgement::{Counted, Duplicate};
    assert_eq!(said, [Counted, Counted, Counted, Duplicate, Duplicate, Counted]);
}

#[test]
fn rule_15_each_event_is_judged_once_in_order() {
    let other = |step: Step, event_type| match step {
        Step::Event(log_time, event) => Step::Event(log_time, OwnedEvent { event_type, ..event }),
        step => step,
    };
    let future = purchase(0, "u", 301, 1.0);
    let steps = [
        Step::Register(group(1, 40, 20, vec![feature(F::Sum, Some("value"), Dtype::Float64)]), Span::Live),
        with_id(purchase(0, "u", 300, 1.0), "a"),
        with_id(future, "a"),
        with_id(purchase(1_000, "u", -900, 1.0), "a"),
        purchase(1_000, "u", -900, 1.0),
        other(purchase(1_000, "u", 0, 1.0), "view"),
        Step::Dead(START),
        tick(2_000),
    ];
    let (_, said, aggregator) = run(&steps, Options::default());
    let said: Vec<_> = said.into_iter().map(|said| said.0).collect();
    use Judgement::{Counted, Dead, Duplicate, Late, Unused};
    assert_eq!(said, [Counted, Dead(DeadReason::Future), Duplicate, Late, Unused]);
    let ledger = aggregator.ledger();
    assert_eq!((ledger.dead, ledger.duplicate, ledger.late, ledger.unused, ledger.counted), (2, 1, 1, 1, 1));
    assert_eq!(ledger.produced(), 6);
}

/// Where one event type feeds two entity types, an event has to name one.
#[test]
fn an_entity_type_where_it_is_needed() {
    let merchants =
        super::WindowGroup { entity_type: "merchant".into(), ..group(2, 40, 20, count_and_sum()) };
    let named = |entity_type| match purchase(0, "u", 0, 1.0) {
        Step::Event(log_time, event) => Step::Event(log_time, OwnedEvent { entity_type, ..event }),
        step => step,
    };
    let steps = [
        register(),
        named(None),
        Step::Register(merchants, Span::Live),
        named(None),
        named(Some("user")),
        named(Some("shop")),
    ];
    use Judgement::{Counted, Dead, Unused};
    assert_eq!(judgements(&steps), [Counted, Dead(DeadReason::EntityTypeNeeded), Counted, Unused]);
}

/// Within the watermark the order of arrival does not matter for the last row of each window.
#[test]
fn shuffled_events_give_the_same_values() {
    let mut random = fastrand::Rng::with_seed(7);
    let features = || {
        let mut features = count_and_sum();
        features.push(feature(F::Min, Some("value"), Dtype::Float64));
        features.push(feature(F::Max, Some("value"), Dtype::Float64));
        features
    };
    let events: Vec<(i64, String, f64)> =
        (0..3_000).map(|i| (i, format!("u{}", random.u32(..9)), random.f64() * 100.0)).collect();
    let newest = |events: &[(i64, String, f64)]| {
        let mut steps = vec![Step::Register(group(1, 300, 60, features()), Span::Live)];
        steps.extend(events.iter().map(|(at, key, value)| purchase(3_000, key, *at, *value)));
        steps.push(tick(10_000));
        let (rows, said, _) = run(&steps, Options::default());
        assert!(said.iter().all(|said| said == &(Judgement::Counted, vec![])));
        rows.into_iter()
            .map(|row| ((row.key, row.end), row.cells))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let in_order = newest(&events);
    let mut shuffled: Vec<_> =
        events.iter().map(|event| (event.0 + random.i64(0..540), event.clone())).collect();
    shuffled.sort_by_key(|(arrival, _)| *arrival);
    let shuffled = newest(&shuffled.into_iter().map(|(_, event)| event).collect::<Vec<_>>());
    assert_eq!(in_order.keys().collect::<Vec<_>>(), shuffled.keys().collect::<Vec<_>>());
    for (key, cells) in &in_order {
        let other = &shuffled[key];
        assert_eq!((&cells[0], &cells[2], &cells[3]), (&other[0], &other[2], &other[3]));
        let (Cell::Value(Value::Float64(a)), Cell::Value(Value::Float64(b))) = (&cells[1], &other[1]) else {
            panic!()
        };
        assert!((a - b).abs() <= 1e-9 * a.abs());
    }
}

/// Records come in the order of their offsets, and never twice.
#[test]
fn a_record_is_not_taken_twice() {
    let mut aggregator = Aggregator::new(Options::default());
    take(&mut aggregator, &register(), &mut 0);
    take(&mut aggregator, &purchase(0, "u", 0, 1.0), &mut 5);
    let again = super::Position { offset: 5, log_time: Timestamp::from_stored(START) };
    assert!(aggregator.tick(again).is_err());
    assert_eq!(aggregator.next_offset(), 6);
    take(&mut aggregator, &tick(60), &mut 9);
    assert_eq!(rows(aggregator.take_rows(), &groups_of(&[register()])).len(), 3);
}
