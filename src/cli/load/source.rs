//! Rows out of a file: CSV, NDJSON or Parquet, one by one, with the line each came from.

use super::parquet::{Cell, ParquetSource};
use crate::{
    cli::file::{self, Format},
    error::{Error, Kind, Result},
    feature::{Timestamp, Value},
};
use arrow::datatypes::DataType;
use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// Longest line of NDJSON, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What the columns of a file mean, and how they make a row.
pub(in crate::cli) trait Shape: Send + 'static {
    /// What a row becomes.
    type Row: prost::Message + Clone + 'static;
    /// What a column is.
    type Role: Send;

    /// A row with nothing of the file in it yet.
    fn begin(&self) -> Self::Row;

    /// What the column of this name is.
    fn role(&mut self, name: &str) -> Result<Self::Role>;

    /// Refuses columns that cannot make a row.
    fn check_columns(&self, columns: &[(String, Self::Role)]) -> Result<()>;

    /// Puts a field of CSV into a row.
    fn put_field(&self, row: &mut Self::Row, name: &str, role: &Self::Role, field: &str) -> Result<()>;

    /// Reads a line of NDJSON.
    fn read_json(&mut self, text: &[u8]) -> Result<Self::Row>;

    /// How a column of Parquet is read, by the type that the file gives it. An error says what the column should hold.
    fn cell(&self, name: &str, role: &Self::Role, have: &DataType) -> Result<Cell, String>;

    /// Puts the text of a [`Cell::Text`] into a row; an empty one where there is none.
    fn put_text(&self, row: &mut Self::Row, name: &str, role: &Self::Role, text: &str) -> Result<()>;

    /// Puts the moment of a [`Cell::Time`] into a row.
    fn put_time(&self, row: &mut Self::Row, time: Option<Timestamp>);

    /// Puts the value of a [`Cell::Value`] into a row; `None` is null.
    fn put_value(&self, row: &mut Self::Row, name: &str, role: &Self::Role, value: Option<Value>);
}

/// A row as it stood in the file.
pub(in crate::cli) struct SourceRow<R> {
    /// Line of the file, or row of a Parquet file, from 1.
    pub line: u64,
    /// What it says, or why it cannot be read and the text that says so.
    pub row: Result<R, (Error, String)>,
}

/// Reads a file row by row.
pub(in crate::cli) enum Source<S: Shape> {
    Csv(Box<CsvSource<S>>),
    Ndjson(Box<NdjsonSource<S>>),
    Parquet(Box<ParquetSource<S>>),
}

impl<S: Shape> Source<S> {
    pub fn open(path: &Path, format: Format, shape: S) -> Result<Self> {
        Ok(match format {
            Format::Parquet => Self::Parquet(Box::new(ParquetSource::new(path, shape)?)),
            _ => Self::text(file::open(path)?, format, shape)?,
        })
    }

    /// Of CSV or NDJSON.
    pub fn text(input: Box<dyn Read + Send>, format: Format, shape: S) -> Result<Self> {
        Ok(match format {
            Format::Csv => Self::Csv(Box::new(CsvSource::new(input, shape)?)),
            _ => Self::Ndjson(Box::new(NdjsonSource {
                lines: BufReader::new(input),
                shape,
                line: 0,
                bytes: 0,
            })),
        })
    }

    /// The next row; `None` at the end. An error here means that the file itself is broken.
    pub fn next(&mut self) -> Result<Option<SourceRow<S::Row>>> {
        match self {
            Self::Csv(source) => source.next(),
            Self::Ndjson(source) => source.next(),
            Self::Parquet(source) => source.next(),
        }
    }

    /// Every row of a source in which all must be sound.
    pub fn all(mut self) -> Result<Vec<S::Row>> {
        let mut rows = Vec::new();
        while let Some(row) = self.next()? {
            rows.push(row.row.map_err(|(error, _)| error)?);
        }
        Ok(rows)
    }

