//! How many distinct values there are, in bounded space.

use super::words;
use crate::{event::FieldValue, window::outcome::Outcome};
use datasketches::hll::{HllSketch, HllType, HllUnion};
use twox_hash::XxHash3_64;

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

    pub fn add(&mut self, value: FieldValue<'_>) {
        self.add_hash(hash_of(value));
    }

    fn add_hash(&mut self, hash: u64) {
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

    pub fn outcome<'a>(parts: impl Iterator<Item = &'a Distinct> + Clone) -> Outcome {
        Outcome::int(Distinct::count(parts).into())
    }

    /// Distinct values of several parts together.
    fn count<'a>(parts: impl Iterator<Item = &'a Distinct> + Clone) -> u64 {
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

/// Equal values have equal hashes, `1` and `1.0` among them; values of different types differ. The same for ever: state
/// is kept with them.
fn hash_of(value: FieldValue<'_>) -> u64 {
    match value {
        FieldValue::Float(v) if v == v.trunc() && v.abs() < 9e15 => hash_of(FieldValue::Int(v as i64)),
        FieldValue::Int(v) => XxHash3_64::oneshot_with_seed(1, &v.to_le_bytes()),
        FieldValue::Float(v) => XxHash3_64::oneshot_with_seed(2, &v.to_bits().to_le_bytes()),
        FieldValue::Digits(text, double) => hash_of_digits(text, double),
        FieldValue::Bool(v) => XxHash3_64::oneshot_with_seed(3, &[u8::from(v)]),
        FieldValue::Text(text) => XxHash3_64::oneshot_with_seed(4, text.as_bytes()),
        FieldValue::Missing | FieldValue::Time(_) | FieldValue::Other => 0,
    }
}

/// As that of the double, where the double says the number exactly; else of the digits, without the zeros around them.
fn hash_of_digits(text: &str, double: f64) -> u64 {
    let exact = Normal::of(text);
    if exact == Normal::of(&format!("{double:e}")) {
        return hash_of(FieldValue::Float(double));
    }
    let Normal { negative, digits, exponent } = exact;
    XxHash3_64::oneshot_with_seed(5, format!("{negative} {digits}e{exponent}").as_bytes())
}

/// A number by its digits, the last of them no zero, and the power of ten of the last.
#[derive(PartialEq)]
struct Normal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Normal {
    fn of(text: &str) -> Self {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let all: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        let digits = all.trim_end_matches('0');
        let exponent =
            exponent.parse::<i64>().unwrap_or(0) + (all.len() - digits.len()) as i64 - fraction as i64;
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Self { negative: false, digits, exponent: 0 };
        }
        Self { negative, digits, exponent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(range: std::ops::Range<u64>) -> impl Iterator<Item = u64> {
        range.map(|i| XxHash3_64::oneshot(&i.to_le_bytes()))
    }

    /// However a number is written, and with all its digits.
    #[test]
    fn equal_numbers_have_equal_hashes() {
        let of = |text: &str| hash_of(FieldValue::Digits(text, text.parse::<f64>().unwrap() + 0.0));
        assert_eq!(of("1.0000000000000000"), hash_of(FieldValue::Int(1)));
        assert_eq!(of("-0.0000000000000000"), hash_of(FieldValue::Int(0)));
        assert_eq!(of("0e9"), hash_of(FieldValue::Int(0)));
        assert_eq!(of("0.30000000000000004"), hash_of(FieldValue::Float(0.30000000000000004)));
        assert_eq!(of("0.1000000000000000000"), hash_of(FieldValue::Float(0.1)));
        assert_eq!(of("12345678901234567890"), of("1.234567890123456789e19"));
        assert_ne!(of("12345678901234567890"), of("12345678901234567891"));
        assert_ne!(of("0.100000000000000001"), hash_of(FieldValue::Float(0.1)));
    }

    /// Rule 13: exact below 1 000.
    #[test]
    fn few_distinct_values_are_counted_exactly() {
        let (mut left, mut right) = (Distinct::new(), Distinct::new());
        hashes(0..600).for_each(|hash| left.add_hash(hash));
        hashes(300..999).for_each(|hash| right.add_hash(hash));
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
                    parts[i % 3].add_hash(hash);
                    parts[(i + 1) % 3].add_hash(hash);
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
            hashes(0..size).for_each(|hash| distinct.add_hash(hash));
            let mut bytes = Vec::new();
            distinct.encode(&mut bytes);
            let mut back = Distinct::decode(&bytes).unwrap();
            for hash in hashes(size..size + 500) {
                distinct.add_hash(hash);
                back.add_hash(hash);
            }
            let mut other = Distinct::new();
            hashes(700..4_000).for_each(|hash| other.add_hash(hash));
            for others in [vec![], vec![&other]] {
                let count = |own| Distinct::count([own].into_iter().chain(others.iter().copied()));
                assert_eq!(count(&distinct), count(&back), "{size}");
            }
        }
    }
}
