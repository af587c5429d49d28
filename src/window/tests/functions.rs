//! Every function at its bounds.

use super::{Field, Options, OwnedEvent, SECOND, START, Step, feature, group, run, tick};
use crate::feature::{Cell, Dtype, Element, List, Timestamp, Value, WindowFunction as F};

/// The cell of one feature over `value` in a window that holds these events: (seconds after its start, value).
fn cell(function: F, dtype: Dtype, events: &[(i64, Field)]) -> Cell {
    let start = START.div_euclid(60 * SECOND) * 60 * SECOND;
    let features = vec![feature(function, Some("value"), dtype), feature(F::Count, None, Dtype::Int64)];
    let mut steps = vec![Step::Register(group(1, 60, 60, features), super::Span::Live)];
    for (at, value) in events {
        let event = OwnedEvent {
            tenant: 1,
            entity_type: None,
            entity: "u".into(),
            event_type: "purchase",
            timestamp: start + at * SECOND,
            event_id: None,
            values: vec![("value", value.clone())],
        };
        steps.push(Step::Event(START, event));
    }
    steps.push(tick(120));
    let (rows, ..) = run(&steps, Options::default());
    rows[0].cells[0].clone()
}

fn int(value: i64) -> Cell {
    Cell::Value(Value::Int64(value))
}

fn float(value: f64) -> Cell {
    Cell::Value(Value::Float64(value))
}

fn ints(values: &[i64]) -> Vec<(i64, Field)> {
    values.iter().map(|value| (1, Field::Int(*value))).collect()
}

fn floats(values: &[f64]) -> Vec<(i64, Field)> {
    values.iter().map(|value| (1, Field::Float(*value))).collect()
}

/// Rule 13: integer sums run in 128 bits; beyond int64 they are null.
#[test]
fn integer_sums() {
    assert_eq!(cell(F::Sum, Dtype::Int64, &ints(&[i64::MAX, 1, -1])), int(i64::MAX));
    assert_eq!(cell(F::Sum, Dtype::Int64, &ints(&[i64::MIN, -1, 1])), int(i64::MIN));
    assert_eq!(cell(F::Sum, Dtype::Int64, &ints(&[i64::MAX, 1])), Cell::Null);
    assert_eq!(cell(F::Sum, Dtype::Int64, &ints(&[i64::MIN, -1])), Cell::Null);
    assert_eq!(cell(F::Sum, Dtype::Int64, &floats(&[1.0])), int(0), "1.0 is not an int64");
}

/// Rule 13: float sums are compensated; rule 17: what leaves the finite numbers is null.
#[test]
fn float_sums() {
    assert_eq!(cell(F::Sum, Dtype::Float64, &floats(&[1e100, 1.0, -1e100])), float(1.0));
    assert_eq!(cell(F::Sum, Dtype::Float64, &floats(&[0.1; 10])), float(1.0));
    assert_eq!(cell(F::Sum, Dtype::Float64, &floats(&[f64::MAX, f64::MAX])), Cell::Null);
    assert_eq!(cell(F::Mean, Dtype::Float64, &floats(&[1.0, 2.0, 4.5])), float(2.5));
    let zero = cell(F::Sum, Dtype::Float64, &floats(&[-0.0]));
    assert!(matches!(zero, Cell::Value(Value::Float64(v)) if v.to_bits() == 0));
}

/// Rule 13: sample statistics, null below two values.
#[test]
fn variance_of_a_sample() {
    assert_eq!(cell(F::Variance, Dtype::Float64, &floats(&[5.0])), Cell::Null);
    assert_eq!(cell(F::Stddev, Dtype::Float64, &floats(&[5.0])), Cell::Null);
    assert_eq!(cell(F::Variance, Dtype::Float64, &floats(&[1.0, 3.0])), float(2.0));
    assert_eq!(cell(F::Stddev, Dtype::Float64, &floats(&[1.0, 5.0, 3.0])), float(2.0));
}

/// Rule 13: by event timestamp, ties by arrival, whatever the order of arrival.
#[test]
fn first_and_last() {
    let text = |at, text: &str| (at, Field::Text(text.into()));
    let events = [text(5, "b"), text(2, "a"), text(2, "a2"), text(9, "c"), text(9, "c2"), text(4, "x")];
    let string = |text: &str| Cell::Value(Value::String(text.into()));
    assert_eq!(cell(F::First, Dtype::String, &events), string("a"));
    assert_eq!(cell(F::Last, Dtype::String, &events), string("c2"));
    let bools = [(3, Field::Bool(true)), (1, Field::Bool(false))];
    assert_eq!(cell(F::First, Dtype::Bool, &bools), Cell::Value(Value::Bool(false)));
    assert_eq!(cell(F::Last, Dtype::Bool, &bools), Cell::Value(Value::Bool(true)));
    assert_eq!(cell(F::Last, Dtype::Int64, &[(1, Field::Int(7)), (2, Field::Float(1.0))]), int(7));
}

