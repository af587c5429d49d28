//! A spine's own columns in the forms that JSON and protobuf know.

use crate::{
    error::{Error, Result},
    feature::{Dtype, Element, Timestamp, columns::value_at},
    registry::Plan,
    serving::training::Spine,
    wire::{
        json::JsonWriter,
        proto::{SpineRow, Value, value::Kind as ValueKind},
        value::{timestamp_to, value_ref_to, value_to},
    },
};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array},
    compute::cast,
    datatypes::{
        DataType, FieldRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
        TimestampNanosecondType, TimestampSecondType,
    },
    error::ArrowError,
};
use std::{collections::VecDeque, sync::Arc};

/// A column of a spine in one of the forms that JSON and protobuf know.
enum Plain {
    Dtype(Dtype, ArrayRef),
    /// Numbers beyond int64 and decimals, by their digits.
    Digits(StringArray),
    /// Dates, times and moments that no dtype holds untouched.
    Text(StringArray),
}

impl Plain {
    fn new(name: &str, array: &ArrayRef) -> Result<Self> {
        Self::of(array).map_err(|_| {
            let message = format!(
                "the column {name:?} of type {} has no form in JSON or protobuf; ask for an Arrow or Parquet answer",
                array.data_type()
            );
            Error::invalid("spine", message)
        })
    }

    fn of(array: &ArrayRef) -> Result<Self, ArrowError> {
        use DataType::*;
        let to = |dtype: Dtype| Ok(Self::Dtype(dtype, cast(array, &dtype.arrow())?));
        let text = || cast(array, &Utf8).map(|text| text.as_string::<i32>().clone());
        match array.data_type() {
            Null => Ok(Self::Dtype(Dtype::String, new_null_array(&Utf8, array.len()))),
            Boolean => to(Dtype::Bool),
            Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 => to(Dtype::Int64),
            Float16 | Float32 => to(Dtype::Float32),
            Float64 => to(Dtype::Float64),
            Utf8 | LargeUtf8 | Utf8View => to(Dtype::String),
            Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => to(Dtype::Bytes),
            UInt64 | Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => {
                text().map(Self::Digits)
            }
            Dictionary(_, value) => Self::of(&cast(array, value)?),
            Timestamp(unit, Some(_)) => match in_utc(array, *unit)? {
                Some(moments) => Ok(Self::Dtype(Dtype::Timestamp, moments)),
                None => Ok(Self::Text(nanoseconds(array))),
            },
            Timestamp(_, None) | Date32 | Date64 | Time32(_) | Time64(_) => text().map(Self::Text),
            List(field) | LargeList(field) | FixedSizeList(field, _) => {
                let element = |element: &Element| field.data_type() == &element.dtype().arrow();
                match Element::ALL.into_iter().find(element) {
                    Some(element) => to(Dtype::List(element)),
                    None => match field.data_type() {
                        Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32 => to(Dtype::List(Element::Int64)),
                        Float16 => to(Dtype::List(Element::Float32)),
                        LargeUtf8 | Utf8View => to(Dtype::List(Element::String)),
                        other => Err(ArrowError::NotYetImplemented(other.to_string())),
                    },
                }
            }
            other => Err(ArrowError::NotYetImplemented(other.to_string())),
        }
    }

    fn write_json(&self, row: usize, writer: &mut JsonWriter<'_>) {
        match self {
            Self::Dtype(dtype, values) => writer.arrow(values, row, *dtype),
            Self::Digits(digits) if digits.is_valid(row) => writer.raw(digits.value(row).as_bytes()),
            Self::Text(text) if text.is_valid(row) => writer.string(text.value(row)),
            Self::Digits(_) | Self::Text(_) => writer.null(),
        }
    }

    fn value(&self, row: usize) -> Value {
        match self {
            Self::Dtype(dtype, values) => match values.is_valid(row) {
                true => value_ref_to(value_at(values, row, *dtype)),
                false => value_to(None),
            },
            Self::Digits(text) | Self::Text(text) if text.is_valid(row) => {
                Value { kind: Some(ValueKind::StringValue(text.value(row).to_owned())) }
            }
            Self::Digits(_) | Self::Text(_) => value_to(None),
        }
    }
}

