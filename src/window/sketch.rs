//! Sketches: how many distinct values, and their quantiles, in bounded space.

use datasketches::hll::{HllSketch, HllType, HllUnion};
use std::{borrow::Cow, collections::BTreeMap};

/// Distinct values counted exactly up to here.
const EXACT_MAX: usize = 1_024;
/// 2^14 registers: a standard error of 0.81 %.
const LG_REGISTERS: u8 = 14;

/// Distinct values, by their hashes of 64 bits.
///
/// Exact while there are few (a set of hashes, ascending), a HyperLogLog sketch beyond.
#[derive(Clone)]
pub enum Distinct {
    Exact(Vec<u64>),
    Sketch(Box<HllSketch>),
}

impl Distinct {
    pub fn new() -> Self {
        Distinct::Exact(Vec::new())
    }

    pub fn add(&mut self, hash: u64) {
        match self {
            Distinct::Exact(hashes) => {
                let Err(at) = hashes.binary_search(&hash) else { return };
                hashes.insert(at, hash);
                if hashes.len() > EXACT_MAX {
                    let mut sketch = new_sketch();
                    hashes.iter().for_each(|hash| sketch.update(*hash));
                    *self = Distinct::Sketch(Box::new(sketch));
                }
            }
            Distinct::Sketch(sketch) => sketch.update(hash),
        }
    }

    /// Distinct values of several parts together.
    pub fn count<'a>(parts: impl Iterator<Item = &'a Distinct> + Clone) -> u64 {
        let mut exact = Vec::new();
        let mut all_exact = true;
        for part in parts.clone() {
            match part {
                Distinct::Exact(hashes) => exact.extend_from_slice(hashes),
                Distinct::Sketch(_) => all_exact = false,
            }
        }
        exact.sort_unstable();
        exact.dedup();
        if all_exact && exact.len() <= EXACT_MAX {
            return exact.len() as u64;
        }
        let mut union = HllUnion::new(LG_REGISTERS).expect("a size that the sketch knows");
        for part in parts {
            if let Distinct::Sketch(sketch) = part {
                union.update(sketch);
            }
        }
        exact.iter().for_each(|hash| union.update_value(*hash));
        union.composite_estimate().round() as u64
    }

    pub fn bytes(&self) -> usize {
        match self {
            Distinct::Exact(hashes) => hashes.capacity() * size_of::<u64>(),
            Distinct::Sketch(sketch) => sketch.estimated_size(),
        }
    }

    /// The form that is kept: [0] and hashes, or [1] and the sketch in its own format.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Distinct::Exact(hashes) => {
                out.push(0);
                hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
            Distinct::Sketch(sketch) => {
                out.push(1);
                out.extend_from_slice(&sketch.serialize());
            }
        }
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0, hashes) => Some(Distinct::Exact(words(hashes)?)),
            (1, sketch) => Some(Distinct::Sketch(Box::new(HllSketch::deserialize(sketch).ok()?))),
            _ => None,
        }
    }
}

fn new_sketch() -> HllSketch {
    HllSketch::new(LG_REGISTERS, HllType::Hll8).expect("a size that the sketch knows")
}

fn words(bytes: &[u8]) -> Option<Vec<u64>> {
    let (words, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

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

    /// The value of the given rank (0 = least, 1 = greatest, rounded down) among several parts together.
    pub fn quantile<'a>(parts: impl Iterator<Item = &'a Quantiles>, quantile: f64) -> Option<f64> {
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
    use twox_hash::XxHash3_64;

    fn hashes(range: std::ops::Range<u64>) -> impl Iterator<Item = u64> {
        range.map(|i| XxHash3_64::oneshot(&i.to_le_bytes()))
    }

    /// Rule 13: exact below 1 000.
    #[test]
    fn few_distinct_values_are_counted_exactly() {
        let (mut left, mut right) = (Distinct::new(), Distinct::new());
        hashes(0..600).for_each(|hash| left.add(hash));
        hashes(300..999).for_each(|hash| right.add(hash));
        assert_eq!(Distinct::count([&left, &right].into_iter()), 999);
        assert_eq!(Distinct::count([&left, &left].into_iter()), 600);
    }

    /// Rule 13: a standard error of at most 1 %, over parts and sizes.
    #[test]
    fn many_distinct_values_are_estimated() {
        let (mut squares, mut trials) = (0.0, 0);
        for seed in 0..40u64 {
            for size in [1_100u64, 2_000, 5_000, 20_000, 60_000] {
                let start = seed << 32;
                let mut parts = vec![Distinct::new(); 3];
                for (i, hash) in hashes(start..start + size).enumerate() {
                    parts[i % 3].add(hash);
                    parts[(i + 1) % 3].add(hash);
                }
                let error = Distinct::count(parts.iter()) as f64 / size as f64 - 1.0;
                squares += error * error;
                trials += 1;
            }
        }
        let standard_error = (squares / f64::from(trials)).sqrt();
        assert!(standard_error <= 0.01, "{standard_error}");
    }

    #[test]
    fn sketches_come_back_as_they_were() {
        for size in [0, 10, 1_024, 1_025, 30_000] {
            let mut distinct = Distinct::new();
            hashes(0..size).for_each(|hash| distinct.add(hash));
            let mut bytes = Vec::new();
            distinct.encode(&mut bytes);
            let mut back = Distinct::decode(&bytes).unwrap();
            for hash in hashes(size..size + 500) {
                distinct.add(hash);
                back.add(hash);
            }
            let mut other = Distinct::new();
            hashes(700..4_000).for_each(|hash| other.add(hash));
            for others in [vec![], vec![&other]] {
                let count = |own| Distinct::count([own].into_iter().chain(others.iter().copied()));
                assert_eq!(count(&distinct), count(&back), "{size}");
            }
        }
    }

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
