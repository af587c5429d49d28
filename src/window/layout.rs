//! Which words a pane keeps of each entity, and which of them a column needs.

#![deny(clippy::wildcard_enum_match_arm)]

use super::{WindowFeature, sketch::SketchKind};
use crate::{
    event::FieldValue,
    feature::{Dtype, Round, Timestamp, WindowFunction},
};

/// Values that an accumulator takes; others do not count for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Whatever is there.
    Any,
    /// Whatever can be told apart: not objects and arrays.
    Scalar,
    Int,
    /// Any number.
    Float,
    Text,
    Bool,
    /// A timestamp, or a text that is one.
    Time,
    /// What `topk` can count: bool, int64 and text.
    Countable,
}

impl Class {
    #[inline]
    pub fn takes(self, value: FieldValue<'_>) -> bool {
        use FieldValue::*;
        match self {
            Class::Any => !matches!(value, Missing),
            Class::Scalar => matches!(value, Int(_) | Float(_) | Digits(..) | Bool(_) | Text(_)),
            Class::Int => matches!(value, Int(_)),
            Class::Float => matches!(value, Int(_) | Float(_) | Digits(..)),
            Class::Text => matches!(value, Text(_)),
            Class::Bool => matches!(value, Bool(_)),
            Class::Time => time(value).is_some(),
            Class::Countable => matches!(value, Int(_) | Bool(_) | Text(_)),
        }
    }

    fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::Int64 => Class::Int,
            Dtype::String => Class::Text,
            Dtype::Bool => Class::Bool,
            Dtype::Float64 => Class::Float,
            Dtype::Timestamp => Class::Time,
            Dtype::Json => Class::Countable,
            Dtype::List(element) => Class::of(element.dtype()),
            // No function gives these (`WindowFunction::check`).
            Dtype::Float32 | Dtype::Bytes | Dtype::Decimal(_) => Class::Float,
        }
    }
}

/// An accumulator by what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [count]
    Count,
    /// [sum, compensation]
    FloatSum,
    /// [low, high] of 128 bits
    IntSum,
    /// [count, mean, squares]
    Moments,
    /// [value], NaN = none
    FloatMin,
    FloatMax,
    /// [1 = there, value]
    IntMin,
    IntMax,
    /// [event timestamp or NEVER, bits of the value or place of the text]
    First,
    Last,
    /// [place of the sketch + 1, 0 = none]
    Sketch(SketchKind),
}

impl Kind {
    /// The words of an accumulator that took nothing.
    pub fn empty(self) -> &'static [u64] {
        match self {
            Kind::Count | Kind::Sketch(_) => &[0],
            Kind::FloatSum | Kind::IntSum | Kind::IntMin | Kind::IntMax => &[0; 2],
            Kind::Moments => &[0; 3],
            Kind::FloatMin | Kind::FloatMax => &[NAN_BITS],
            Kind::First | Kind::Last => &[super::clock::NEVER as u64, 0],
        }
    }

    pub fn words(self) -> usize {
        self.empty().len()
    }
}

/// The moment that a value is.
pub fn time(value: FieldValue<'_>) -> Option<Timestamp> {
    match value {
        FieldValue::Time(time) => Some(time),
        FieldValue::Text(text) => Timestamp::parse(text, Round::Down).ok(),
        FieldValue::Missing
        | FieldValue::Int(_)
        | FieldValue::Float(_)
        | FieldValue::Digits(..)
        | FieldValue::Bool(_)
        | FieldValue::Other => None,
    }
}

/// The NaN that stands for no value.
pub const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// One accumulator of a pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Position in the source's fields.
    pub field: usize,
    pub class: Class,
    pub kind: Kind,
    /// Its first word.
    pub at: usize,
}

/// How a column's cell comes from parts, by their positions in the layout.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    Events,
    Part(usize),
    /// A mean: of a count and a sum.
    Ratio {
        count: usize,
        sum: usize,
    },
}

impl Source {
    /// The part that sees the column's values.
    pub fn part(self) -> Option<usize> {
        match self {
            Source::Events => None,
            Source::Part(part) | Source::Ratio { count: part, .. } => Some(part),
        }
    }
}

