//! Sketches: what a pane keeps of its values where a few words do not hold it.
//!
//! All kinds of sketch have one life: made by a pane's first value, merged with those of the window's other panes, saved
//! and loaded. So a new kind is an arm of each match here, a file beside this one, and nothing in the rest of `window`.

mod distinct;
mod quantiles;
mod topk;

use super::{layout::Class, outcome::Outcome, value::float};
use crate::{event::FieldValue, feature::WindowFunction};
use distinct::Distinct;
use quantiles::Quantiles;
use topk::TopK;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SketchKind {
    Distinct,
    Quantiles,
    TopK,
}

/// A sketch of one pane.
pub enum Sketch {
    Distinct(Distinct),
    Quantiles(Quantiles),
    TopK(TopK),
}

impl Sketch {
    pub fn new(kind: SketchKind) -> Self {
        match kind {
            SketchKind::Distinct => Sketch::Distinct(Distinct::new()),
            SketchKind::Quantiles => Sketch::Quantiles(Quantiles::default()),
            SketchKind::TopK => Sketch::TopK(TopK::default()),
        }
    }

    /// Takes a value of this class.
    pub fn add(&mut self, class: Class, value: FieldValue<'_>) {
        match self {
            Sketch::Distinct(distinct) => distinct.add(value),
            Sketch::Quantiles(quantiles) => quantiles.add(float(value)),
            Sketch::TopK(topk) => topk.add(class, value),
        }
    }

    /// What a function gives of sketches of one kind together, in time order.
    pub fn outcome<'a>(
        function: WindowFunction,
        class: Class,
        parts: impl Iterator<Item = &'a Sketch> + Clone,
    ) -> Outcome {
        /// The sketches within, all of one kind.
        macro_rules! of {
            ($kind:ident) => {
                parts.filter_map(|part| if let Sketch::$kind(part) = part { Some(part) } else { None })
            };
        }
        match (parts.clone().next(), function) {
            (Some(Sketch::Distinct(_)), _) => Distinct::outcome(of!(Distinct)),
            (Some(Sketch::Quantiles(_)), WindowFunction::Percentile { quantile }) => {
                Quantiles::outcome(of!(Quantiles), quantile)
            }
            (Some(Sketch::TopK(_)), WindowFunction::TopK { k, counts }) => {
                TopK::outcome(of!(TopK), class, k as usize, counts)
            }
            _ => Outcome::None,
        }
    }

    /// What it takes beyond its own size.
    pub fn bytes(&self) -> usize {
        match self {
            Sketch::Distinct(distinct) => distinct.bytes(),
            Sketch::Quantiles(quantiles) => quantiles.bytes(),
            Sketch::TopK(topk) => topk.bytes(),
        }
    }

    /// The form that is kept; its length is kept beside it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Sketch::Distinct(distinct) => distinct.encode(out),
            Sketch::Quantiles(quantiles) => quantiles.encode(out),
            Sketch::TopK(topk) => topk.encode(out),
        }
    }

    /// None = damaged.
    pub fn decode(kind: SketchKind, bytes: &[u8]) -> Option<Self> {
        Some(match kind {
            SketchKind::Distinct => Sketch::Distinct(Distinct::decode(bytes)?),
            SketchKind::Quantiles => Sketch::Quantiles(Quantiles::decode(bytes)?),
            SketchKind::TopK => Sketch::TopK(TopK::decode(bytes)?),
        })
    }
}

fn words(bytes: &[u8]) -> Option<Vec<u64>> {
    let (words, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}
