//! What becomes of a cell: found, given, young enough, null?

use super::AnswerColumn;
use crate::{
    feature::{AgeLimit, CellStatus, Column, ColumnBuilder, Value},
    store::NO_ROW,
};
use arrow::{
    array::{Array, ArrayRef, BooleanArray, Scalar, UInt32Array},
    buffer::{BooleanBuffer, NullBuffer, ScalarBuffer},
    compute,
    error::ArrowError,
};

/// One feature's cells with all that judges them, by position.
pub(super) struct Cells<'a> {
    pub column: Column,
    /// The chosen rows' event timestamps, or `NO_ROW`.
    pub events: &'a ScalarBuffer<i64>,
    /// The moments that the cells are asked for.
    pub times: &'a ScalarBuffer<i64>,
    pub age_limit: AgeLimit,
}

impl Cells<'_> {
    pub fn answer(self, default: Option<&Value>, statuses: bool) -> Result<AnswerColumn, ArrowError> {
        let stale = self.stale();
        let statuses = statuses.then(|| self.statuses(stale.as_ref()));
        let mut values = self.column.values;
        if let Some(stale) = stale {
            values = blank(&values, &stale)?;
        }
        if let Some(default) = default.filter(|_| values.null_count() > 0) {
            values = fill(&values, default)?;
        }
        Ok(AnswerColumn { values, statuses })
    }

    /// Bit set = the row is too old. None = no row is.
    fn stale(&self) -> Option<BooleanBuffer> {
        if self.age_limit == AgeLimit::UNBOUNDED {
            return None;
        }
        let too_old = |row: usize| {
            let event = self.events[row];
            event != NO_ROW && !self.age_limit.admits(event, self.times[row])
        };
        let stale = BooleanBuffer::collect_bool(self.events.len(), too_old);
        (stale.count_set_bits() > 0).then_some(stale)
    }

    fn statuses(&self, stale: Option<&BooleanBuffer>) -> ScalarBuffer<u8> {
        let status = |row: usize| {
            let fresh = !stale.is_some_and(|stale| stale.value(row));
            CellStatus::judge(self.column.state(row), fresh) as u8
        };
        (0..self.events.len()).map(status).collect()
    }
}

/// Empties cells, so that no trace of a stale value stays behind its null.
fn blank(values: &ArrayRef, stale: &BooleanBuffer) -> Result<ArrayRef, ArrowError> {
    let rows = (0..values.len() as u32).collect::<ScalarBuffer<u32>>();
    let rows = UInt32Array::new(rows, Some(NullBuffer::new(!stale)));
    compute::take(values, &rows, None)
}

/// Puts the default into null cells.
fn fill(values: &ArrayRef, default: &Value) -> Result<ArrayRef, ArrowError> {
    let mut one = ColumnBuilder::new(default.dtype(), 1);
    one.push_value(default);
    let given = BooleanArray::new(
        values.nulls().map_or_else(|| BooleanBuffer::new_set(values.len()), |nulls| nulls.inner().clone()),
        None,
    );
    compute::kernels::zip::zip(&given, values, &Scalar::new(one.finish().values))
}
