//! The spine: moments of entities out of a file, as Arrow batches.
//!
//! Text files are read twice. The first pass tells the type of every column that is only handed through: int64, float64,
//! bool or text, whichever gives back what the file says. The columns that name entities and moments stay text.

use super::{
    records::{Field, Records},
    sink::DTYPE,
};
use crate::{
    cli::file::{self, Format, broken, is_standard},
    error::{Error, Kind, Result},
    feature::{Dtype, json::JsonKind},
};
use arrow::{
    array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder},
    datatypes::{Field as ArrowField, Schema},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// Rows of one batch.
const BATCH_ROWS: usize = 4_096;
/// Columns that mean something to the server, whatever the request maps.
const OWN_COLUMNS: [&str; 3] = ["entity_id", "timestamp", "event_timestamp"];

/// A spine that was looked through once.
pub(super) struct SpineFile {
    path: PathBuf,
    format: Format,
    columns: Vec<(String, Kinds)>,
    pub rows: u64,
}

/// What a column can still be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kinds {
    int64: bool,
    float64: bool,
    bool: bool,
    /// Every value is a string; else the column holds JSON text.
    string: bool,
}

impl Kinds {
    const ANY: Kinds = Kinds { int64: true, float64: true, bool: true, string: true };
    const TEXT: Kinds = Kinds { int64: false, float64: false, bool: false, string: true };

    /// Takes away what this field rules out.
    fn see(&mut self, field: &Field<'_>) {
        let (text, string) = match field {
            Field::Null => return,
            Field::Text(text) => (*text, true),
            Field::Json(JsonKind::String, _) => {
                *self = Kinds { string: self.string, ..Kinds::TEXT };
                return;
            }
            Field::Json(_, text) => (*text, false),
        };
        let csv = string;
        self.string &= string;
        self.int64 &= text.parse::<i64>().is_ok_and(|value| value.to_string() == text);
        self.float64 &= is_plain_number(text, csv);
        self.bool &= matches!(text, "true" | "false");
    }
}

/// Whether a double gives the number back: in CSV only plain decimals, because `1e5` may well be a code.
fn is_plain_number(text: &str, csv: bool) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if csv && !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return false;
    }
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    let is_big_int = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() > 15;
    !leading_zero && !is_big_int && !digits.starts_with('.') && text.parse::<f64>().is_ok_and(f64::is_finite)
}

impl SpineFile {
    /// Looks a file through. `keep_text` = hand everything through as the file has it; `own` are the columns that name
    /// entities and moments.
    pub fn open(path: &Path, format: Format, keep_text: bool, own: &[String]) -> Result<Self> {
        if is_standard(path) {
            return Err(Error::new(Kind::InvalidArgument, "a spine is read twice, so it must be a file"));
        }
        let mut spine = Self { path: path.to_owned(), format, columns: Vec::new(), rows: 0 };
        if format == Format::Parquet {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file::open_file(path)?);
            let rows = builder.map_err(|error| broken(path, error))?.metadata().file_metadata().num_rows();
            spine.rows = rows.try_into().unwrap_or_default();
            return Ok(spine);
        }
        let mut records = Records::open(path, format)?;
        let mut kinds: Vec<Kinds> = Vec::new();
        while records.next(|position, _, field| {
            if kinds.len() <= position {
                kinds.resize(position + 1, Kinds::ANY);
            }
            kinds[position].see(&field);
        })? {
            spine.rows += 1;
        }
        kinds.resize(records.names.len(), Kinds::ANY);
        let text = |name: &String| keep_text || OWN_COLUMNS.contains(&name.as_str()) || own.contains(name);
        let kinds = records.names.iter().zip(kinds).map(|(name, kinds)| match text(name) && kinds.string {
            true => (name.clone(), Kinds::TEXT),
            false => (name.clone(), kinds),
        });
        spine.columns = kinds.collect();
        Ok(spine)
    }

    /// Reads the file again, batch by batch, until nobody takes them any more.
    pub fn read(self, batches: &mpsc::Sender<Result<RecordBatch>>) {
        if let Err(error) = self.try_read(batches) {
            let _ = batches.blocking_send(Err(error));
        }
    }

    fn try_read(&self, batches: &mpsc::Sender<Result<RecordBatch>>) -> Result<()> {
        if self.format == Format::Parquet {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file::open_file(&self.path)?);
            let builder = builder.map_err(|error| broken(&self.path, error))?.with_batch_size(BATCH_ROWS);
            for batch in builder.build().map_err(|error| broken(&self.path, error))? {
                let batch = batch.map_err(|error| broken(&self.path, error))?;
                if batches.blocking_send(plain(&batch)).is_err() {
                    break;
                }
            }
            return Ok(());
        }
        let mut records = Records::open(&self.path, self.format)?;
        loop {
            let mut columns: Vec<_> = self.columns.iter().map(|(_, kinds)| Column::new(*kinds)).collect();
            let mut rows = 0;
            while rows < BATCH_ROWS
                && records.next(|position, _, field| {
                    if let Some(column) = columns.get_mut(position) {
                        column.pad(rows);
                        column.push(&field);
                    }
                })?
            {
                rows += 1;
            }
            if rows == 0 {
                return Ok(());
            }
            let (mut fields, mut arrays) = (Vec::new(), Vec::new());
            for ((name, _), mut column) in self.columns.iter().zip(columns) {
                column.pad(rows);
                let (array, metadata) = column.finish();
                fields.push(ArrowField::new(name, array.data_type().clone(), true).with_metadata(metadata));
                arrays.push(array);
            }
            let batch =
                RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(Error::internal)?;
            if batches.blocking_send(Ok(batch)).is_err() {
                return Ok(());
            }
        }
    }
}

