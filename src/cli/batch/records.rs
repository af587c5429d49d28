//! The fields of a text file, record by record: CSV by its header, NDJSON by the names that turn up.

use crate::{
    cli::file::{self, Format, broken},
    error::Result,
    feature::json::{JsonKind, JsonReader},
};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Longest line of NDJSON, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A field as its file has it.
pub(super) enum Field<'a> {
    Null,
    /// Of CSV: anything, to be told by its text.
    Text(&'a str),
    /// Of NDJSON: a value with its kind and its text.
    Json(JsonKind, &'a str),
}

/// Reads the fields of a text file, record by record.
pub(super) struct Records {
    path: PathBuf,
    /// Of the columns; NDJSON's become known as they come.
    pub names: Vec<String>,
    source: RecordSource,
}

enum RecordSource {
    Csv(Box<csv::Reader<Box<dyn Read + Send>>>, csv::StringRecord),
    Ndjson { lines: BufReader<Box<dyn Read + Send>>, line: u64, positions: HashMap<String, usize> },
}

impl Records {
    pub fn open(path: &Path, format: Format) -> Result<Self> {
        let input = file::open(path)?;
        let mut names = Vec::new();
        let source = if format == Format::Csv {
            let mut reader = csv::ReaderBuilder::new().from_reader(input);
            let header = reader.headers().map_err(|error| broken(path, error))?;
            names = header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
            if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
                return Err(broken(path, format!("two columns are called {:?}; rename one", twice.1)));
            }
            RecordSource::Csv(Box::new(reader), csv::StringRecord::new())
        } else {
            RecordSource::Ndjson { lines: BufReader::new(input), line: 0, positions: HashMap::new() }
        };
        Ok(Self { path: path.to_owned(), names, source })
    }

    /// Hands every field of the next record to `take` with the position and name of its column; false at the end.
    pub fn next(&mut self, mut take: impl FnMut(usize, &str, Field<'_>)) -> Result<bool> {
        let Self { path, names, source } = self;
        match source {
            RecordSource::Csv(reader, record) => {
                if !reader.read_record(record).map_err(|error| broken(path, error))? {
                    return Ok(false);
                }
                for (position, (name, text)) in names.iter().zip(record.iter()).enumerate() {
                    take(position, name, if text.is_empty() { Field::Null } else { Field::Text(text) });
                }
                Ok(true)
            }
            RecordSource::Ndjson { lines, line, positions } => {
                let Some(text) = next_line(path, lines, line)? else { return Ok(false) };
                let read = JsonReader::read(text.trim_ascii(), |reader| {
                    reader.object(|reader, name| {
                        let position = *positions.entry(name.to_owned()).or_insert_with(|| {
                            names.push(name.to_owned());
                            names.len() - 1
                        });
                        let kind = reader.peek()?;
                        let field = match kind {
                            JsonKind::Null => {
                                reader.raw()?;
                                take(position, name, Field::Null);
                                return Ok(());
                            }
                            JsonKind::String => reader.string()?,
                            _ => reader.raw()?.into(),
                        };
                        take(position, name, Field::Json(kind, &field));
                        Ok(())
                    })
                });
                read.map_err(|error| broken(path, format!("line {line}: {error}")))?;
                Ok(true)
            }
        }
    }
}

fn next_line(path: &Path, lines: &mut impl BufRead, line: &mut u64) -> Result<Option<Vec<u8>>> {
    loop {
        let mut text = Vec::new();
        let read = lines.take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut text);
        let read = read.map_err(|error| broken(path, error))?;
        *line += 1;
        match read as u64 {
            0 => return Ok(None),
            read if read > LINE_BYTES_MAX => {
                return Err(broken(path, format!("line {line} is over {LINE_BYTES_MAX} bytes")));
            }
            _ if text.trim_ascii().is_empty() => {}
            _ => return Ok(Some(text)),
        }
    }
}
