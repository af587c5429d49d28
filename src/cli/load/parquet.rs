//! Rows out of a Parquet file, column by column.

use super::source::{Shape, SourceRow, columns};
use crate::{
    cli::file,
    error::{Error, Result},
    feature::{Dtype, Timestamp, columns::value_at},
    wire::json::parse_text,
};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Int64Type, TimeUnit},
};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::path::Path;

/// Rows decoded at once.
const BATCH_ROWS: usize = 1_024;

/// How a column is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Cell {
    /// Passed over.
    Ignored,
    /// Strings, or integers by their decimal text.
    Text,
    /// Timestamps with a time zone, rounded up as event timestamps are.
    Time,
    Value(Dtype),
    /// Integers and decimals, each judged by its digits.
    Digits(Dtype),
}

pub(in crate::cli) struct ParquetSource<S: Shape> {
    reader: ParquetRecordBatchReader,
    shape: S,
    columns: Vec<(String, S::Role, Cell)>,
    batch: RecordBatch,
    /// Row within `batch`.
    next: usize,
    /// Rows of the file before `batch`.
    before: u64,
}

impl<S: Shape> ParquetSource<S> {
    pub fn new(path: &Path, mut shape: S) -> Result<Self> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file::open_file(path)?)
            .map_err(|error| file::broken(path, error))?;
        let schema = builder.schema().clone();
        let reader =
            builder.with_batch_size(BATCH_ROWS).build().map_err(|error| file::broken(path, error))?;
        let columns = columns(&mut shape, schema.fields().iter().map(|field| field.name().clone()))?;
        let columns = columns.into_iter().zip(schema.fields()).map(|((name, role), field)| {
            let have = match field.data_type() {
                DataType::Dictionary(_, values) => values.as_ref(),
                have => have,
            };
            let cell = shape
                .cell(&name, &role, have)
                .map_err(|why| Error::invalid(&name, format!("{why}, the file holds {have}")))?;
            Ok((name, role, cell))
        });
        let columns: Vec<_> = columns.collect::<Result<_>>()?;
        Ok(Self { reader, shape, columns, batch: RecordBatch::new_empty(schema), next: 0, before: 0 })
    }

    pub fn position(&self) -> u64 {
        self.before + self.next as u64
    }

    pub fn next(&mut self) -> Result<Option<SourceRow<S::Row>>> {
        while self.next >= self.batch.num_rows() {
            self.before += self.batch.num_rows() as u64;
            self.next = 0;
            let Some(batch) = self.reader.next() else {
                self.batch = RecordBatch::new_empty(self.batch.schema());
                return Ok(None);
            };
            self.batch = self.typed(&batch.map_err(Error::internal)?)?;
        }
        let row = self.next;
        self.next += 1;
        Ok(Some(SourceRow {
            line: self.position(),
            row: self.row(row).map_err(|error| (error, String::new())),
        }))
    }

    /// Every column in the type that it is read in.
    fn typed(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.columns.iter().zip(batch.columns()).map(|((name, _, cell), column)| {
            let column = match cell {
                Cell::Ignored => return Ok((name, column.clone())),
                Cell::Value(dtype) => cast(column, &dtype.arrow()),
                Cell::Time => cast_time(column),
                Cell::Text | Cell::Digits(_) => cast(column, &DataType::Utf8),
            };
            Ok((name, column.map_err(|why| Error::invalid(name, why.to_string()))?))
        });
        RecordBatch::try_from_iter_with_nullable(
            columns.collect::<Result<Vec<_>>>()?.into_iter().map(|(name, column)| (name, column, true)),
        )
        .map_err(Error::internal)
    }

    fn row(&self, row: usize) -> Result<S::Row> {
        let mut out = self.shape.begin();
        for ((name, role, cell), column) in self.columns.iter().zip(self.batch.columns()) {
            let valid = column.is_valid(row);
            match cell {
                Cell::Ignored => {}
                Cell::Value(dtype) => {
                    let value = valid.then(|| value_at(column, row, *dtype).into_owned());
                    self.shape.put_value(&mut out, name, role, value);
                }
                Cell::Digits(dtype) => {
                    let text = if valid { column.as_string::<i32>().value(row) } else { "" };
                    let value = parse_text(text, *dtype).map_err(|error| error.within(name))?;
                    self.shape.put_value(&mut out, name, role, value);
                }
                Cell::Time => {
                    let micros = valid.then(|| column.as_primitive::<Int64Type>().value(row));
                    self.shape.put_time(&mut out, micros.and_then(Timestamp::from_micros));
                }
                Cell::Text => {
                    let text = if valid { column.as_string::<i32>().value(row) } else { "" };
                    self.shape.put_text(&mut out, name, role, text)?;
                }
            }
        }
        Ok(out)
    }
}

/// Whether a column holds text.
pub(in crate::cli) fn is_text(have: &DataType) -> bool {
    matches!(have, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Reads values of this dtype where no lossy cast is needed for that.
pub(in crate::cli) fn value_cell(dtype: Dtype, have: &DataType) -> Option<Cell> {
    // Arrow's cast rounds decimals to the digits that there is room for.
    let cell = if dtype.decimal().is_some() { Cell::Digits(dtype) } else { Cell::Value(dtype) };
    dtype.takes(have).then_some(cell)
}

fn cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    // Not "safe", which would make null of what does not fit.
    cast_with_options(column, to, &CastOptions { safe: false, ..Default::default() })
}

/// Microseconds as int64, rounded up.
fn cast_time(column: &ArrayRef) -> Result<ArrayRef, arrow::error::ArrowError> {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let nanos = cast(column, &DataType::Int64)?;
            let micros = nanos.as_primitive::<Int64Type>().unary::<_, Int64Type>(|nanos| {
                nanos.div_euclid(1_000) + i64::from(nanos.rem_euclid(1_000) != 0)
            });
            Ok(std::sync::Arc::new(micros))
        }
        DataType::Timestamp(_, zone) => {
            cast(&cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?, &DataType::Int64)
        }
        _ => cast(column, &DataType::Int64),
    }
}
