//! Where a training set goes: Parquet, CSV or NDJSON. A file appears under its name when it is whole.

use crate::{
    cli::{
        file::{Format, broken},
        value,
    },
    error::{Error, Kind, Result},
    feature::{Dtype, Element, columns::value_at},
    wire::json::JsonWriter,
};
use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::{BatchCoalescer, CastOptions, cast_with_options},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
};
use std::{
    fs::{File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::NamedTempFile;

/// Rows of a Parquet file that are encoded together, and that lie together.
const BATCH_ROWS: usize = 8_192;
const ROW_GROUP_ROWS: usize = 128 * 1_024;
/// What a field's metadata calls its dtype.
pub(super) const DTYPE: &str = "larder.dtype";

/// Takes the rows of a training set in order.
pub(super) struct Sink {
    /// The file under its passing name, and the name it is to get; none = standard output.
    file: Option<(NamedTempFile, PathBuf)>,
    writer: Writer,
}

enum Writer {
    /// Made with the first rows, which tell the columns.
    Parquet(File, Option<Box<ParquetWriter>>),
    Csv(Box<csv::Writer<Box<dyn Write + Send>>>, bool),
    Ndjson(Box<dyn Write + Send>),
}

impl Sink {
    /// `out` none = standard output.
    pub fn new(out: Option<&Path>, format: Format) -> Result<Self> {
        let file = match out {
            None => None,
            Some(out) => {
                let directory = out.parent().filter(|parent| !parent.as_os_str().is_empty());
                let file = tempfile::Builder::new()
                    .prefix(".larder-batch-")
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(directory.unwrap_or(Path::new(".")))
                    .map_err(|error| broken(out, error))?;
                Some((file, out.to_owned()))
            }
        };
        let handle = |file: &Option<(NamedTempFile, PathBuf)>| match file {
            Some((file, out)) => file.reopen().map(Some).map_err(|error| broken(out, error)),
            None => Ok(None),
        };
        let text = |file: &Option<(NamedTempFile, PathBuf)>| -> Result<Box<dyn Write + Send>> {
            Ok(match handle(file)? {
                Some(file) => Box::new(BufWriter::new(file)),
                None => Box::new(BufWriter::new(io::stdout())),
            })
        };
        let writer = match format {
            Format::Csv => Writer::Csv(Box::new(csv::Writer::from_writer(text(&file)?)), false),
            Format::Ndjson => Writer::Ndjson(text(&file)?),
            Format::Parquet => {
                let file = handle(&file)?;
                Writer::Parquet(file.ok_or_else(|| Error::internal("Parquet goes to a file"))?, None)
            }
        };
        Ok(Self { file, writer })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let written = match &mut self.writer {
            Writer::Parquet(file, writer) => write_parquet(file, writer, batch),
            Writer::Csv(writer, started) => write_csv(writer, std::mem::replace(started, true), batch),
            Writer::Ndjson(writer) => write_ndjson(writer, batch),
        };
        written.map_err(|error| self.complaint(&error))
    }

    /// Writes what is left and lets the file appear. `metadata` is what a Parquet file is to remember.
    pub fn finish(mut self, metadata: impl FnOnce() -> Result<Vec<(String, String)>>) -> Result<()> {
        let finished: io::Result<()> = match &mut self.writer {
            Writer::Csv(writer, _) => writer.flush(),
            Writer::Ndjson(writer) => writer.flush(),
            Writer::Parquet(_, None) => {
                return Err(Error::new(
                    Kind::InvalidArgument,
                    "the spine has no rows, so there is nothing to write",
                ));
            }
            Writer::Parquet(_, Some(writer)) => writer.finish(metadata()?).map_err(io::Error::other),
        };
        finished.map_err(|error| self.complaint(&error))?;
        if let Some((file, out)) = self.file {
            file.persist(&out).map_err(|error| broken(&out, error.error))?;
        }
        Ok(())
    }

    fn complaint(&self, error: &io::Error) -> Error {
        match &self.file {
            Some((_, out)) => broken(out, error),
            None => Error::new(Kind::InvalidArgument, format!("cannot write to standard output: {error}")),
        }
    }
}

/// Writes batches of one size, whatever sizes they came in: the same training set is to have the same bytes.
struct ParquetWriter {
    writer: ArrowWriter<File>,
    batches: BatchCoalescer,
}

impl ParquetWriter {
    fn new(file: File, schema: SchemaRef) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties);
        let batches = BatchCoalescer::new(schema.clone(), BATCH_ROWS);
        Ok(Self { writer: ArrowWriter::try_new_with_options(file, schema, options)?, batches })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<(), ParquetError> {
        self.batches.push_batch(batch)?;
        while let Some(batch) = self.batches.next_completed_batch() {
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    fn finish(&mut self, metadata: Vec<(String, String)>) -> Result<(), ParquetError> {
        self.batches.finish_buffered_batch()?;
        while let Some(batch) = self.batches.next_completed_batch() {
            self.writer.write(&batch)?;
        }
        for (key, value) in metadata {
            self.writer.append_key_value_metadata(KeyValue::new(key, value));
        }
        self.writer.finish().map(drop)
    }
}

fn write_parquet(
    file: &File,
    writer: &mut Option<Box<ParquetWriter>>,
    batch: &RecordBatch,
) -> io::Result<()> {
    // What the server says of this answer as a whole, the moment it settled among it, is no part of the schema.
    let schema = Arc::new(Schema::new(batch.schema_ref().fields().clone()));
    let batch = RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).map_err(io::Error::other)?;
    let writer = match writer {
        Some(writer) => writer,
        none => {
            none.insert(Box::new(ParquetWriter::new(file.try_clone()?, schema).map_err(io::Error::other)?))
        }
    };
    writer.write(batch).map_err(io::Error::other)
}

fn write_csv(
    writer: &mut csv::Writer<Box<dyn Write + Send>>,
    started: bool,
    batch: &RecordBatch,
) -> io::Result<()> {
    if !started {
        writer.write_record(batch.schema_ref().fields().iter().map(|field| field.name()))?;
    }
    let rows = texts(batch).map_err(io::Error::other)?;
    rows.iter().try_for_each(|row| writer.write_record(row).map_err(io::Error::other))
}

/// Every row as text, field by field; empty where there is no value.
pub(in crate::cli) fn texts(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let columns = shown(batch).map_err(|error| Error::new(Kind::InvalidArgument, error.to_string()))?;
    let field = |(column, dtype): &(ArrayRef, Dtype), row: usize| match column.is_null(row) {
        true => String::new(),
        false => value::text(&value_at(column, row, *dtype).into_owned()),
    };
    let rows = (0..batch.num_rows()).map(|row| columns.iter().map(|column| field(column, row)).collect());
    Ok(rows.collect())
}

fn write_ndjson(writer: &mut impl Write, batch: &RecordBatch) -> io::Result<()> {
    let columns = shown(batch)?;
    let mut out = Vec::new();
    for row in 0..batch.num_rows() {
        JsonWriter::new(&mut out).object(|w| {
            for ((column, dtype), field) in columns.iter().zip(batch.schema_ref().fields()) {
                w.key(field.name()).arrow(column, row, *dtype);
            }
        });
        out.push(b'\n');
    }
    match writer.write_all(&out) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()), // a reader such as `head` has enough
        written => written,
    }
}

