//! Arrow columns from rows whose types nobody stated.
//!
//! The first rows decide: a column of integers, numbers, strings or booleans becomes such a column, anything mixed or
//! nested the JSON text of its values. A later value of another kind is refused, because a file has one schema.

use super::Rows;
use crate::{
    error::{Error, Result},
    feature::{
        ColumnBuilder, Dtype,
        json::{JsonKind, JsonReader},
    },
    serving::training::Spine,
    wire::{
        proto::SpineRow,
        value::{own_dtype, value_from},
    },
};
use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
        StringArray, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use std::{collections::BTreeMap, sync::Arc};

/// Doubles hold every integer up to here.
const EXACT_INTEGER_MAX: i64 = 1 << 53;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Int64,
    Float64,
    String,
    /// Integers beyond what a double holds, and numbers with fractions, do not mix; nor do numbers and strings.
    Json,
    /// The column that holds the rows' moments.
    Time,
}

/// Turns JSON rows into batches of one schema.
pub(super) struct JsonColumnizer {
    columns: Vec<(String, Kind)>,
    schema: SchemaRef,
}

/// A value of a JSON row: its kind, its text as it stands, and for a string its content.
struct Member<'a> {
    kind: JsonKind,
    raw: &'a str,
}

impl JsonColumnizer {
    /// From the first rows; `time` names the column of their moments.
    pub fn infer<'a>(rows: impl Iterator<Item = &'a str>, time: &str) -> Result<Self> {
        let mut seen: Vec<(String, Option<Seen>)> = Vec::new();
        for row in rows {
            members(row, |name, member| {
                let position = seen.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                    seen.push((name.to_owned(), None));
                    seen.len() - 1
                });
                if let Some(value) = Seen::of(&member)? {
                    let known = &mut seen[position].1;
                    *known = Some(known.map_or(value, |known| known.and(value)));
                }
                Ok(())
            })?;
        }
        let kind = |name: &str, seen: Option<Seen>| match seen {
            _ if name == time => Kind::Time,
            Some(seen) => seen.kind(),
            None => Kind::Json,
        };
        let decided = |(name, seen): (String, Option<Seen>)| {
            let kind = kind(&name, seen);
            (name, kind)
        };
        let columns: Vec<_> = seen.into_iter().map(decided).collect();
        let fields = columns.iter().map(|(name, kind)| Field::new(name, kind.arrow(), *kind != Kind::Time));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { columns, schema })
    }

    /// The rows of a spine as a batch.
    pub fn batch(&self, rows: &StringArray, spine: &Spine) -> Result<RecordBatch> {
        let mut texts: Vec<Vec<Option<Member<'_>>>> =
            self.columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for (at, row) in rows.iter().enumerate() {
            let field = |name: &str| format!("spine[{}].{name}", spine.first_row + at);
            members(row.unwrap_or_default(), |name, member| {
                let position = self.columns.iter().position(|(known, _)| known == name).ok_or_else(|| {
                    let message = "the first rows have no such column, and a file has one schema; give it there, as null if need be";
                    Error::invalid(field(name), message)
                })?;
                texts[position].push((member.kind != JsonKind::Null).then_some(member));
                Ok(())
            })?;
            for column in &mut texts {
                column.resize_with(at + 1, || None);
            }
        }
        let arrays = self.columns.iter().zip(texts).map(|((name, kind), members)| {
            let field = |at: usize| format!("spine[{}].{name}", spine.first_row + at);
            kind.array(members, spine).map_err(|at| {
                let message = format!(
                    "this is no {}, as the values before it are, and a file has one schema",
                    kind.name()
                );
                Error::invalid(field(at), message)
            })
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(Error::internal)
    }
}

/// What is known of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Bool,
    /// Whether a double holds all of them.
    Int64 {
        exact: bool,
    },
    Float64,
    String,
    Json,
}