    /// How far it has read: bytes, or rows of a Parquet file.
    pub fn position(&self) -> u64 {
        match self {
            Self::Csv(source) => source.reader.position().byte(),
            Self::Ndjson(source) => source.bytes,
            Self::Parquet(source) => source.position(),
        }
    }
}

/// The columns of a file with what they are, which must make a row.
pub(super) fn columns<S: Shape>(
    shape: &mut S,
    names: impl Iterator<Item = String>,
) -> Result<Vec<(String, S::Role)>> {
    let columns: Vec<_> = names
        .map(|name| {
            let role = shape.role(&name)?;
            Ok((name, role))
        })
        .collect::<Result<_>>()?;
    if columns.is_empty() {
        let message = "the file names no columns; the first line of a CSV does";
        return Err(Error::new(Kind::InvalidArgument, message));
    }
    shape.check_columns(&columns)?;
    Ok(columns)
}

pub(in crate::cli) struct CsvSource<S: Shape> {
    reader: csv::Reader<Box<dyn Read + Send>>,
    shape: S,
    columns: Vec<(String, S::Role)>,
    record: csv::StringRecord,
}

impl<S: Shape> CsvSource<S> {
    fn new(input: Box<dyn Read + Send>, mut shape: S) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(input);
        let header = reader.headers().map_err(broken)?.clone();
        let names = header.iter().enumerate().map(|(position, name)| match position {
            0 => name.trim_start_matches('\u{feff}').to_owned(),
            _ => name.to_owned(),
        });
        let columns = columns(&mut shape, names)?;
        Ok(Self { reader, shape, columns, record: csv::StringRecord::new() })
    }

    fn next(&mut self) -> Result<Option<SourceRow<S::Row>>> {
        let line = self.reader.position().line();
        match self.reader.read_record(&mut self.record) {
            Ok(false) => Ok(None),
            Ok(true) => {
                let line = self.record.position().map_or(line, csv::Position::line);
                let row =
                    self.row().map_err(|error| (error, self.record.iter().collect::<Vec<_>>().join(",")));
                Ok(Some(SourceRow { line, row }))
            }
            // A record of another length, or not UTF-8, is its own fault; anything else is the file's.
            Err(error) if !matches!(error.kind(), csv::ErrorKind::Io(_)) => {
                Ok(Some(SourceRow { line, row: Err((broken(error), String::new())) }))
            }
            Err(error) => Err(broken(error)),
        }
    }

    fn row(&self) -> Result<S::Row> {
        let mut row = self.shape.begin();
        for ((name, role), field) in self.columns.iter().zip(&self.record) {
            self.shape.put_field(&mut row, name, role, field)?;
        }
        Ok(row)
    }
}

fn broken(error: csv::Error) -> Error {
    Error::new(Kind::InvalidArgument, format!("this is not CSV: {error}"))
}

/// What some editors begin a UTF-8 file with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

pub(in crate::cli) struct NdjsonSource<S> {
    lines: BufReader<Box<dyn Read + Send>>,
    shape: S,
    line: u64,
    bytes: u64,
}

impl<S: Shape> NdjsonSource<S> {
    fn next(&mut self) -> Result<Option<SourceRow<S::Row>>> {
        loop {
            let mut text = Vec::new();
            let read = (&mut self.lines).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut text);
            let read =
                read.map_err(|error| Error::new(Kind::InvalidArgument, format!("cannot read on: {error}")))?;
            self.line += 1;
            self.bytes += read as u64;
            if self.line == 1 && text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len());
            }
            if read as u64 > LINE_BYTES_MAX {
                let message = format!("line {} is over {LINE_BYTES_MAX} bytes", self.line);
                return Err(Error::new(Kind::InvalidArgument, message));
            }
            if read == 0 {
                return Ok(None);
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let row = self.shape.read_json(text.trim_ascii());
            let row = row.map_err(|error| (error, String::from_utf8_lossy(text.trim_ascii()).into_owned()));
            return Ok(Some(SourceRow { line: self.line, row }));
        }
    }
}
