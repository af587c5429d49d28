//! Moments and spans, in UTC microseconds.
//!
//! Input finer than a microsecond is rounded before any store sees it: event timestamps up, `as_of` down. Left to the
//! stores, one would round and the next truncate, and two stores would give two answers.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A moment: microseconds since the Unix epoch, between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Which way input finer than a microsecond goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// For event timestamps: nothing becomes true earlier than it was said to.
    Up,
    /// For `as_of` and everything that asks: nothing is seen before it was true.
    Down,
}

impl Timestamp {
    pub const MIN: Timestamp = Timestamp(-62_135_596_800_000_000);
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999_999);

    /// Microseconds since the Unix epoch; `None` outside the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }

    /// For micros that a store of ours wrote: they were checked on their way in.
    pub const fn from_stored(micros: i64) -> Self {
        Self(micros)
    }

    /// Seconds and nanoseconds as in protobuf; nanoseconds count forward, 0 to 999 999 999.
    pub fn from_seconds_nanos(seconds: i64, nanos: i32, round: Round) -> Result<Self, String> {
        if !(0..1_000_000_000).contains(&nanos) {
            return Err(format!("nanoseconds must lie in 0 to 999999999, not {nanos}"));
        }
        let up = i64::from(round == Round::Up && nanos % 1_000 != 0);
        seconds
            .checked_mul(1_000_000)
            .and_then(|micros| micros.checked_add(i64::from(nanos / 1_000) + up))
            .and_then(Self::from_micros)
            .ok_or_else(|| {
                format!("{seconds} s is outside the years 1 to 9999 (were milliseconds sent as seconds?)")
            })
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    pub const fn subsec_nanos(self) -> i32 {
        (self.0.rem_euclid(1_000_000) * 1_000) as i32
    }

    /// Parses RFC 3339 with an offset.
    pub fn parse(text: &str, round: Round) -> Result<Self, String> {
        parse_rfc3339(text, round).ok_or_else(|| {
            format!("{text:?} is not an RFC 3339 timestamp with an offset, such as 2024-01-15T14:22:00Z")
        })
    }

    /// Appends what `Display` shows. Answers hold a timestamp for each cell, so this is worth doing by hand.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        let days = self.0.div_euclid(DAY_MICROS);
        let within_day = self.0.rem_euclid(DAY_MICROS);
        let (year, month, day) = civil_from_days(days);
        let seconds = within_day / 1_000_000;
        let micros = within_day % 1_000_000;
        let parts = [
            (year, 4, b'-'),
            (month, 2, b'-'),
            (day, 2, b'T'),
            (seconds / 3_600, 2, b':'),
            (seconds / 60 % 60, 2, b':'),
            (seconds % 60, 2, b'.'),
        ];
        for (number, digits, separator) in parts {
            write_digits(number, digits, out);
            out.push(separator);
        }
        match micros {
            0 => drop(out.pop()),
            _ if micros % 1_000 == 0 => write_digits(micros / 1_000, 3, out),
            _ => write_digits(micros, 6, out),
        }
        out.push(b'Z');
    }

    /// This moment moved by `micros`, held within the years 1 to 9999.
    pub fn saturating_add(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros).clamp(Self::MIN.0, Self::MAX.0))
    }
}

const DAY_MICROS: i64 = 86_400_000_000;

/// Year, month and day of a day counted from the Unix epoch, by Howard Hinnant's algorithm
/// (<https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`], by the same author
/// (<https://howardhinnant.github.io/date_algorithms.html#days_from_civil>).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn write_digits(number: i64, digits: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + digits, b'0');
    let mut rest = number;
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn parse_rfc3339(text: &str, round: Round) -> Option<Timestamp> {
    let b = text.as_bytes();
    // Without loops and bounds: every event has one of these.
    let (fixed, mut rest) = b.split_first_chunk::<19>()?;
    let digit = |at: usize| u32::from(fixed[at].wrapping_sub(b'0'));
    let are_digits = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18].iter().all(|at| digit(*at) < 10);
    let separators = [fixed[4], fixed[7], fixed[10] & !0x20, fixed[13], fixed[16]];
    (are_digits && separators == *b"--T::").then_some(())?;
    let two = |at: usize| digit(at) * 10 + digit(at + 1);
    let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
    let (hour, minute, second) = (two(11), two(14), two(17));
    let (mut fraction, mut finer) = (0, false);
    if let Some(after) = rest.strip_prefix(b".") {
        let len = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (len > 0).then_some(())?;
        for place in 0..6 {
            fraction = fraction * 10 + after[..len].get(place).map_or(0, |d| i64::from(d - b'0'));
        }
        finer = after[..len].iter().skip(6).any(|d| *d != b'0');
        rest = &after[len..];
    }
    let offset_minutes = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|d| d.is_ascii_digit()) =>
        {
            let hours = i64::from(h1 - b'0') * 10 + i64::from(h2 - b'0');
            let minutes = i64::from(m1 - b'0') * 10 + i64::from(m2 - b'0');
            (hours < 24 && minutes < 60).then_some(())?;
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    // A leap second (`:60`) has no place on a scale of 86 400 s a day.
    let is_sound = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    is_sound.then_some(())?;
    let within_day = i64::from(hour * 3_600 + minute * 60 + second);
    let days = days_from_civil(i64::from(year), i64::from(month), i64::from(day));
    let seconds = days * 86_400 + within_day - offset_minutes * 60;
    let up = i64::from(finer && round == Round::Up);
    Timestamp::from_micros(seconds * 1_000_000 + fraction + up)
}

/// RFC 3339 in UTC with as many fraction digits as needed: 0, 3 or 6.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(27);
        self.write_rfc3339(&mut text);
        f.write_str(std::str::from_utf8(&text).expect("digits and separators"))
    }
}

