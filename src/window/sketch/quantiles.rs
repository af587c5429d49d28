//! Quantiles of values, in space that grows with how far apart they are, not with how many there are.

use super::words;
use crate::window::outcome::Outcome;
use std::{borrow::Cow, collections::BTreeMap};

/// Relative error of a quantile's value, a little below the 1 % that is promised.
const ACCURACY: f64 = 0.0099;
/// Keys of positive values lie above this one, those of negative values below its negative; zero is 0.
const KEY_OFFSET: i64 = 1 << 17;
/// A bin is its key, biased, above its count.
const COUNT_BITS: u32 = 40;
const KEY_BIAS: i64 = 1 << 20;

/// Quantiles with a bounded relative error of the value: DDSketch (<https://arxiv.org/abs/1908.10693>).
///
/// Bins are sparse (a pane of one entity rarely holds many), over the whole range of doubles, and never collapse.
#[derive(Clone, Default)]
pub struct Quantiles {
    /// Ascending; one word each.
    bins: Vec<u64>,
}

impl Quantiles {
    pub fn add(&mut self, value: f64) {
        self.add_bin(key_of(value), 1);
    }

    fn add_bin(&mut self, key: i64, count: u64) {
        let low = ((key + KEY_BIAS) as u64) << COUNT_BITS;
        let at = self.bins.partition_point(|bin| *bin < low);
        match self.bins.get_mut(at) {
            Some(bin) if *bin >> COUNT_BITS == low >> COUNT_BITS => *bin += count,
            _ => self.bins.insert(at, low + count),
        }
    }

    pub fn outcome<'a>(parts: impl Iterator<Item = &'a Quantiles>, quantile: f64) -> Outcome {
        Quantiles::quantile(parts, quantile).map_or(Outcome::None, Outcome::Float)
    }

    /// The value of the given rank (0 = least, 1 = greatest, rounded down) among several parts together.
    fn quantile<'a>(parts: impl Iterator<Item = &'a Quantiles>, quantile: f64) -> Option<f64> {
        let mut parts = parts.filter(|part| !part.bins.is_empty());
        let first = parts.next()?;
        let second = parts.next();
        let bins: Cow<'_, [u64]> = match second {
            None => Cow::Borrowed(&first.bins),
            Some(_) => {
                let mut merged = BTreeMap::new();
                for part in [first].into_iter().chain(second).chain(parts) {
                    for bin in &part.bins {
                        *merged.entry(bin >> COUNT_BITS).or_insert(0) += count_of(*bin);
                    }
                }
                Cow::Owned(merged.into_iter().map(|(key, count)| (key << COUNT_BITS) + count).collect())
            }
        };
        let total: u64 = bins.iter().copied().map(count_of).sum();
        let rank = (quantile * (total - 1) as f64).floor() as u64;
        let mut below = 0;
        for bin in &*bins {
            below += count_of(*bin);
            if below > rank {
                return Some(value_of((bin >> COUNT_BITS) as i64 - KEY_BIAS));
            }
        }
        None
    }

    pub fn bytes(&self) -> usize {
        self.bins.capacity() * size_of::<u64>()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        self.bins.iter().for_each(|bin| out.extend_from_slice(&bin.to_le_bytes()));
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { bins: words(bytes)? })
    }
}

fn count_of(bin: u64) -> u64 {
    bin & ((1 << COUNT_BITS) - 1)
}

/// ln of the ratio of neighbouring bins.
fn ln_gamma() -> f64 {
    ((1.0 + ACCURACY) / (1.0 - ACCURACY)).ln()
}

fn key_of(value: f64) -> i64 {
    if value == 0.0 {
        return 0;
    }
    let bin = (value.abs().ln() / ln_gamma()).ceil() as i64 + KEY_OFFSET;
    if value > 0.0 { bin } else { -bin }
}

fn value_of(key: i64) -> f64 {
    if key == 0 {
        return 0.0;
    }
    let exponent = (key.abs() - KEY_OFFSET) as f64 * ln_gamma();
    // 2 γ^i / (γ + 1), without leaving the doubles on the way.
    let middle = (exponent - ((ln_gamma().exp() + 1.0) / 2.0).ln()).exp().min(f64::MAX);
    if key > 0 { middle } else { -middle }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule 13: relative value error ≤ 1 %, over all doubles.
    #[test]
    fn quantiles_within_their_error() {
        let mut values: Vec<f64> = Vec::new();
        for exponent in (-300..=300).step_by(7) {
            values.extend([1.0, 2.7, -3.3].map(|v| v * 10f64.powi(exponent)));
        }
        values.extend([0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324]);
        let mut parts = vec![Quantiles::default(); 4];
        values.iter().enumerate().for_each(|(i, value)| parts[i % 4].add(*value));
        values.sort_by(f64::total_cmp);
        for step in 0..=1_000 {
            let q = f64::from(step) / 1_000.0;
            let expected = values[(q * (values.len() - 1) as f64).floor() as usize];
            let got = Quantiles::quantile(parts.iter(), q).unwrap();
            let error = if expected == 0.0 { got.abs() } else { (got / expected - 1.0).abs() };
            // The least double of all has no neighbour within 1 %.
            assert!(error <= 0.01 || expected.abs() < 1e-307, "{q}: {expected} {got}");
        }
    }
}
