//! How the values of columns are spread, by hour of event time: the question, the answer, and how rows add up to it.

use super::GroupRead;
use crate::feature::Timestamp;

/// An hour in microseconds.
const HOUR: i64 = 3_600_000_000;
/// Sums are kept scaled down by this, exactly: so a sum of finite numbers is finite, however great they are.
const SCALE: f64 = 1.0 / (1_u64 << 40) as f64;

/// Which columns of a group to sum up, over which span of event time. Who asks bounds the hours in it.
#[derive(Clone, Debug)]
pub struct StatisticsQuery {
    pub read: GroupRead,
    /// Inclusive.
    pub from: Timestamp,
    /// Exclusive.
    pub to: Timestamp,
}

/// One column over a span.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnStatistics {
    pub total: Statistics,
    /// The hours that have rows, oldest first, by their beginnings. The first and the last are cut where the span is.
    pub hours: Vec<(Timestamp, Statistics)>,
}

/// Of the newest row of each (entity, event timestamp). Rows that leave the column out are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    pub rows: u64,
    pub nulls: u64,
    pub distinct_entities: u64,
    /// None = there was no finite number: of other dtypes there never is.
    pub numbers: Option<Numbers>,
    /// None = there is no row.
    pub newest: Option<Timestamp>,
}

/// Of finite numbers; int64 as the nearest double.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Numbers {
    pub min: f64,
    pub max: f64,
    pub mean: f64,
}

/// What a row says in one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said {
    Null,
    /// Anything but a number.
    Value,
    Number(f64),
}

/// Adds up one column while a store walks its rows, all rows of an entity together.
#[derive(Debug)]
pub struct Tally {
    total: Bucket,
    hours: Vec<Bucket>,
    /// Counted in hours from the Unix epoch.
    first_hour: i64,
}

#[derive(Clone, Debug)]
struct Bucket {
    rows: u64,
    nulls: u64,
    entities: u64,
    /// The last entity counted.
    entity: Option<u64>,
    newest: i64,
    numbers: u64,
    min: f64,
    max: f64,
    /// Scaled, and compensated by Neumaier's summation.
    sum: f64,
    carry: f64,
}

impl Tally {
    /// Of a span that is not empty.
    pub fn new(query: &StatisticsQuery) -> Self {
        let first_hour = query.from.micros().div_euclid(HOUR);
        let last_hour = (query.to.micros() - 1).div_euclid(HOUR);
        let hours = usize::try_from(last_hour - first_hour + 1).unwrap_or_default();
        Self { total: Bucket::EMPTY, hours: vec![Bucket::EMPTY; hours], first_hour }
    }

    /// Adds a row of the entity of this number, at a moment within the span.
    pub fn add(&mut self, entity: u64, event: i64, said: Said) {
        self.total.add(entity, event, said);
        self.hours[(event.div_euclid(HOUR) - self.first_hour) as usize].add(entity, event, said);
    }

    pub fn finish(self) -> ColumnStatistics {
        let hours = self.hours.iter().zip(self.first_hour..).filter(|(bucket, _)| bucket.rows > 0);
        let hours = hours.map(|(bucket, hour)| (Timestamp::from_stored(hour * HOUR), bucket.finish()));
        ColumnStatistics { total: self.total.finish(), hours: hours.collect() }
    }
}

impl Bucket {
    const EMPTY: Self = Self {
        rows: 0,
        nulls: 0,
        entities: 0,
        entity: None,
        newest: i64::MIN,
        numbers: 0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        sum: 0.0,
        carry: 0.0,
    };

    fn add(&mut self, entity: u64, event: i64, said: Said) {
        self.rows += 1;
        self.entities += u64::from(self.entity.replace(entity) != Some(entity));
        self.newest = self.newest.max(event);
        match said {
            Said::Null => self.nulls += 1,
            Said::Number(number) if number.is_finite() => {
                self.numbers += 1;
                self.min = self.min.min(number);
                self.max = self.max.max(number);
                let number = number * SCALE;
                let sum = self.sum + number;
                self.carry += match self.sum.abs() >= number.abs() {
                    true => (self.sum - sum) + number,
                    false => (number - sum) + self.sum,
                };
                self.sum = sum;
            }
            Said::Number(_) | Said::Value => {}
        }
    }

    fn finish(&self) -> Statistics {
        let mean = || (self.sum + self.carry) / self.numbers as f64 / SCALE;
        Statistics {
            rows: self.rows,
            nulls: self.nulls,
            distinct_entities: self.entities,
            numbers: (self.numbers > 0).then(|| Numbers { min: self.min, max: self.max, mean: mean() }),
            newest: (self.rows > 0).then(|| Timestamp::from_stored(self.newest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::{EntityTypeId, RowId, RowSchema};
    use std::sync::Arc;

    fn tally(from: i64, to: i64) -> Tally {
        let group = Arc::new(RowSchema {
            id: RowId::from_stored(1),
            entity_type: EntityTypeId::from_stored(1),
            windowed: false,
            columns: vec![],
        });
        let read = GroupRead { group, columns: vec![0] };
        let (from, to) = (Timestamp::from_stored(from), Timestamp::from_stored(to));
        Tally::new(&StatisticsQuery { read, from, to })
    }

    #[test]
    fn hours_are_cut_at_whole_hours_before_and_after_the_epoch() {
        let mut tally = tally(-HOUR - 1, HOUR + 1);
        for event in [-HOUR - 1, -HOUR, -1, 0, HOUR - 1, HOUR] {
            tally.add(1, event, Said::Value);
        }
        let found = tally.finish();
        let hours: Vec<_> = found.hours.iter().map(|(hour, of)| (hour.micros() / HOUR, of.rows)).collect();
        assert_eq!(hours, [(-2, 1), (-1, 2), (0, 2), (1, 1)]);
        assert_eq!((found.total.rows, found.total.distinct_entities, found.total.numbers), (6, 1, None));
        assert_eq!(found.total.newest, Some(Timestamp::from_stored(HOUR)));
    }

    #[test]
    fn means_hold_where_sums_would_not() {
        for (numbers, mean) in [
            (vec![f64::MAX, f64::MAX, f64::MAX], f64::MAX),
            (vec![f64::MAX, 1.0, -f64::MAX], 1.0 / 3.0),
            (vec![f64::NAN, 2.0, f64::INFINITY], 2.0),
            (vec![0.1; 10], 0.1),
        ] {
            let mut tally = tally(0, 1);
            numbers.iter().for_each(|number| tally.add(1, 0, Said::Number(*number)));
            assert_eq!(tally.finish().total.numbers.unwrap().mean, mean, "{numbers:?}");
        }
        let mut tally = tally(0, 1);
        tally.add(1, 0, Said::Number(f64::NAN));
        assert_eq!(tally.finish().total.numbers, None);
    }
}