/// A span of time in microseconds, never negative. Text is `90s`, `5m`, `1h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(i64);

const UNITS: [(&str, i64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Duration {
    /// Protobuf's own bound: 10 000 years.
    pub const MAX: Duration = Duration(315_576_000_000_000_000);

    /// None if it is negative or over [`Duration::MAX`].
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if 0 <= micros && micros <= Self::MAX.0 { Some(Self(micros)) } else { None }
    }

    pub const fn from_secs(seconds: u32) -> Self {
        Self(seconds as i64 * 1_000_000)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// For people, in its two largest units: `3d 4h`. What is less than a second is left out.
    pub fn rough(self) -> String {
        let seconds = self.0 / 1_000_000;
        let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
        let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
        let (size, unit) = units[first];
        let mut text = format!("{}{unit}", seconds / size);
        if let Some((next, unit)) = units.get(first + 1)
            && seconds % size >= *next
        {
            text.push_str(&format!(" {}{unit}", seconds % size / next));
        }
        text
    }

    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0 as u64)
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a duration such as 90s, 5m, 1h or 7d");
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
        let (number, unit) = text.split_at(split);
        let scale = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?.1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty()
            || whole.len() > 15
            || (number.contains('.') && (fraction.is_empty() || unit != "s"))
        {
            return Err(refused());
        }
        if fraction.len() > 9 || fraction.bytes().skip(6).any(|digit| digit != b'0') {
            return Err(format!("{text:?} is finer than a microsecond"));
        }
        let whole: i64 = whole.parse().map_err(|_| refused())?;
        let fraction: i64 =
            format!("{:0<6}", &fraction[..fraction.len().min(6)]).parse().map_err(|_| refused())?;
        let micros = whole.checked_mul(scale).and_then(|micros| micros.checked_add(fraction));
        micros.and_then(Self::from_micros).ok_or_else(refused)
    }
}

/// The largest unit that divides it.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, scale) = match self.0 {
            0 => ("s", 1),
            micros => *UNITS.iter().find(|(_, scale)| micros % scale == 0).expect("1 µs divides everything"),
        };
        write!(f, "{}{unit}", self.0 / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc3339_in_and_out() {
        for (input, output) in [
            ("2024-01-15T14:22:00Z", "2024-01-15T14:22:00Z"),
            ("2024-01-15T14:22:00.5+01:00", "2024-01-15T13:22:00.500Z"),
            ("1969-12-31T23:59:59.000001Z", "1969-12-31T23:59:59.000001Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp::parse(input, Round::Down).unwrap().to_string(), output);
        }
    }

    proptest! {
        #[test]
        fn text_is_what_chrono_writes(micros in Timestamp::MIN.micros()..=Timestamp::MAX.micros()) {
            let timestamp = Timestamp::from_stored(micros);
            let text = timestamp.to_string();
            let chrono = chrono::DateTime::from_timestamp_micros(micros).unwrap();
            prop_assert_eq!(&text, &chrono.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
            prop_assert_eq!(Timestamp::parse(&text, Round::Down).unwrap(), timestamp);
        }
    }

    #[test]
    fn finer_than_a_microsecond_goes_up_or_down() {
        let up = Timestamp::parse("1970-01-01T00:00:00.0000001Z", Round::Up).unwrap();
        let down = Timestamp::parse("1970-01-01T00:00:00.0000019Z", Round::Down).unwrap();
        assert_eq!((up.micros(), down.micros()), (1, 1));
        assert_eq!(Timestamp::from_seconds_nanos(-1, 1, Round::Up).unwrap().micros(), -999_999);
        assert_eq!(Timestamp::from_seconds_nanos(-1, 1_999, Round::Down).unwrap().micros(), -999_999);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "2024-01-15T14:22:00",
            "2024-01-15",
            "2024-01-15T14:22:60Z",
            "2016-12-31T23:59:60Z",
            "infinity",
            "",
            "10000-01-01T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "2024-01-15 14:22:00Z",
            "2024-01-15T14:22:00.Z",
            "2024-01-15T14:22:00+24:00",
            "2024-01-15T14:22:00Z ",
            "+2024-01-15T14:22:00Z",
            "1705328520000",
            "9999-12-31T23:59:59-01:00",
            "2024-01-15T14:22Z",
            "2024-01-15T14:22:00é",
        ] {
            assert!(Timestamp::parse(text, Round::Down).is_err(), "{text:?}");
        }
        assert!(Timestamp::parse("9999-12-31T23:59:59.9999991Z", Round::Up).is_err());
        assert!(Timestamp::from_seconds_nanos(1_705_328_520_000, 0, Round::Up).is_err());
        assert!(Timestamp::from_seconds_nanos(0, 1_000_000_000, Round::Up).is_err());
        assert!(Timestamp::from_seconds_nanos(0, -1, Round::Up).is_err());
    }

    #[test]
    fn durations_go_out_in_the_largest_unit() {
        for (input, output) in [
            ("3600s", "1h"),
            ("90s", "90s"),
            ("24h", "1d"),
            ("0s", "0s"),
            ("1500ms", "1500ms"),
            ("0.5s", "500ms"),
            ("1.000001s", "1000001us"),
        ] {
            assert_eq!(input.parse::<Duration>().unwrap().to_string(), output);
        }
        for text in [
            "",
            "5",
            "m",
            "-5m",
            "1.5h",
            "5 m",
            "1w",
            "5M",
            "0.0000001s",
            "99999999999999999d",
            "315576000001s",
            "1.s",
            "1.2.3s",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text:?}");
        }
    }
}
