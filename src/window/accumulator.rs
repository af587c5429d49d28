//! Accumulators: what a pane's words become with each event, and what the words of a window's panes mean together.

use super::{
    clock::NEVER,
    layout::{Class, ColumnPlan, Kind, Layout, Part, Source},
    outcome::Outcome,
    sketch::Sketch,
    sum::{FloatSum, Moments},
    value::{float, integer},
};
use crate::{
    event::FieldValue,
    feature::{Cell, Value, WindowFunction},
};
use slab::Slab;

/// What does not fit into words: texts and sketches, by their places.
#[derive(Default)]
pub struct Side {
    pub texts: Slab<Box<str>>,
    pub sketches: Slab<Sketch>,
    /// Bytes behind the places.
    pub bytes: usize,
}

impl Side {
    pub fn bytes(&self) -> usize {
        self.bytes
            + self.texts.capacity() * size_of::<Option<Box<str>>>()
            + self.sketches.capacity() * size_of::<Option<Sketch>>()
    }

    /// Keeps a text; answers its place.
    pub fn add_text(&mut self, text: &str) -> u64 {
        self.bytes += text.len();
        self.texts.insert(text.into()) as u64
    }

    fn remove_text(&mut self, place: u64) {
        self.bytes -= self.texts.remove(place as usize).len();
    }

    /// Keeps a sketch; answers its word.
    pub fn add_sketch(&mut self, sketch: Sketch) -> u64 {
        self.bytes += sketch.bytes();
        self.sketches.insert(sketch) as u64 + 1
    }

    /// The sketch of a word; None = there is none.
    pub fn sketch(&self, word: u64) -> Option<&Sketch> {
        (word != 0).then(|| &self.sketches[word as usize - 1])
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
            match part.kind {
                Kind::First | Kind::Last if part.class == Class::Text && words[0] != NEVER as u64 => {
                    side.remove_text(words[1]);
                }
                Kind::Sketch(_) if words[0] != 0 => {
                    side.bytes -= side.sketches.remove(words[0] as usize - 1).bytes();
                }
                _ => {}
            }
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
            Source::Events => return (Outcome::int(events.into()).into_cell(), true),
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
                    side.remove_text(words[1]);
                }
                words[0] = timestamp as u64;
                words[1] = match value {
                    FieldValue::Text(text) => side.add_text(text),
                    FieldValue::Bool(value) => u64::from(value),
                    value if self.class == Class::Int => integer(value) as u64,
                    value => float(value).to_bits(),
                };
            }
            Kind::Sketch(kind) => {
                if words[0] == 0 {
                    words[0] = side.add_sketch(Sketch::new(kind));
                }
                let sketch = &mut side.sketches[words[0] as usize - 1];
                let before = sketch.bytes();
                sketch.add(self.class, value);
                side.bytes = side.bytes + sketch.bytes() - before;
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
            Kind::Count => Outcome::int(panes.map(|words| i128::from(words[0])).sum()),
            Kind::FloatSum => Outcome::Float(float_sum(panes)),
            Kind::IntSum => Outcome::int(panes.map(load_i128).sum()),
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
                best.map_or(Outcome::None, |best| Outcome::int(best.into()))
            }
            Kind::First | Kind::Last => {
                let mut there = panes.filter(|words| words[0] as i64 != NEVER);
                let chosen = if self.kind == Kind::First { there.next() } else { there.last() };
                chosen.map_or(Outcome::None, |words| match self.class {
                    Class::Text => Outcome::Value(Value::String(side.texts[words[1] as usize].to_string())),
                    Class::Bool => Outcome::Value(Value::Bool(words[1] != 0)),
                    Class::Int => Outcome::int((words[1] as i64).into()),
                    _ => Outcome::Float(f64::from_bits(words[1])),
                })
            }
            Kind::Sketch(_) => {
                Sketch::outcome(function, self.class, panes.filter_map(|words| side.sketch(words[0])))
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
