//! Rows in batches of one size and one schema, whatever the pieces were.

use super::{Rows, arrow_out::metadata, infer::Columnizer};
use crate::{
    error::{Error, Result},
    serving::training::{Answer, Joiner, Spine, TrainingSet},
};
use arrow::{
    array::{Array, RecordBatch, StringArray},
    compute::concat_batches,
};
use std::{collections::VecDeque, mem};

/// The first rows that decide on the columns of JSON rows: at most so many, of at most so many bytes.
const INFER_ROWS: usize = 65_536;
const INFER_BYTES: usize = 16 << 20;
/// Cells and rows of a batch of a file.
const BATCH_CELLS: usize = 1 << 21;
const BATCH_ROWS_MAX: usize = 65_536;
const BATCH_ROWS_MIN: usize = 1_024;

/// Rows in batches of one fixed size, however they came.
pub(super) struct Rebatch {
    rows_max: usize,
    pending: VecDeque<RecordBatch>,
    rows: usize,
}

impl Rebatch {
    pub fn new(rows_max: usize) -> Self {
        Self { rows_max, pending: VecDeque::new(), rows: 0 }
    }

    pub fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.pending.push_back(batch);
    }

    /// The next full batch.
    pub fn full(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows < self.rows_max { Ok(None) } else { self.take(self.rows_max) }
    }

    /// Whatever is left; with nothing at all an empty batch, if the schema is known.
    pub fn rest(&mut self) -> Result<Option<RecordBatch>> {
        self.take(self.rows)
    }

    fn take(&mut self, count: usize) -> Result<Option<RecordBatch>> {
        let (mut taken, mut missing) = (Vec::new(), count);
        while let Some(batch) = self.pending.pop_front() {
            let rows = missing.min(batch.num_rows());
            if rows < batch.num_rows() {
                self.pending.push_front(batch.slice(rows, batch.num_rows() - rows));
            }
            if rows > 0 || taken.is_empty() {
                taken.push(batch.slice(0, rows));
            }
            missing -= rows;
            if missing == 0 && count > 0 {
                break;
            }
        }
        self.rows -= count - missing;
        match &taken[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            [first, ..] => concat_batches(first.schema_ref(), &taken).map(Some).map_err(Error::internal),
        }
    }
}

/// Rows on their way into a file: batches of one size and one schema, whatever the pieces were.
pub(super) struct FileRows {
    pub joiner: Joiner,
    columnizer: Columnizer,
    features: usize,
    /// JSON rows that came before enough were there to know their columns.
    undecided: VecDeque<(StringArray, Spine, Answer)>,
    decided: bool,
    batches: Option<Rebatch>,
}

impl FileRows {
    pub fn new(set: &TrainingSet, details: bool) -> Self {
        let plan = set.plan().clone();
        Self {
            features: plan.features.len() * if details { 3 } else { 1 },
            joiner: Joiner::new(plan, details, metadata(set)),
            columnizer: Columnizer::default(),
            undecided: VecDeque::new(),
            decided: false,
            batches: None,
        }
    }

    pub fn push(&mut self, rows: Rows, spine: &Spine, answer: Answer) -> Result<()> {
        match rows {
            Rows::Json(texts) if !self.decided => {
                self.undecided.push_back((texts, spine.clone(), answer));
                let rows: usize = self.undecided.iter().map(|(texts, ..)| texts.len()).sum();
                let bytes: usize = self.undecided.iter().map(|(texts, ..)| texts.value_data().len()).sum();
                if rows >= INFER_ROWS || bytes >= INFER_BYTES { self.decide() } else { Ok(()) }
            }
            rows => self.join(rows, spine, &answer),
        }
    }

    pub fn finish(&mut self) -> Result<()> {
        if self.decided { Ok(()) } else { self.decide() }
    }

    /// The next batch that is full, or whatever is left at the end.
    pub fn batch(&mut self, at_end: bool) -> Result<Option<RecordBatch>> {
        let Some(batches) = &mut self.batches else { return Ok(None) };
        match batches.full()? {
            None if at_end => batches.rest(),
            full => Ok(full),
        }
    }

    fn decide(&mut self) -> Result<()> {
        self.decided = true;
        let undecided = mem::take(&mut self.undecided);
        if let Some((_, spine, _)) = undecided.front() {
            let (mut rows, mut bytes) = (0, 0);
            // Counted row by row, so that the same spine has the same columns however it came.
            let first = undecided.iter().flat_map(|(texts, ..)| texts.iter().flatten()).take_while(|text| {
                rows += 1;
                bytes += text.len();
                rows == 1 || (rows <= INFER_ROWS && bytes <= INFER_BYTES)
            });
            self.columnizer.infer_json(first, &spine.names.time)?;
        }
        for (texts, spine, answer) in undecided {
            self.join(Rows::Json(texts), &spine, &answer)?;
        }
        Ok(())
    }

    fn join(&mut self, rows: Rows, spine: &Spine, answer: &Answer) -> Result<()> {
        let mut at = 0;
        for batch in self.columnizer.batches(rows, spine)? {
            let cells = batch.num_columns() + self.features;
            let batches = self.batches.get_or_insert_with(|| {
                let rows_max = (BATCH_CELLS / cells.max(1)).max(1).ilog2();
                Rebatch::new((1 << rows_max).clamp(BATCH_ROWS_MIN, BATCH_ROWS_MAX))
            });
            batches.push(self.joiner.join(&batch, answer, at)?);
            at += batch.num_rows();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    fn batch(range: std::ops::Range<i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(range));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn batches_of_one_size_however_rows_came() {
        let cut = |sizes: &[i64]| {
            let mut rebatch = Rebatch::new(4);
            let (mut at, mut out) = (0, Vec::new());
            for size in sizes {
                rebatch.push(batch(at..at + size));
                at += size;
                while let Some(full) = rebatch.full().unwrap() {
                    out.push(full);
                }
            }
            out.extend(rebatch.rest().unwrap());
            out
        };
        let expected = cut(&[10]);
        assert_eq!(expected.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [4, 4, 2]);
        for sizes in [&[1; 10][..], &[3, 3, 3, 1], &[0, 4, 0, 4, 2], &[9, 1]] {
            assert_eq!(cut(sizes), expected);
        }
        assert_eq!(cut(&[0])[0].num_rows(), 0);
        assert!(cut(&[]).is_empty());
    }
}