/// Moments as UTC microseconds; `None` where some are finer.
fn in_utc(array: &ArrayRef, unit: TimeUnit) -> Result<Option<ArrayRef>, ArrowError> {
    let utc: ArrayRef = match unit {
        TimeUnit::Second => {
            Arc::new(array.as_primitive::<TimestampSecondType>().clone().with_timezone("UTC"))
        }
        TimeUnit::Millisecond => {
            Arc::new(array.as_primitive::<TimestampMillisecondType>().clone().with_timezone("UTC"))
        }
        TimeUnit::Microsecond => {
            Arc::new(array.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC"))
        }
        TimeUnit::Nanosecond => {
            let moments = array.as_primitive::<TimestampNanosecondType>();
            if moments.iter().flatten().any(|nanos| nanos % 1_000 != 0) {
                return Ok(None);
            }
            Arc::new(moments.clone().with_timezone("UTC"))
        }
    };
    cast(&utc, &Dtype::Timestamp.arrow()).map(Some)
}

/// Moments with all nine digits.
fn nanoseconds(array: &ArrayRef) -> StringArray {
    let text = |nanos: i64| {
        let whole = Timestamp::from_stored(nanos.div_euclid(1_000_000_000) * 1_000_000).to_string();
        format!("{}.{:09}Z", whole.trim_end_matches('Z'), nanos.rem_euclid(1_000_000_000))
    };
    array.as_primitive::<TimestampNanosecondType>().iter().map(|moment| moment.map(text)).collect()
}

/// Writes the rows of a batch as members of JSON objects.
pub(super) struct JsonColumns {
    columns: Vec<(String, Plain)>,
    next: usize,
    rows: usize,
}

impl JsonColumns {
    pub fn new(batch: RecordBatch) -> Result<Self> {
        let plain = |(field, array): (&FieldRef, &ArrayRef)| {
            Ok((field.name().clone(), Plain::new(field.name(), array)?))
        };
        let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(plain);
        Ok(Self { columns: columns.collect::<Result<_>>()?, next: 0, rows: batch.num_rows() })
    }

    pub fn is_exhausted(&self) -> bool {
        self.next == self.rows
    }

    pub fn write_next(&mut self, writer: &mut JsonWriter<'_>) {
        for (name, column) in &self.columns {
            column.write_json(self.next, writer.key(name));
        }
        self.next += 1;
    }
}

/// What a spine calls its rows' time where it does not say otherwise.
const TIME_NAMES: [&str; 2] = ["timestamp", "event_timestamp"];

/// Where a typed row holds an id: where the column's name says, or among the columns that bear a name of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    EntityId,
    Entity(&'a str),
    Column,
}

impl<'a> Place<'a> {
    fn of(name: &'a str, plan: &Plan) -> Self {
        match name {
            "entity_id" => Self::EntityId,
            key if plan.keys.iter().any(|known| known == key) => Self::Entity(key),
            _ => Self::Column,
        }
    }
}

/// Turns the rows of batches into protobuf rows.
pub(super) struct SpineRowsFromArrow {
    plan: Arc<Plan>,
}

impl SpineRowsFromArrow {
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { plan }
    }

    /// All rows of the batches, which are those of `spine`.
    pub fn rows(&self, batches: VecDeque<RecordBatch>, spine: &Spine) -> Result<VecDeque<SpineRow>> {
        let mut rows = VecDeque::with_capacity(spine.len());
        for batch in batches {
            let keys = spine.names.keys.iter().map(String::as_str);
            let places: Vec<Place<'_>> = keys.map(|name| Place::of(name, &self.plan)).collect();
            let named_time = TIME_NAMES.contains(&spine.names.time.as_str());
            let is_set = |name: &str| {
                (named_time && name == spine.names.time)
                    || spine
                        .names
                        .keys
                        .iter()
                        .zip(&places)
                        .any(|(key, place)| key == name && *place != Place::Column)
            };
            let fields = batch.schema_ref().fields().iter().zip(batch.columns());
            let columns: Vec<(&str, Plain)> = fields
                .filter(|(field, _)| !is_set(field.name()))
                .map(|(field, array)| Ok((field.name().as_str(), Plain::new(field.name(), array)?)))
                .collect::<Result<_>>()?;
            for row in 0..batch.num_rows() {
                let at = rows.len();
                let columns = columns.iter().map(|(name, column)| ((*name).to_owned(), column.value(row)));
                let mut out = SpineRow { columns: columns.collect(), ..Default::default() };
                out.timestamp = named_time.then(|| timestamp_to(Timestamp::from_stored(spine.times[at])));
                for (place, ids) in places.iter().zip(&spine.ids) {
                    let id = || ids.value(at).to_owned();
                    match place {
                        Place::EntityId => out.entity_id = id(),
                        Place::Entity(key) => drop(out.entities.insert((*key).to_owned(), id())),
                        Place::Column => {}
                    }
                }
                rows.push_back(out);
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_their_nanoseconds() {
        let moments = arrow::array::TimestampNanosecondArray::from(vec![Some(1_500_000_001), None, Some(-1)]);
        let moments: ArrayRef = Arc::new(moments.with_timezone("Europe/Berlin"));
        let Plain::Text(text) = Plain::of(&moments).unwrap() else {
            panic!("these are finer than microseconds")
        };
        assert_eq!(text.value(0), "1970-01-01T00:00:01.500000001Z");
        assert_eq!(text.value(2), "1969-12-31T23:59:59.999999999Z");
    }
}
