//! Rows out of a file: CSV, NDJSON or Parquet, one by one, with the line each came from.

use super::{
    parquet::ParquetSource,
    roles::{Role, Roles},
};
use crate::{
    cli::{
        file::{self, Format},
        value::parse,
    },
    error::{Error, Kind, Result},
    feature::{
        Round, Timestamp, Value,
        json::{JsonKind, JsonReader},
    },
    wire::{
        json::{read_id, read_value},
        proto::FeatureRow,
        value::{timestamp_to, value_to},
    },
};
use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// Longest line of NDJSON, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A row as it stood in the file.
pub(super) struct SourceRow {
    /// Line of the file, or row of a Parquet file, from 1.
    pub line: u64,
    /// What it says, or why it cannot be read and the text that says so.
    pub row: Result<FeatureRow, (Error, String)>,
}

/// Reads a file row by row.
pub(super) enum Source {
    Csv(Box<CsvSource>),
    Ndjson(Box<NdjsonSource>),
    Parquet(Box<ParquetSource>),
}

impl Source {
    pub fn open(path: &Path, format: Format, mut roles: Roles) -> Result<Self> {
        Ok(match format {
            Format::Parquet => Self::Parquet(Box::new(ParquetSource::new(path, &mut roles)?)),
            _ => Self::text(file::open(path)?, format, roles)?,
        })
    }

    /// Of CSV or NDJSON.
    pub fn text(input: Box<dyn Read + Send>, format: Format, mut roles: Roles) -> Result<Self> {
        Ok(match format {
            Format::Csv => Self::Csv(Box::new(CsvSource::new(input, &mut roles)?)),
            _ => Self::Ndjson(Box::new(NdjsonSource {
                lines: BufReader::new(input),
                roles,
                line: 0,
                bytes: 0,
            })),
        })
    }