/// Without the file's own metadata, which would travel with every piece.
fn plain(batch: &RecordBatch) -> Result<RecordBatch> {
    let fields =
        batch.schema_ref().fields().iter().map(|field| field.as_ref().clone().with_metadata(HashMap::new()));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), batch.columns().to_vec())
        .map_err(Error::internal)
}

/// A column being built, of the narrowest kind that its whole file allows.
enum Column {
    Int64(Int64Builder, usize),
    Float64(Float64Builder, usize),
    Bool(BooleanBuilder, usize),
    Text(StringBuilder, usize),
    /// Values of several kinds, as JSON text.
    Json(StringBuilder, usize),
}

impl Column {
    fn new(kinds: Kinds) -> Self {
        match kinds {
            kinds if kinds == Kinds::ANY => Self::Text(StringBuilder::new(), 0),
            Kinds { int64: true, .. } => Self::Int64(Int64Builder::new(), 0),
            Kinds { float64: true, .. } => Self::Float64(Float64Builder::new(), 0),
            Kinds { bool: true, .. } => Self::Bool(BooleanBuilder::new(), 0),
            Kinds { string: true, .. } => Self::Text(StringBuilder::new(), 0),
            _ => Self::Json(StringBuilder::new(), 0),
        }
    }

    /// Fills up with nulls to `rows` rows.
    fn pad(&mut self, rows: usize) {
        while self.len() < rows {
            self.push(&Field::Null);
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Int64(_, len)
            | Self::Float64(_, len)
            | Self::Bool(_, len)
            | Self::Text(_, len)
            | Self::Json(_, len) => *len,
        }
    }

    fn push(&mut self, field: &Field<'_>) {
        let text = match field {
            Field::Null => None,
            Field::Text(text) | Field::Json(_, text) => Some(*text),
        };
        let len = match self {
            Self::Int64(builder, len) => {
                builder.append_option(text.and_then(|text| text.parse().ok()));
                len
            }
            Self::Float64(builder, len) => {
                builder.append_option(text.and_then(|text| text.parse().ok()));
                len
            }
            Self::Bool(builder, len) => {
                builder.append_option(text.map(|text| text == "true"));
                len
            }
            Self::Text(builder, len) => {
                builder.append_option(text);
                len
            }
            Self::Json(builder, len) => {
                match field {
                    Field::Json(JsonKind::String, text) => {
                        builder.append_value(serde_json::Value::from(*text).to_string())
                    }
                    _ => builder.append_option(text),
                }
                len
            }
        };
        *len += 1;
    }

    /// The column, and what its field says of it: JSON text is to be read as such.
    fn finish(self) -> (ArrayRef, HashMap<String, String>) {
        let plain = HashMap::new();
        match self {
            Self::Int64(mut builder, _) => (Arc::new(builder.finish()), plain),
            Self::Float64(mut builder, _) => (Arc::new(builder.finish()), plain),
            Self::Bool(mut builder, _) => (Arc::new(builder.finish()), plain),
            Self::Text(mut builder, _) => (Arc::new(builder.finish()), plain),
            Self::Json(mut builder, _) => {
                let json = HashMap::from([(DTYPE.to_owned(), Dtype::Json.name().into_owned())]);
                (Arc::new(builder.finish()), json)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{array::AsArray, datatypes::DataType};

    fn read(name: &str, text: &str, keep_text: bool) -> RecordBatch {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let spine =
            SpineFile::open(&path, Format::of(&path, None).unwrap(), keep_text, &["who".into()]).unwrap();
        let rows = spine.rows;
        let (batches, mut read) = mpsc::channel(4);
        spine.read(&batches);
        let batch = read.try_recv().unwrap().unwrap();
        assert_eq!(batch.num_rows() as u64, rows);
        batch
    }

    fn types(batch: &RecordBatch) -> Vec<DataType> {
        batch.columns().iter().map(|column| column.data_type().clone()).collect()
    }

    #[test]
    fn csv_columns_get_the_type_that_gives_back_what_the_file_says() {
        let text = "who,n,code,price,flag,none,sci\n1,1,007,1.50,true,,1e5\n2,-3,8,2,false,,2\n";
        let batch = read("spine.csv", text, false);
        use DataType::*;
        assert_eq!(types(&batch), [Utf8, Int64, Utf8, Float64, Boolean, Utf8, Utf8]);
        assert_eq!(batch.column(2).as_string::<i32>().value(0), "007");
        assert_eq!(types(&read("spine.csv", text, true)), vec![Utf8; 7]);
    }

    #[test]
    fn ndjson_columns_may_come_and_go() {
        let text = "{\"who\": \"a\", \"n\": 1}\n\n{\"n\": 2.5, \"mixed\": 1, \"who\": null}\n{\"who\": \"b\", \"mixed\": \"x\"}\n";
        let batch = read("spine.ndjson", text, false);
        use DataType::*;
        assert_eq!(types(&batch), [Utf8, Float64, Utf8]);
        let mixed: Vec<_> = batch.column(2).as_string::<i32>().iter().collect();
        assert_eq!(mixed, [None, Some("1"), Some("\"x\"")]);
    }

    #[test]
    fn integers_beyond_a_double_are_kept() {
        let batch = read("spine.csv", "who,n\na,9007199254740993\nb,99999999999999999999\n", false);
        assert_eq!(types(&batch)[1], DataType::Utf8);
    }
}