/// Every column in the Arrow type of the dtype that says how to show it.
fn shown(batch: &RecordBatch) -> io::Result<Vec<(ArrayRef, Dtype)>> {
    let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, column)| {
        let dtype = dtype_of(field);
        let options = CastOptions { safe: false, ..Default::default() };
        let column = cast_with_options(column, &dtype.arrow(), &options).map_err(|error| {
            io::Error::other(format!(
                "the column {:?} has no text form ({error}); write Parquet",
                field.name()
            ))
        })?;
        Ok((column, dtype))
    });
    columns.collect()
}

/// A feature's own dtype; for a column of the spine the one that its type comes nearest to.
fn dtype_of(field: &Field) -> Dtype {
    let own = field.metadata().get(DTYPE).and_then(|name| name.parse().ok());
    own.unwrap_or_else(|| nearest(field.data_type()))
}

fn nearest(kind: &DataType) -> Dtype {
    match kind {
        DataType::Boolean => Dtype::Bool,
        DataType::UInt64 => Dtype::String,
        // Numbers with all their digits, as the server's own JSON has them.
        kind if kind.is_decimal() => Dtype::Json,
        kind if kind.is_integer() => Dtype::Int64,
        DataType::Float16 | DataType::Float32 => Dtype::Float32,
        DataType::Float64 => Dtype::Float64,
        DataType::Timestamp(_, Some(_)) => Dtype::Timestamp,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Dtype::Bytes
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let element =
                Element::ALL.into_iter().find(|element| element.dtype() == nearest(item.data_type()));
            Dtype::List(element.unwrap_or(Element::String))
        }
        _ => Dtype::String,
    }
}
