//! Decimals: exact numbers with a fixed count of digits after the point.
//!
//! A decimal is its unscaled integer: 1.10 of `decimal(4,2)` is 110. It is read from text by its value: trailing zeros
//! never count, exponents do, and what does not fit is refused. Nothing here passes through a double.

use super::json::short;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most digits of a decimal: what 128 bits hold.
pub const PRECISION_MAX: u8 = 38;

/// `decimal(P,S)`: at most P digits, S of them after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u8, u8)", into = "(u8, u8)")]
pub struct DecimalType {
    precision: u8,
    scale: u8,
}

impl DecimalType {
    /// 1 ≤ precision ≤ 38, scale ≤ precision.
    pub fn new(precision: u32, scale: u32) -> Result<Self, String> {
        match (u8::try_from(precision), u8::try_from(scale)) {
            (Ok(precision @ 1..=PRECISION_MAX), Ok(scale)) if scale <= precision => {
                Ok(Self { precision, scale })
            }
            _ => Err(format!(
                "decimal({precision},{scale}) is not a dtype: a decimal has 1 to {PRECISION_MAX} digits, and at most so \
                 many after the point; decimal(18,2) has two of 18 there"
            )),
        }
    }

    /// Reads `12,2`, what stands in the parentheses.
    pub fn from_parameters(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.trim().parse::<u32>() {
            Ok(number) if !text.trim().starts_with('+') => Some(number),
            _ => None,
        };
        let numbers = text.split_once(',').and_then(|(p, s)| Some((number(p)?, number(s)?)));
        match numbers {
            Some((precision, scale)) => Self::new(precision, scale),
            None => Err(format!(
                "decimal({text}) is not a dtype; write its digits and how many of them stand after the point, such as \
                 decimal(18,2)"
            )),
        }
    }

    pub fn precision(self) -> u8 {
        self.precision
    }

    pub fn scale(self) -> u8 {
        self.scale
    }

    /// As many digits as there can be, and after the point as many as the text has: what a number shows of its type by
    /// itself, with room for the next one. `None` = no decimal holds it.
    pub fn shown_by(text: &str) -> Option<Self> {
        let digits = Digits::read(text)?;
        let written = text.split_once('.').map_or(0, |(_, fraction)| fraction.len() as u64);
        let scale = if text.contains(['e', 'E']) { digits.fraction() } else { written };
        Self::new(PRECISION_MAX.into(), u32::try_from(scale).ok()?).ok()
    }
}

impl fmt::Display for DecimalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "decimal({},{})", self.precision, self.scale)
    }
}

impl TryFrom<(u8, u8)> for DecimalType {
    type Error = String;

    fn try_from((precision, scale): (u8, u8)) -> Result<Self, String> {
        Self::new(precision.into(), scale.into())
    }
}

impl From<DecimalType> for (u8, u8) {
    fn from(of: DecimalType) -> Self {
        (of.precision, of.scale)
    }
}

/// A value of a [`DecimalType`]. Equal values of one type have equal integers; there is no negative zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(String, DecimalType)", into = "(String, DecimalType)")]
// Packed to eight bytes: sixteen would make every `Value` half as large again.
#[repr(Rust, packed(8))]
pub struct Decimal {
    unscaled: i128,
    of: DecimalType,
}

impl Decimal {
    /// A decimal by its unscaled integer; `None` = it has more digits than its type.
    pub fn new(unscaled: i128, of: DecimalType) -> Option<Self> {
        let fits = unscaled.unsigned_abs() < 10_u128.pow(of.precision.into());
        fits.then_some(Self { unscaled, of })
    }

    /// What a store wrote; it was judged on its way in.
    pub fn from_stored(unscaled: i128, of: DecimalType) -> Self {
        Self { unscaled, of }
    }

    /// Reads digits with or without a point and an exponent.
    pub fn parse(text: &str, of: DecimalType) -> Result<Self, String> {
        let digits = Digits::read(text).ok_or_else(|| format!("{:?} is not a number", short(text)))?;
        let (whole, fraction) = (digits.whole(), digits.fraction());
        let (precision, scale) = (u64::from(of.precision), u64::from(of.scale));
        if fraction > scale {
            let text = short(text);
            return Err(format!(
                "{text} has more digits after the point ({fraction}) than {of} has room for ({scale})"
            ));
        }
        if whole > precision - scale {
            let (text, room) = (short(text), precision - scale);
            return Err(format!(
                "{text} has more digits before the point ({whole}) than {of} has room for ({room})"
            ));
        }
        // At most 38 digits, so neither the digits nor the product is beyond 128 bits.
        let zeros = i64::from(of.scale) + digits.exponent;
        let unscaled = digits.significant().fold(0_i128, |sum, digit| 10 * sum + i128::from(digit - b'0'))
            * 10_i128.pow(if digits.is_zero() { 0 } else { zeros as u32 });
        Ok(Self { unscaled: if digits.negative { -unscaled } else { unscaled }, of })
    }

