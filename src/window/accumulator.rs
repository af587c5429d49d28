//! Accumulators: what a pane's words become with each event, and what the words of a window's panes mean together.

use super::{
    clock::NEVER,
    layout::{Class, ColumnPlan, Kind, Layout, Part, Source},
    sketch::{Distinct, Quantiles},
    sum::{FloatSum, Moments},
};
use crate::{
    event::FieldValue,
    feature::{Cell, Value, WindowFunction},
};
use twox_hash::XxHash3_64;

/// What does not fit into words: texts and sketches, by their places.
#[derive(Default)]
pub struct Side {
    pub texts: Slab<Box<str>>,
    pub distincts: Slab<Distinct>,
    pub quantiles: Slab<Quantiles>,
    /// Bytes behind the places.
    pub bytes: usize,
}

/// Values by place; free places are used again.
pub struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub fn add(&mut self, value: T) -> u64 {
        match self.free.pop() {
            Some(at) => {
                self.places[at as usize] = Some(value);
                u64::from(at)
            }
            None => {
                self.places.push(Some(value));
                self.places.len() as u64 - 1
            }
        }
    }

    pub fn get(&self, at: u64) -> &T {
        self.places[at as usize].as_ref().expect("a place in use")
    }

    fn get_mut(&mut self, at: u64) -> &mut T {
        self.places[at as usize].as_mut().expect("a place in use")
    }

    fn take(&mut self, at: u64) -> T {
        self.free.push(at as u32);
        self.places[at as usize].take().expect("a place in use")
    }

    fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Option<T>>() + self.free.capacity() * size_of::<u32>()
    }
}

impl Side {
    pub fn bytes(&self) -> usize {
        self.bytes + self.texts.bytes() + self.distincts.bytes() + self.quantiles.bytes()
    }
}

impl Layout {
    /// Counts an event's values. `skipped[i]` grows where part `i` cannot take what it finds.
    #[inline]
    pub fn add(
        &self,
        words: &mut [u64],
        values: &[FieldValue<'_>],
        timestamp: i64,
        side: &mut Side,
        skipped: &mut [u64],
    ) {
        for (part, skipped) in self.parts.iter().zip(skipped) {
            let value = *values.get(part.field).unwrap_or(&FieldValue::Missing);
            if part.class.takes(value) {
                part.add(&mut words[part.at..], value, timestamp, side);
            } else {
                *skipped += 1;
            }
        }
    }

    /// Gives back what the words hold at the side.
    pub fn release(&self, words: &[u64], side: &mut Side) {
        for part in &self.parts {
            let words = &words[part.at..];
            side.bytes -= match part.kind {
                Kind::First | Kind::Last if part.class == Class::Text && words[0] != NEVER as u64 => {
                    side.texts.take(words[1]).len()
                }
                Kind::Distinct if words[0] != 0 => side.distincts.take(words[0] - 1).bytes(),
                Kind::Quantiles if words[0] != 0 => side.quantiles.take(words[0] - 1).bytes(),
                _ => 0,
            };
        }
    }

    /// The cell of a column over the panes of a window, in time order; false beside it = a value that its dtype cannot
    /// hold.
    pub fn cell<'a>(
        &self,
        column: &ColumnPlan,
        events: u64,
        panes: impl Iterator<Item = &'a [u64]> + Clone,
        side: &Side,
    ) -> (Cell, bool) {
        let part = |at: usize| {
            let part = self.parts[at];
            (part, panes.clone().map(move |words| &words[part.at..]))
        };
        let value = match column.source {
            Source::Events => return (int(events.into()).into_cell(), true),
            Source::Ratio { count, sum } => {
                let (count, sum) = (part(count).1, part(sum).1);
                match count.map(|words| words[0]).sum::<u64>() {
                    0 => Outcome::None,
                    count => Outcome::Float(float_sum(sum) / count as f64),
                }
            }
            Source::Part(at) => {
                let (part, panes) = part(at);
                part.outcome(column.function, panes, side)
            }
        };
        match value {
            Outcome::TooLarge => (Cell::Null, false),
            Outcome::Float(v) if !v.is_finite() && !column.allow_non_finite => (Cell::Null, false),
            value => (value.into_cell(), true),
        }
    }
}

