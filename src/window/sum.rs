//! Sums that lose next to nothing.

/// A sum with its running compensation, by Neumaier's variant of Kahan's algorithm
/// (<https://doi.org/10.1002/zamm.19740540106>).
#[derive(Clone, Copy, Debug, Default)]
pub struct FloatSum {
    pub sum: f64,
    pub compensation: f64,
}

impl FloatSum {
    #[inline]
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.compensation +=
            if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        self.sum = sum;
    }

    /// Adds a later sum.
    pub fn merge(&mut self, later: Self) {
        self.add(later.sum);
        self.compensation += later.compensation;
    }

    /// Infinite, or not a number, where the sum left the finite numbers.
    pub fn total(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.compensation } else { self.sum }
    }
}

/// Count, mean and sum of squared distances from it, by Welford's algorithm; merged by Chan's
/// (<https://doi.org/10.1007/978-3-642-51461-6_3>).
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    pub count: u64,
    pub mean: f64,
    pub squares: f64,
}

impl Moments {
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
    }

    pub fn merge(&mut self, later: Self) {
        if self.count == 0 || later.count == 0 {
            if self.count == 0 {
                *self = later;
            }
            return;
        }
        let (own, other) = (self.count as f64, later.count as f64);
        let distance = later.mean - self.mean;
        self.count += later.count;
        let all = self.count as f64;
        self.mean += distance * (other / all);
        self.squares += later.squares + distance * distance * (own * other / all);
    }

    /// Of a sample: divided by n − 1; none below two values.
    pub fn variance(self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cancels_is_not_lost() {
        let mut early = FloatSum::default();
        [1e100, 1.0].into_iter().for_each(|value| early.add(value));
        let mut late = FloatSum::default();
        [1.0, -1e100].into_iter().for_each(|value| late.add(value));
        early.merge(late);
        assert_eq!(early.total(), 2.0);
    }

    #[test]
    fn moments_far_from_zero() {
        let values: Vec<f64> = (0..1_000).map(|i| 1e9 + f64::from(i)).collect();
        let mut merged = Moments::default();
        for part in values.chunks(7) {
            let mut moments = Moments::default();
            part.iter().for_each(|value| moments.add(*value));
            merged.merge(moments);
        }
        let expected = 1_000.0 * 1_001.0 / 12.0;
        assert!((merged.variance().unwrap() / expected - 1.0).abs() < 1e-9);
    }
}