    pub fn unscaled(self) -> i128 {
        self.unscaled
    }

    pub fn of(self) -> DecimalType {
        self.of
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }
}

/// All digits after the point are written: `1.10`.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unscaled, scale) = (self.unscaled, usize::from(self.of.scale));
        let sign = if unscaled < 0 { "-" } else { "" };
        let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
        match digits.split_at(digits.len() - scale) {
            (whole, "") => write!(f, "{sign}{whole}"),
            (whole, fraction) => write!(f, "{sign}{whole}.{fraction}"),
        }
    }
}

impl TryFrom<(String, DecimalType)> for Decimal {
    type Error = String;

    fn try_from((text, of): (String, DecimalType)) -> Result<Self, String> {
        Self::parse(&text, of)
    }
}

impl From<Decimal> for (String, DecimalType) {
    fn from(value: Decimal) -> Self {
        (value.to_string(), value.of)
    }
}

/// A number's text, taken apart: the value is its significant digits times ten to the power of `exponent`.
struct Digits<'a> {
    negative: bool,
    /// Around the point, without the zeros at either end of the number.
    parts: [&'a [u8]; 2],
    exponent: i64,
}

impl<'a> Digits<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (number, exponent) = match rest.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, read_exponent(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let mut parts = [whole.as_bytes(), fraction.as_bytes()];
        let mut exponent = exponent.saturating_sub(fraction.len() as i64);
        if fraction.is_empty() {
            let short = whole.trim_end_matches('0');
            exponent = exponent.saturating_add((whole.len() - short.len()) as i64);
            parts[0] = short.as_bytes();
        }
        if whole.is_empty() {
            parts[1] = fraction.trim_start_matches('0').as_bytes();
        }
        Some(Self { negative, parts, exponent })
    }

    fn significant(&self) -> impl Iterator<Item = u8> {
        self.parts.into_iter().flatten().copied()
    }

    fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }

    fn is_zero(&self) -> bool {
        self.len() == 0
    }

    /// Digits before the point.
    fn whole(&self) -> u64 {
        match self.is_zero() {
            true => 0,
            false => (self.exponent.saturating_add(self.len() as i64)).max(0) as u64,
        }
    }

    /// Digits after the point.
    fn fraction(&self) -> u64 {
        if self.is_zero() { 0 } else { self.exponent.saturating_neg().max(0) as u64 }
    }
}

