//! What becomes of a cell that was asked for: one rule, online and in training sets.

use super::{Duration, row::CellState};

/// What became of a cell. Names and numbers are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CellStatus {
    /// The value is there.
    Present = 1,
    /// Null was written.
    NullValue = 2,
    /// Never written: no row, or a row that leaves the feature out.
    NotFound = 3,
    /// Written, and too old to be served.
    OutsideMaxAge = 4,
    /// It could not be read.
    Error = 5,
}

impl CellStatus {
    /// Of a cell in the row that was chosen for it.
    pub fn judge(state: CellState, fresh: bool) -> Self {
        match (state, fresh) {
            (CellState::LeftOut, _) => Self::NotFound,
            (_, false) => Self::OutsideMaxAge,
            (CellState::Null, true) => Self::NullValue,
            (CellState::Value, true) => Self::Present,
        }
    }

    /// The status that bears a number of the contract.
    pub fn from_number(number: u8) -> Option<Self> {
        let all = [Self::Present, Self::NullValue, Self::NotFound, Self::OutsideMaxAge, Self::Error];
        all.into_iter().find(|status| *status as u8 == number)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::NullValue => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::OutsideMaxAge => "OUTSIDE_MAX_AGE",
            Self::Error => "ERROR",
        }
    }
}

/// How old a value may be when it is served: min(ttl, the request's `max_age`), else unbounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgeLimit {
    micros: i64,
}

impl AgeLimit {
    pub const UNBOUNDED: Self = Self { micros: i64::MAX };

    pub fn new(limit: Option<Duration>) -> Self {
        Self { micros: limit.map_or(i64::MAX, Duration::micros) }
    }

    /// Whether a row that was true at `event` is served as of `as_of` (UTC µs): `as_of − limit < event`.
    pub fn admits(self, event: i64, as_of: i64) -> bool {
        as_of.saturating_sub(event) < self.micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Timestamp;

    #[test]
    fn the_limit_itself_is_too_old() {
        let limit = AgeLimit::new(Some(Duration::from_secs(60)));
        assert!(limit.admits(1, 60_000_000));
        assert!(!limit.admits(0, 60_000_000));
        assert!(!AgeLimit::new(Some(Duration::from_secs(0))).admits(7, 7));
        assert!(AgeLimit::UNBOUNDED.admits(Timestamp::MIN.micros(), Timestamp::MAX.micros()));
    }
}
