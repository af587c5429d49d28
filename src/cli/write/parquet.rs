//! Rows out of a Parquet file, column by column.

use super::{
    roles::{Role, Roles},
    source::{SourceRow, check_columns, put_text, put_value},
};
use crate::{
    cli::file,
    error::{Error, Result},
    feature::{Dtype, Element, Timestamp, columns::value_at},
    wire::{proto::FeatureRow, value::timestamp_to},
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

pub(super) struct ParquetSource {
    reader: ParquetRecordBatchReader,
    columns: Vec<(String, Role)>,
    batch: RecordBatch,
    /// Row within `batch`.
    next: usize,
    /// Rows of the file before `batch`.
    before: u64,
}

impl ParquetSource {
    pub fn new(path: &Path, roles: &mut Roles) -> Result<Self> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file::open_file(path)?)
            .map_err(|error| file::broken(path, error))?;
        let schema = builder.schema().clone();
        let reader =
            builder.with_batch_size(BATCH_ROWS).build().map_err(|error| file::broken(path, error))?;
        let columns = schema.fields().iter().map(|field| {
            let role = roles.of(field.name())?;
            check_type(&role, field.data_type()).map_err(|why| Error::invalid(field.name(), why))?;
            Ok((field.name().clone(), role))
        });
        let columns: Vec<_> = columns.collect::<Result<_>>()?;
        check_columns(&columns)?;
        Ok(Self { reader, columns, batch: RecordBatch::new_empty(schema), next: 0, before: 0 })
    }

    pub fn position(&self) -> u64 {
        self.before + self.next as u64
    }

    pub fn next(&mut self) -> Result<Option<SourceRow>> {
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

    /// Every column in the type of its role.
    fn typed(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.columns.iter().zip(batch.columns()).map(|((name, role), column)| {
            let column = match role {
                Role::Ignored => return Ok((name, column.clone())),
                Role::Feature(dtype) => cast(column, &dtype.arrow()),
                Role::Time => cast_time(column),
                Role::EntityId | Role::EntityType | Role::Key(_) => cast(column, &DataType::Utf8),
            };
            Ok((name, column.map_err(|why| Error::invalid(name, why.to_string()))?))
        });
        RecordBatch::try_from_iter_with_nullable(
            columns.collect::<Result<Vec<_>>>()?.into_iter().map(|(name, column)| (name, column, true)),
        )
        .map_err(Error::internal)
    }

    fn row(&self, row: usize) -> Result<FeatureRow> {
        let mut out = FeatureRow::default();
        for ((name, role), column) in self.columns.iter().zip(self.batch.columns()) {
            match role {
                Role::Ignored => {}
                Role::Feature(dtype) => {
                    put_value(&mut out, name, column.is_valid(row).then(|| value_at(column, row, *dtype)));
                }
                Role::Time if column.data_type() == &DataType::Int64 => {
                    let at = column.is_valid(row).then(|| column.as_primitive::<Int64Type>().value(row));
                    let at = at.and_then(Timestamp::from_micros);
                    out.event_timestamp = at.map(timestamp_to);
                }
                role => {
                    let text = if column.is_valid(row) { column.as_string::<i32>().value(row) } else { "" };
                    put_text(&mut out, role, text).map_err(|error| error.within(name))?;
                }
            }
        }
        Ok(out)
    }
}

fn cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    // Not "safe", which would make null of what does not fit.
    cast_with_options(column, to, &CastOptions { safe: false, ..Default::default() })
}

/// Microseconds as int64, rounded up as event timestamps are; or RFC 3339 text.
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
        _ => cast(column, &DataType::Utf8),
    }
}

/// Refuses columns that only a lossy cast would fit to their role.
fn check_type(role: &Role, have: &DataType) -> Result<(), String> {
    let have = match have {
        DataType::Dictionary(_, values) => values.as_ref(),
        have => have,
    };
    let text = matches!(have, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let (fits, want) = match role {
        Role::Ignored => (true, "anything"),
        Role::EntityId | Role::EntityType | Role::Key(_) => {
            (text || have.is_integer(), "strings or integers")
        }
        Role::Time => (
            text || matches!(have, DataType::Timestamp(_, Some(_))),
            "timestamps with a time zone, or RFC 3339 text",
        ),
        Role::Feature(dtype) => return check_dtype(*dtype, have),
    };
    if fits { Ok(()) } else { Err(format!("expected {want}, the file holds {have}")) }
}

fn check_dtype(dtype: Dtype, have: &DataType) -> Result<(), String> {
    let text = matches!(have, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let list = |element: Element| match have {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            check_dtype(element.dtype(), field.data_type()).is_ok()
        }
        _ => false,
    };
    let fits = *have == DataType::Null
        || match dtype {
            Dtype::Bool => *have == DataType::Boolean,
            Dtype::Int64 => have.is_integer(),
            Dtype::Float64 | Dtype::Float32 => have.is_integer() || have.is_floating(),
            Dtype::String | Dtype::Json => text,
            Dtype::Bytes => {
                matches!(
                    have,
                    DataType::Binary
                        | DataType::LargeBinary
                        | DataType::BinaryView
                        | DataType::FixedSizeBinary(_)
                )
            }
            Dtype::Timestamp => matches!(have, DataType::Timestamp(_, Some(_))),
            Dtype::List(element) => list(element),
        };
    if fits { Ok(()) } else { Err(format!("the feature is of dtype {dtype}, the file holds {have}")) }
}