impl Seen {
    fn of(member: &Member<'_>) -> Result<Option<Self>> {
        Ok(match member.kind {
            JsonKind::Null => None,
            JsonKind::Bool => Some(Self::Bool),
            JsonKind::String => Some(Self::String),
            JsonKind::Array | JsonKind::Object => Some(Self::Json),
            JsonKind::Number => Some(match member.raw.parse::<i64>() {
                Ok(int) => Self::Int64 { exact: int.unsigned_abs() <= EXACT_INTEGER_MAX.unsigned_abs() },
                Err(_) if member.raw.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => Self::Json,
                Err(_) => Self::Float64,
            }),
        })
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int64 { exact: a }, Self::Int64 { exact: b }) => Self::Int64 { exact: a && b },
            (Self::Int64 { exact: true }, Self::Float64) | (Self::Float64, Self::Int64 { exact: true }) => {
                Self::Float64
            }
            (a, b) if a == b => a,
            _ => Self::Json,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Bool => Kind::Bool,
            Self::Int64 { .. } => Kind::Int64,
            Self::Float64 => Kind::Float64,
            Self::String => Kind::String,
            Self::Json => Kind::Json,
        }
    }
}

impl Kind {
    fn arrow(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::String | Self::Json => DataType::Utf8,
            Self::Time => Dtype::Timestamp.arrow(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int64 => "int64",
            Self::Float64 => "number",
            Self::String => "string",
            Self::Json => "JSON value",
            Self::Time => "moment",
        }
    }

    /// The column, or the first row whose value does not fit.
    fn array(self, members: Vec<Option<Member<'_>>>, spine: &Spine) -> Result<ArrayRef, usize> {
        fn fit<'a, T>(
            members: &'a [Option<Member<'a>>],
            kind: JsonKind,
            parse: impl Fn(&'a str) -> Option<T>,
        ) -> Result<Vec<Option<T>>, usize> {
            let one = |(at, member): (usize, &'a Option<Member<'a>>)| match member {
                None => Ok(None),
                Some(member) if member.kind == kind => parse(member.raw).map(Some).ok_or(at),
                Some(_) => Err(at),
            };
            members.iter().enumerate().map(one).collect()
        }
        let string =
            |raw: &str| JsonReader::read(raw.as_bytes(), |reader| Ok(reader.string()?.into_owned())).ok();
        Ok(match self {
            Self::Time => {
                Arc::new(TimestampMicrosecondArray::new(spine.times.clone(), None).with_timezone("UTC"))
            }
            Self::Bool => {
                Arc::new(BooleanArray::from(fit(&members, JsonKind::Bool, |raw| raw.parse().ok())?))
            }
            Self::Int64 => {
                Arc::new(Int64Array::from(fit(&members, JsonKind::Number, |raw| raw.parse().ok())?))
            }
            Self::Float64 => {
                Arc::new(Float64Array::from(fit(&members, JsonKind::Number, |raw| raw.parse().ok())?))
            }
            Self::String => Arc::new(StringArray::from(fit(&members, JsonKind::String, string)?)),
            Self::Json => Arc::new(
                members
                    .iter()
                    .map(|member| member.as_ref().map(|member| member.raw))
                    .collect::<StringArray>(),
            ),
        })
    }
}

fn members<'a>(row: &'a str, mut each: impl FnMut(&str, Member<'a>) -> Result<()>) -> Result<()> {
    JsonReader::read(row.as_bytes(), |reader| {
        reader.object(|reader, name| {
            let kind = reader.peek()?;
            each(name, Member { kind, raw: reader.raw()? })
        })
    })
}

/// Turns typed rows into batches of one schema.
pub(super) struct TypedColumnizer {
    keys: Vec<String>,
    columns: Vec<(String, Dtype)>,
    schema: SchemaRef,
}