#[test]
fn least_and_greatest() {
    assert_eq!(cell(F::Min, Dtype::Int64, &ints(&[i64::MAX])), int(i64::MAX));
    assert_eq!(cell(F::Max, Dtype::Int64, &ints(&[i64::MIN])), int(i64::MIN));
    assert_eq!(cell(F::Min, Dtype::Float64, &floats(&[2.0, -3.5])), float(-3.5));
    assert_eq!(cell(F::Max, Dtype::Float64, &[(1, Field::Int(2)), (1, Field::Float(-3.5))]), float(2.0));
}

/// Rule 13: exact below 1 000; `1` and `1.0` are one value, `"1"` is another.
#[test]
fn distinct_values() {
    let same = [(1, Field::Int(1)), (1, Field::Float(1.0)), (1, Field::Text("1".into())), (1, Field::Other)];
    assert_eq!(cell(F::ApproxDistinct, Dtype::Int64, &same), int(2));
    let many: Vec<_> = (0..999).chain(0..500).map(|i| (1, Field::Int(i))).collect();
    assert_eq!(cell(F::ApproxDistinct, Dtype::Int64, &many), int(999));
    let more: Vec<_> = (0..20_000).map(|i| (1, Field::Int(i))).collect();
    let Cell::Value(Value::Int64(estimate)) = cell(F::ApproxDistinct, Dtype::Int64, &more) else { panic!() };
    assert!((19_400..20_600).contains(&estimate), "{estimate}");
}

/// Rule 13: relative value error ≤ 1 %.
#[test]
fn percentiles() {
    let values: Vec<f64> = (1..=1_000).map(f64::from).collect();
    for (quantile, expected) in [(0.0, 1.0), (0.5, 500.0), (0.95, 950.0), (1.0, 1_000.0)] {
        let got = cell(F::Percentile { quantile }, Dtype::Float64, &floats(&values));
        let Cell::Value(Value::Float64(got)) = got else { panic!() };
        assert!((got / expected - 1.0).abs() <= 0.01, "{quantile}: {got}");
    }
}

/// Rule 13: an event without the field, or with a value of another type, does not count for the feature.
#[test]
fn what_a_feature_does_not_take() {
    let events =
        [(1, Field::Missing), (1, Field::Text("x".into())), (1, Field::Bool(true)), (1, Field::Other)];
    assert_eq!(cell(F::Count, Dtype::Int64, &events), int(3));
    assert_eq!(cell(F::Sum, Dtype::Float64, &events), float(0.0));
    for function in
        [F::Mean, F::Min, F::Max, F::Stddev, F::Variance, F::First, F::Last, F::Percentile { quantile: 0.5 }]
    {
        assert_eq!(cell(function, Dtype::Float64, &events), Cell::Null, "{function}");
    }
    assert_eq!(cell(F::ApproxDistinct, Dtype::Int64, &[(1, Field::Missing)]), Cell::Null);
    let topk = F::TopK { k: 9, counts: false };
    assert_eq!(cell(topk, Dtype::List(Element::Int64), &events), Cell::Null);
    assert_eq!(cell(topk, Dtype::List(Element::Timestamp), &events), Cell::Null);
}

/// By count, ties by ascending value; what is of another type does not count, and numbers that are no int64 never do.
#[test]
fn most_frequent_values() {
    let k = |k| F::TopK { k, counts: false };
    let values =
        [ints(&[3, -1, 3, 2, 2, 9]), floats(&[9.0, 9.0]), vec![(1, Field::Text("9".into()))]].concat();
    let ints = |values: &[i64]| {
        Cell::Value(Value::List(List::Int64(values.iter().map(|value| Some(*value)).collect())))
    };
    assert_eq!(cell(k(3), Dtype::List(Element::Int64), &values), ints(&[2, 3, -1]));
    assert_eq!(cell(k(100), Dtype::List(Element::Int64), &values), ints(&[2, 3, -1, 9]));
    let counts = F::TopK { k: 2, counts: true };
    assert_eq!(cell(counts, Dtype::Json, &values), Cell::Value(Value::Json("[[2,2],[3,2]]".into())));
    let text = |text: &str| (1, Field::Text(text.into()));
    let times = [
        text("2024-01-15T14:22:00+01:00"),
        text("2024-01-15T13:22:00.0000009Z"),
        text("2024-01-15T13:22:00"),
        (1, Field::Time(5)),
    ];
    let moments = [1_705_324_920_000_000, 5].map(|micros| Some(Timestamp::from_stored(micros)));
    assert_eq!(
        cell(k(9), Dtype::List(Element::Timestamp), &times),
        Cell::Value(Value::List(List::Timestamp(moments.to_vec()))),
        "an offset is another way to say the same moment, and without one it is no moment"
    );
}