    /// The next row; `None` at the end. An error here means that the file itself is broken.
    pub fn next(&mut self) -> Result<Option<SourceRow>> {
        match self {
            Self::Csv(source) => source.next(),
            Self::Ndjson(source) => source.next(),
            Self::Parquet(source) => source.next(),
        }
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

pub(super) struct CsvSource {
    reader: csv::Reader<Box<dyn Read + Send>>,
    columns: Vec<(String, Role)>,
    record: csv::StringRecord,
}

impl CsvSource {
    fn new(input: Box<dyn Read + Send>, roles: &mut Roles) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(input);
        let header = reader.headers().map_err(broken)?.clone();
        let columns = header.iter().enumerate().map(|(position, name)| {
            let name = if position == 0 { name.trim_start_matches('\u{feff}') } else { name };
            Ok((name.to_owned(), roles.of(name)?))
        });
        let columns: Vec<_> = columns.collect::<Result<_>>()?;
        check_columns(&columns)?;
        Ok(Self { reader, columns, record: csv::StringRecord::new() })
    }

    fn next(&mut self) -> Result<Option<SourceRow>> {
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

    fn row(&self) -> Result<FeatureRow> {
        let mut row = FeatureRow::default();
        for ((name, role), field) in self.columns.iter().zip(&self.record) {
            match role {
                Role::Feature(dtype) => {
                    let value =
                        parse(field, *dtype).map_err(|error| error.within(format!("values.{name}")))?;
                    put_value(&mut row, name, value);
                }
                role => put_text(&mut row, role, field).map_err(|error| error.within(name))?,
            }
        }
        Ok(row)
    }
}

fn broken(error: csv::Error) -> Error {
    Error::new(Kind::InvalidArgument, format!("this is not CSV: {error}"))
}

/// Refuses columns that cannot make a row.
pub(super) fn check_columns(columns: &[(String, Role)]) -> Result<()> {
    if columns.is_empty() {
        return Err(Error::new(
            Kind::InvalidArgument,
            "the file names no columns; the first line of a CSV does",
        ));
    }
    let count = |wanted: fn(&Role) -> bool| columns.iter().filter(|(_, role)| wanted(role)).count();
    match count(|role| *role == Role::Time) {
        0 => {
            return Err(Error::new(
                Kind::InvalidArgument,
                "no column holds the event timestamp; name it with --time COL",
            ));
        }
        1 => {}
        _ => {
            return Err(Error::new(
                Kind::InvalidArgument,
                "several columns could hold the event timestamp; name one with --time COL and pass over the others with --ignore COL",
            ));
        }
    }
    if count(|role| matches!(role, Role::EntityId | Role::Key(_))) == 0 {
        return Err(Error::new(
            Kind::InvalidArgument,
            "no column holds an entity's id; name it with --entity KEY=COL",
        ));
    }
    if count(|role| matches!(role, Role::Feature(_))) == 0 {
        return Err(Error::new(Kind::InvalidArgument, "no column bears the name of a registered feature"));
    }
    Ok(())
}

/// Puts a field that is no feature into a row.
pub(super) fn put_text(row: &mut FeatureRow, role: &Role, text: &str) -> Result<()> {
    match role {
        Role::Time => {
            let at =
                Timestamp::parse(text, Round::Up).map_err(|why| Error::new(Kind::InvalidArgument, why))?;
            row.event_timestamp = Some(timestamp_to(at));
        }
        Role::EntityId => row.entity_id = text.to_owned(),
        Role::EntityType => row.entity_type = text.to_owned(),
        // A row that names no id for a key does not speak of it.
        Role::Key(_) if text.is_empty() => {}
        Role::Key(key) => drop(row.entities.insert(key.clone(), text.to_owned())),
        Role::Ignored | Role::Feature(_) => {}
    }
    Ok(())
}

pub(super) fn put_value(row: &mut FeatureRow, name: &str, value: Option<Value>) {
    row.values.insert(name.to_owned(), value_to(value.as_ref()));
}

pub(super) struct NdjsonSource {
    lines: BufReader<Box<dyn Read + Send>>,
    roles: Roles,
    line: u64,
    bytes: u64,
}

impl NdjsonSource {
    fn next(&mut self) -> Result<Option<SourceRow>> {
        loop {
            let mut text = Vec::new();
            let read = (&mut self.lines).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut text);
            let read =
                read.map_err(|error| Error::new(Kind::InvalidArgument, format!("cannot read on: {error}")))?;
            self.line += 1;
            self.bytes += read as u64;
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
            let row = self.row(text.trim_ascii());
            let row = row.map_err(|error| (error, String::from_utf8_lossy(text.trim_ascii()).into_owned()));
            return Ok(Some(SourceRow { line: self.line, row }));
        }
    }

    /// A row as REST takes it, or a flat one with a member for each column.
    fn row(&mut self, text: &[u8]) -> Result<FeatureRow> {
        let mut row = FeatureRow::default();
        let roles = &mut self.roles;
        JsonReader::read(text, |reader| {
            reader.object(|reader, name| match name {
                "values" if reader.peek()? == JsonKind::Object => reader.object(|reader, feature| {
                    let dtype = roles.dtype(feature)?;
                    put_value(&mut row, feature, read_value(reader, dtype)?);
                    Ok(())
                }),
                "entities" if reader.peek()? == JsonKind::Object => reader.object(|reader, key| {
                    row.entities.insert(key.to_owned(), read_id(reader)?.into_owned());
                    Ok(())
                }),
                name => {
                    match roles.of(name)? {
                        Role::Feature(dtype) => put_value(&mut row, name, read_value(reader, dtype)?),
                        Role::Ignored => drop(reader.raw()?),
                        Role::Key(_) if reader.take_null()? => {}
                        role @ (Role::EntityId | Role::Key(_)) => {
                            put_text(&mut row, &role, &read_id(reader)?)?
                        }
                        role => put_text(&mut row, &role, &reader.string()?)?,
                    }
                    Ok(())
                }
            })
        })?;
        Ok(row)
    }
}