/// However large, an exponent is a number: with zero before it, it changes nothing.
fn read_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    const BEYOND: i64 = 1 << 40;
    let size = digits.iter().fold(0, |sum: i64, digit| (10 * sum + i64::from(digit - b'0')).min(BEYOND));
    Some(if negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(precision: u32, scale: u32) -> DecimalType {
        DecimalType::new(precision, scale).unwrap()
    }

    #[test]
    fn texts_are_judged_by_their_value() {
        let nines = "9".repeat(38);
        let small = format!("0.{}", "9".repeat(38));
        let zeros = format!("1.1{}", "0".repeat(60_000));
        for (text, type_, out) in [
            ("1.1", (4, 1), "1.1"),
            ("1.100", (4, 1), "1.1"),
            ("1.1E0", (4, 1), "1.1"),
            ("11e-1", (4, 1), "1.1"),
            (zeros.as_str(), (2, 1), "1.1"),
            ("7", (4, 2), "7.00"),
            ("00007", (1, 0), "7"),
            ("5.", (1, 0), "5"),
            (".5", (1, 1), "0.5"),
            ("100e-2", (1, 0), "1"),
            ("1e3", (4, 0), "1000"),
            ("-0", (4, 2), "0.00"),
            ("-0.0e5", (4, 2), "0.00"),
            ("0e99999999999999999999", (1, 0), "0"),
            ("0e-99999999999999999999", (1, 0), "0"),
            ("-12.5", (3, 1), "-12.5"),
            ("0.05", (2, 2), "0.05"),
            (nines.as_str(), (38, 0), nines.as_str()),
            (small.as_str(), (38, 38), small.as_str()),
        ] {
            let (p, s) = type_;
            assert_eq!(Decimal::parse(text, of(p, s)).map(|v| v.to_string()), Ok(out.to_owned()), "{text}");
        }
        for (text, type_, why) in [
            ("1.15", (4, 1), "1.15 has more digits after the point (2) than decimal(4,1) has room for (1)"),
            ("1234", (4, 1), "1234 has more digits before the point (4) than decimal(4,1) has room for (3)"),
            ("1", (2, 2), "1 has more digits before the point (1) than decimal(2,2) has room for (0)"),
            (
                "1e-40",
                (38, 38),
                "1e-40 has more digits after the point (40) than decimal(38,38) has room for (38)",
            ),
            ("1e99999999999999999999", (38, 0), "before the point"),
            ("1e-99999999999999999999", (38, 0), "after the point"),
            ("", (4, 1), "\"\" is not a number"),
            (".", (4, 1), "is not a number"),
            ("+1", (4, 1), "is not a number"),
            ("1e", (4, 1), "is not a number"),
            ("1e+", (4, 1), "is not a number"),
            ("1 ", (4, 1), "is not a number"),
            ("--1", (4, 1), "is not a number"),
            ("1.2.3", (4, 1), "is not a number"),
            ("NaN", (4, 1), "is not a number"),
            ("٣", (4, 1), "is not a number"),
        ] {
            let (p, s) = type_;
            let refused = Decimal::parse(text, of(p, s)).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn types_at_their_bounds() {
        for (text, fits) in [
            ("1,0", true),
            ("38,38", true),
            ("38, 0", true),
            ("0,0", false),
            ("39,0", false),
            ("4,5", false),
            ("4", false),
            ("+4,1", false),
            ("4,-1", false),
            ("260,1", false),
        ] {
            assert_eq!(DecimalType::from_parameters(text).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn a_number_shows_its_digits() {
        for (text, shown) in [
            ("1.10", Some("decimal(38,2)")),
            ("-7", Some("decimal(38,0)")),
            ("1.10e1", Some("decimal(38,0)")),
            ("15e-3", Some("decimal(38,3)")),
            ("1e-39", None),
            ("x", None),
        ] {
            assert_eq!(DecimalType::shown_by(text).map(|of| of.to_string()).as_deref(), shown, "{text}");
        }
    }

    proptest! {
        /// Against texts alone: digits are moved about, nothing is computed.
        #[test]
        fn any_spelling_of_a_value_is_the_value(
            whole in "[1-9][0-9]{0,18}|",
            fraction in "[0-9]{0,18}[1-9]|",
            negative in any::<bool>(),
            zeros in (0_usize..5, 0_usize..5),
            shift in -40_i32..40,
            extra in 0_u32..2,
        ) {
            let sign = if negative { "-" } else { "" };
            let (p, s) = (whole.len() + fraction.len(), fraction.len());
            let type_ = of(((p as u32).max(1) + extra).min(38), s as u32);
            let plain = format!("{sign}{whole}{}{fraction}", if s > 0 { "." } else { "" });
            // The same with its point elsewhere, and an exponent that puts it back.
            let digits = format!("{:0>45}{:0<45}", whole, fraction);
            let point = (45 + shift) as usize;
            let (left, right) = digits.split_at(point);
            let spelt = format!(
                "{sign}{}{left}.{right}{}e{}", "0".repeat(zeros.0), "0".repeat(zeros.1), -shift
            );
            let value = Decimal::parse(&spelt, type_).unwrap();
            let is_zero = p == 0;
            let shown = if whole.is_empty() {
                plain.replacen(sign, "", 1).split('.').nth(1).map_or("0".into(), |f| format!("0.{f}"))
            } else {
                plain.replacen(sign, "", 1)
            };
            let shown = if negative && !is_zero { format!("-{shown}") } else { shown };
            prop_assert_eq!(value.to_string(), shown);
            if !plain.is_empty() && plain != "-" {
                prop_assert_eq!(Decimal::parse(&plain, type_).unwrap(), value);
            }
            prop_assert_eq!(Decimal::new(value.unscaled(), type_), Some(value));
            // One digit less on either side of the point has no room for it.
            if s > 0 {
                prop_assert!(Decimal::parse(&spelt, of(38, s as u32 - 1)).is_err());
            }
            if whole.len() > 1 {
                prop_assert!(Decimal::parse(&spelt, of(p as u32 - 1, s as u32)).is_err());
            }
        }

        #[test]
        fn stored_and_shown_and_back(unscaled in any::<i128>(), p in 1_u32..=38, s in 0_u32..=38) {
            let type_ = of(p, s.min(p));
            let unscaled = unscaled % 10_i128.pow(p);
            let value = Decimal::new(unscaled, type_).unwrap();
            prop_assert_eq!(Decimal::parse(&value.to_string(), type_), Ok(value));
            let json = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Decimal>(&json).unwrap(), value);
            let packed = rmp_serde::to_vec(&value).unwrap();
            prop_assert_eq!(rmp_serde::from_slice::<Decimal>(&packed).unwrap(), value);
        }

        #[test]
        fn any_text_is_taken_or_refused(text in any::<String>(), p in 1_u32..=38, s in 0_u32..=38) {
            if let Ok(value) = Decimal::parse(&text, of(p, s.min(p))) {
                prop_assert!(Decimal::new(value.unscaled(), value.of()).is_some());
            }
        }
    }
}