/// What a function gives.
enum Outcome {
    None,
    Float(f64),
    Value(Value),
    /// Beyond int64.
    TooLarge,
}

impl Outcome {
    fn into_cell(self) -> Cell {
        match self {
            Outcome::None | Outcome::TooLarge => Cell::Null,
            // −0.0 is stored as 0.0.
            Outcome::Float(v) => Cell::Value(Value::Float64(v + 0.0)),
            Outcome::Value(value) => Cell::Value(value),
        }
    }
}

fn int(value: i128) -> Outcome {
    i64::try_from(value).map_or(Outcome::TooLarge, |value| Outcome::Value(Value::Int64(value)))
}

fn float_sum<'a>(panes: impl Iterator<Item = &'a [u64]>) -> f64 {
    let mut sum = FloatSum::default();
    panes.for_each(|words| sum.merge(load_sum(words)));
    sum.total()
}

impl Part {
    /// Takes a value of its class.
    #[inline]
    fn add(&self, words: &mut [u64], value: FieldValue<'_>, timestamp: i64, side: &mut Side) {
        match self.kind {
            Kind::Count => words[0] += 1,
            Kind::FloatSum => {
                let mut sum = load_sum(words);
                sum.add(float(value));
                words[0] = sum.sum.to_bits();
                words[1] = sum.compensation.to_bits();
            }
            Kind::IntSum => store_i128(words, load_i128(words) + i128::from(integer(value))),
            Kind::Moments => {
                let mut moments = load_moments(words);
                moments.add(float(value));
                words[0] = moments.count;
                words[1] = moments.mean.to_bits();
                words[2] = moments.squares.to_bits();
            }
            // The least of NaN and a number is the number.
            Kind::FloatMin => words[0] = f64::from_bits(words[0]).min(float(value)).to_bits(),
            Kind::FloatMax => words[0] = f64::from_bits(words[0]).max(float(value)).to_bits(),
            Kind::IntMin | Kind::IntMax => {
                let (old, new) = (words[1] as i64, integer(value));
                let better = if self.kind == Kind::IntMin { new < old } else { new > old };
                if words[0] == 0 || better {
                    words[0] = 1;
                    words[1] = new as u64;
                }
            }
            Kind::First if words[0] as i64 != NEVER && timestamp >= words[0] as i64 => {}
            Kind::Last if timestamp < words[0] as i64 => {}
            Kind::First | Kind::Last => {
                if self.class == Class::Text && words[0] as i64 != NEVER {
                    side.bytes -= side.texts.take(words[1]).len();
                }
                words[0] = timestamp as u64;
                words[1] = match value {
                    FieldValue::Text(text) => {
                        side.bytes += text.len();
                        side.texts.add(text.into())
                    }
                    FieldValue::Bool(value) => u64::from(value),
                    value if self.class == Class::Int => integer(value) as u64,
                    value => float(value).to_bits(),
                };
            }
            Kind::Distinct => {
                if words[0] == 0 {
                    words[0] = side.distincts.add(Distinct::new()) + 1;
                }
                let distinct = side.distincts.get_mut(words[0] - 1);
                let before = distinct.bytes();
                distinct.add(hash_of(value));
                side.bytes = side.bytes + distinct.bytes() - before;
            }
            Kind::Quantiles => {
                if words[0] == 0 {
                    words[0] = side.quantiles.add(Quantiles::default()) + 1;
                }
                let quantiles = side.quantiles.get_mut(words[0] - 1);
                let before = quantiles.bytes();
                quantiles.add(float(value));
                side.bytes = side.bytes + quantiles.bytes() - before;
            }
        }
    }