impl TypedColumnizer {
    /// From the first rows: a column's type is that of its first value, with room for the digits of all decimals.
    pub fn infer<'a>(rows: impl Iterator<Item = &'a SpineRow>, spine: &Spine) -> Self {
        let mut seen: BTreeMap<&String, Option<Dtype>> = BTreeMap::new();
        for (name, value) in rows.flat_map(|row| &row.columns) {
            let known = seen.entry(name).or_default();
            *known = match (*known, own_dtype(value)) {
                (Some(known), Some(dtype)) => Some(known.with_room_for(dtype)),
                (known, dtype) => known.or(dtype),
            };
        }
        let own = |name: &String| *name != spine.names.time && !spine.names.keys.contains(name);
        let columns: Vec<_> = seen
            .into_iter()
            .filter(|(name, _)| own(name))
            .map(|(name, dtype)| (name.clone(), dtype.unwrap_or(Dtype::String)))
            .collect();
        let keys: Vec<String> =
            spine.names.keys.iter().map(|key| key.trim_start_matches("entities.").to_owned()).collect();
        let ids = keys.iter().map(|key| Field::new(key, DataType::Utf8, false));
        let time = Field::new(&spine.names.time, Dtype::Timestamp.arrow(), false);
        let others = columns.iter().map(|(name, dtype)| Field::new(name, dtype.arrow(), true));
        let fields: Vec<Field> = ids.chain([time]).chain(others).collect();
        Self { keys, columns, schema: Arc::new(Schema::new(fields)) }
    }

    /// The rows of a spine as a batch.
    pub fn batch(&self, rows: &[SpineRow], spine: &Spine) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> =
            spine.ids.iter().map(|ids| Arc::new(ids.clone()) as ArrayRef).collect();
        debug_assert_eq!(arrays.len(), self.keys.len());
        arrays.push(Arc::new(TimestampMicrosecondArray::new(spine.times.clone(), None).with_timezone("UTC")));
        let known = |name: &String| self.columns.iter().any(|(column, _)| column == name);
        for (at, row) in rows.iter().enumerate() {
            let extra = row
                .columns
                .keys()
                .find(|name| !known(name) && **name != spine.names.time && !spine.names.keys.contains(name));
            if let Some(name) = extra {
                let message =
                    "the first rows have no such column, and an Arrow answer has one schema; give it there";
                return Err(Error::invalid(format!("spine[{}].{name}", spine.first_row + at), message));
            }
        }
        for (name, dtype) in &self.columns {
            let mut builder = ColumnBuilder::new(*dtype, rows.len());
            for (at, row) in rows.iter().enumerate() {
                let refuse =
                    |why: String| Error::invalid(format!("spine[{}].{name}", spine.first_row + at), why);
                let value = row.columns.get(name).cloned().map(|value| value_from(value, *dtype));
                match value.transpose().map_err(refuse)?.flatten() {
                    None => builder.push_null(),
                    Some(value) => builder.push_value(&value),
                }
            }
            arrays.push(builder.finish().values);
        }
        RecordBatch::try_new(self.schema.clone(), arrays).map_err(Error::internal)
    }
}

/// Turns rows of any form into batches of one schema, once enough rows are there to know it.
#[derive(Default)]
pub(super) struct Columnizer {
    json: Option<JsonColumnizer>,
    typed: Option<TypedColumnizer>,
}

impl Columnizer {
    /// Decides on the columns of JSON rows by the first of them.
    pub fn infer_json<'a>(&mut self, first: impl Iterator<Item = &'a str>, time: &str) -> Result<()> {
        self.json = Some(JsonColumnizer::infer(first, time)?);
        Ok(())
    }

    /// Rows as batches, in order. The first rows it is given decide the schema.
    pub fn batches(&mut self, rows: Rows, spine: &Spine) -> Result<Vec<RecordBatch>> {
        match rows {
            Rows::Arrow(batches) => Ok(batches.into()),
            Rows::Json(texts) => {
                let columnizer = match &self.json {
                    Some(columnizer) => columnizer,
                    None => {
                        let first = JsonColumnizer::infer(texts.iter().flatten(), &spine.names.time)?;
                        self.json.insert(first)
                    }
                };
                columnizer.batch(&texts, spine).map(|batch| vec![batch])
            }
            Rows::Typed(mut rows) => {
                let columnizer = self.typed.get_or_insert_with(|| TypedColumnizer::infer(rows.iter(), spine));
                columnizer.batch(rows.make_contiguous(), spine).map(|batch| vec![batch])
            }
        }
    }
}
