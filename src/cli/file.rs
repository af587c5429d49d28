//! Files of rows: which format they are in, and how they are opened.

use crate::error::{Error, Kind, Result};
use clap::ValueEnum;
use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// How rows lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Csv,
    /// One JSON object a line
    #[value(alias = "jsonl")]
    Ndjson,
    Parquet,
}

impl Format {
    /// As said, else by the file's extension.
    pub fn of(path: &Path, said: Option<Format>) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        said.or(match extension.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "parquet" => Some(Self::Parquet),
            _ => None,
        })
        .ok_or_else(|| {
            Error::new(
                Kind::InvalidArgument,
                format!(
                    "cannot tell the format of {} by its name; say --format csv, ndjson or parquet",
                    path.display()
                ),
            )
        })
    }
}

/// `-`: standard input or output.
pub(super) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A file, or standard input for `-`.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    Ok(match is_standard(path) {
        true => Box::new(BufReader::new(io::stdin())),
        false => Box::new(BufReader::with_capacity(1 << 20, open_file(path)?)),
    })
}

pub(super) fn open_file(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| broken(path, error))
}

/// What went wrong with a file.
pub(super) fn broken(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(Kind::InvalidArgument, format!("{}: {error}", path.display()))
}