    fn outcome<'a>(
        &self,
        function: WindowFunction,
        panes: impl Iterator<Item = &'a [u64]> + Clone,
        side: &Side,
    ) -> Outcome {
        let float = |value: Option<f64>| value.map_or(Outcome::None, Outcome::Float);
        match self.kind {
            Kind::Count => int(panes.map(|words| i128::from(words[0])).sum()),
            Kind::FloatSum => Outcome::Float(float_sum(panes)),
            Kind::IntSum => int(panes.map(load_i128).sum()),
            Kind::Moments => {
                let mut moments = Moments::default();
                panes.for_each(|words| moments.merge(load_moments(words)));
                let variance = moments.variance();
                float(if function == WindowFunction::Stddev { variance.map(f64::sqrt) } else { variance })
            }
            Kind::FloatMin | Kind::FloatMax => {
                let better = if self.kind == Kind::FloatMin { f64::min } else { f64::max };
                let best = panes.map(|words| f64::from_bits(words[0])).fold(f64::NAN, better);
                float(Some(best).filter(|best| !best.is_nan()))
            }
            Kind::IntMin | Kind::IntMax => {
                let there = panes.filter(|words| words[0] != 0).map(|words| words[1] as i64);
                let best = if self.kind == Kind::IntMin { there.min() } else { there.max() };
                best.map_or(Outcome::None, |best| int(best.into()))
            }
            Kind::First | Kind::Last => {
                let mut there = panes.filter(|words| words[0] as i64 != NEVER);
                let chosen = if self.kind == Kind::First { there.next() } else { there.last() };
                chosen.map_or(Outcome::None, |words| match self.class {
                    Class::Text => Outcome::Value(Value::String(side.texts.get(words[1]).to_string())),
                    Class::Bool => Outcome::Value(Value::Bool(words[1] != 0)),
                    Class::Int => int((words[1] as i64).into()),
                    _ => Outcome::Float(f64::from_bits(words[1])),
                })
            }
            Kind::Distinct => {
                let there = panes.filter(|words| words[0] != 0);
                if there.clone().next().is_none() {
                    return Outcome::None;
                }
                int(Distinct::count(there.map(|words| side.distincts.get(words[0] - 1))).into())
            }
            Kind::Quantiles => {
                let WindowFunction::Percentile { quantile } = function else { return Outcome::None };
                let there = panes.filter(|words| words[0] != 0);
                float(Quantiles::quantile(there.map(|words| side.quantiles.get(words[0] - 1)), quantile))
            }
        }
    }
}

fn load_sum(words: &[u64]) -> FloatSum {
    FloatSum { sum: f64::from_bits(words[0]), compensation: f64::from_bits(words[1]) }
}

fn load_moments(words: &[u64]) -> Moments {
    Moments { count: words[0], mean: f64::from_bits(words[1]), squares: f64::from_bits(words[2]) }
}

fn load_i128(words: &[u64]) -> i128 {
    i128::from(words[0]) | (i128::from(words[1] as i64) << 64)
}

fn store_i128(words: &mut [u64], value: i128) {
    words[0] = value as u64;
    words[1] = (value >> 64) as u64;
}

fn float(value: FieldValue<'_>) -> f64 {
    match value {
        // One zero, so that equal values have equal bits.
        FieldValue::Float(value) => value + 0.0,
        FieldValue::Int(value) => value as f64,
        _ => f64::NAN,
    }
}

fn integer(value: FieldValue<'_>) -> i64 {
    if let FieldValue::Int(value) = value { value } else { 0 }
}

/// Equal values have equal hashes, `1` and `1.0` among them; values of different types differ. The same for ever: state
/// is kept with them.
fn hash_of(value: FieldValue<'_>) -> u64 {
    match value {
        FieldValue::Float(v) if v == v.trunc() && v.abs() < 9e15 => hash_of(FieldValue::Int(v as i64)),
        FieldValue::Int(v) => XxHash3_64::oneshot_with_seed(1, &v.to_le_bytes()),
        FieldValue::Float(v) => XxHash3_64::oneshot_with_seed(2, &v.to_bits().to_le_bytes()),
        FieldValue::Bool(v) => XxHash3_64::oneshot_with_seed(3, &[u8::from(v)]),
        FieldValue::Text(text) => XxHash3_64::oneshot_with_seed(4, text.as_bytes()),
        FieldValue::Missing | FieldValue::Other => 0,
    }
}