/// One column of a group.
#[derive(Clone, Copy, Debug)]
pub struct ColumnPlan {
    pub source: Source,
    pub function: WindowFunction,
    pub allow_non_finite: bool,
}

/// Which events a group counts: groups that take the same share their panes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takes {
    All,
    /// Events with a fitting value in one of these fields; ordered.
    Any(Vec<(usize, Class)>),
}

impl Takes {
    #[inline]
    pub fn takes(&self, values: &[FieldValue<'_>]) -> bool {
        match self {
            Takes::All => true,
            Takes::Any(fields) => fields
                .iter()
                .any(|(field, class)| class.takes(*values.get(*field).unwrap_or(&FieldValue::Missing))),
        }
    }
}

/// All accumulators of a pane. It grows only while no pane stands on it.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub parts: Vec<Part>,
    pub words: usize,
}

impl Layout {
    /// Plans the columns of a group whose features read `fields` (one for each; ignored without a field), adding the
    /// accumulators that are missing.
    pub fn plan(&mut self, features: &[WindowFeature], fields: &[usize]) -> Vec<ColumnPlan> {
        features
            .iter()
            .zip(fields)
            .map(|(feature, field)| ColumnPlan {
                source: self.source(feature, *field),
                function: feature.function,
                allow_non_finite: feature.allow_non_finite,
            })
            .collect()
    }

    fn source(&mut self, feature: &WindowFeature, field: usize) -> Source {
        use WindowFunction::*;
        let own = Class::of(feature.dtype);
        let int = own == Class::Int;
        let (class, kind) = match feature.function {
            Count if feature.field.is_none() => return Source::Events,
            Count => (Class::Any, Kind::Count),
            Mean => {
                let count = self.part(field, Class::Float, Kind::Count);
                return Source::Ratio { count, sum: self.part(field, Class::Float, Kind::FloatSum) };
            }
            Sum => (own, if int { Kind::IntSum } else { Kind::FloatSum }),
            Min => (own, if int { Kind::IntMin } else { Kind::FloatMin }),
            Max => (own, if int { Kind::IntMax } else { Kind::FloatMax }),
            Stddev | Variance => (Class::Float, Kind::Moments),
            First => (own, Kind::First),
            Last => (own, Kind::Last),
            ApproxDistinct => (Class::Scalar, Kind::Sketch(SketchKind::Distinct)),
            Percentile { .. } => (Class::Float, Kind::Sketch(SketchKind::Quantiles)),
            TopK { .. } => (own, Kind::Sketch(SketchKind::TopK)),
        };
        Source::Part(self.part(field, class, kind))
    }

    fn part(&mut self, field: usize, class: Class, kind: Kind) -> usize {
        let same = |part: &Part| (part.field, part.class, part.kind) == (field, class, kind);
        self.parts.iter().position(same).unwrap_or_else(|| {
            self.parts.push(Part { field, class, kind, at: self.words });
            self.words += kind.words();
            self.parts.len() - 1
        })
    }
}

/// The values that a feature counts; None = every event.
pub fn class(feature: &WindowFeature) -> Option<Class> {
    match feature.function {
        WindowFunction::Count if feature.field.is_none() => None,
        WindowFunction::Count => Some(Class::Any),
        WindowFunction::ApproxDistinct => Some(Class::Scalar),
        WindowFunction::Mean
        | WindowFunction::Stddev
        | WindowFunction::Variance
        | WindowFunction::Percentile { .. } => Some(Class::Float),
        WindowFunction::Sum
        | WindowFunction::Min
        | WindowFunction::Max
        | WindowFunction::First
        | WindowFunction::Last
        | WindowFunction::TopK { .. } => Some(Class::of(feature.dtype)),
    }
}

/// What the features of a group take.
pub fn takes(features: &[WindowFeature], fields: &[usize]) -> Takes {
    let mut any = Vec::new();
    for (feature, field) in features.iter().zip(fields) {
        match class(feature) {
            None => return Takes::All,
            Some(class) => any.push((*field, class)),
        }
    }
    any.sort_unstable();
    any.dedup();
    Takes::Any(any)
}
