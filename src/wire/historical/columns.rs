//! Columns: a spine's own beside the features, and a spine's own as rows of another form.

use crate::{
    error::{Error, Result},
    feature::{CellStatus, Dtype, Element, Timestamp, columns::value_at},
    registry::Plan,
    serving::historical::{Answer, Spine},
    store::NO_ROW,
    wire::{
        json::JsonWriter,
        proto::{SpineRow, Value, value::Kind as ValueKind},
        value::{timestamp_to, value_to},
    },
};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, DictionaryArray, Int8Array, RecordBatch, StringArray,
        TimestampMicrosecondArray, new_null_array,
    },
    buffer::{BooleanBuffer, NullBuffer, ScalarBuffer},
    compute::{cast, concat_batches},
    datatypes::{
        DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
    error::ArrowError,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, LazyLock},
};

/// What `__status` columns refer to, by the statuses' numbers.
static STATUS_NAMES: LazyLock<ArrayRef> = LazyLock::new(|| {
    let name = |number| CellStatus::from_number(number).map_or("INVALID", CellStatus::name);
    Arc::new(StringArray::from_iter_values((0..=CellStatus::Error as u8).map(name)))
});

/// Puts the features beside the spine's own columns.
pub(super) struct Joiner {
    plan: Arc<Plan>,
    details: bool,
    metadata: HashMap<String, String>,
    schema: Option<SchemaRef>,
}

impl Joiner {
    pub fn new(plan: Arc<Plan>, details: bool, metadata: HashMap<String, String>) -> Self {
        Self { plan, details, metadata, schema: None }
    }

    /// Says more about the whole. Only before the first rows.
    pub fn add_metadata(&mut self, key: &str, value: String) {
        self.metadata.insert(key.to_owned(), value);
    }

    /// The rows of `spine`, which are rows `at..` of the answer.
    pub fn join(&mut self, spine: &RecordBatch, answer: &Answer, at: usize) -> Result<RecordBatch> {
        let schema = match &self.schema {
            Some(schema) => schema.clone(),
            None => self.schema.insert(Arc::new(self.schema_of(spine.schema_ref()))).clone(),
        };
        let rows = spine.num_rows();
        let mut columns = spine.columns().to_vec();
        columns.extend(answer.features.iter().map(|feature| canonical(&feature.values.slice(at, rows))));
        if self.details {
            for (feature, column) in self.plan.features.iter().zip(&answer.features) {
                let statuses =
                    column.statuses.as_ref().ok_or_else(|| Error::internal("details without statuses"))?;
                let statuses = statuses.slice(at, rows);
                let events = answer.event_timestamps[feature.group].slice(at, rows);
                columns.push(status_column(&statuses)?);
                columns.push(event_column(&statuses, events));
            }
        }
        RecordBatch::try_new(schema, columns).map_err(Error::internal)
    }

    fn schema_of(&self, spine: &Schema) -> Schema {
        let mut fields: Vec<FieldRef> = spine.fields().iter().cloned().collect();
        fields.extend(self.plan.features.iter().map(|feature| {
            let dtype = feature.feature.dtype;
            let metadata = [("larder.ref", feature.reference.as_str()), ("larder.dtype", dtype.name())];
            let metadata = HashMap::from(metadata.map(|(key, value)| (key.to_owned(), value.to_owned())));
            Arc::new(Field::new(&feature.name, dtype.arrow(), true).with_metadata(metadata))
        }));
        if self.details {
            for feature in &self.plan.features {
                let status = DataType::Dictionary(DataType::Int8.into(), DataType::Utf8.into());
                fields.push(Arc::new(Field::new(format!("{}__status", feature.name), status, false)));
                let name = format!("{}__event_timestamp", feature.name);
                fields.push(Arc::new(Field::new(name, Dtype::Timestamp.arrow(), true)));
            }
        }
        Schema::new_with_metadata(fields, self.metadata.clone())
    }
}

/// Equal cells in equal bytes: what lies under nulls and past the end comes from this array alone, not from the piece
/// that it was cut out of.
fn canonical(array: &ArrayRef) -> ArrayRef {
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    let nulls = nulls.map(|nulls| NullBuffer::new(nulls.inner().iter().collect()));
    if let Some(bools) = array.as_boolean_opt() {
        let values: BooleanBuffer = bools.values().iter().collect();
        return Arc::new(arrow::array::BooleanArray::new(values, nulls));
    }
    let data = array.to_data().into_builder().nulls(nulls).build();
    data.map_or_else(|_| array.clone(), arrow::array::make_array)
}

fn status_column(statuses: &ScalarBuffer<u8>) -> Result<ArrayRef> {
    let keys = Int8Array::from_iter_values(statuses.iter().map(|status| *status as i8));
    let column = DictionaryArray::try_new(keys, STATUS_NAMES.clone()).map_err(Error::internal)?;
    Ok(Arc::new(column))
}

fn event_column(statuses: &ScalarBuffer<u8>, events: ScalarBuffer<i64>) -> ArrayRef {
    let shown = |row: usize| statuses[row] != CellStatus::NotFound as u8 && events[row] != NO_ROW;
    let shown = BooleanBuffer::collect_bool(events.len(), shown);
    let events = events.iter().zip(&shown).map(|(event, shown)| if shown { *event } else { 0 });
    let events: ScalarBuffer<i64> = events.collect();
    let nulls = NullBuffer::new(shown);
    let nulls = (nulls.null_count() > 0).then_some(nulls);
    Arc::new(TimestampMicrosecondArray::new(events, nulls).with_timezone("UTC"))
}

/// Rows in batches of one fixed size, however they came.
pub(super) struct Rebatch {
    rows_max: usize,
    pending: VecDeque<RecordBatch>,
    rows: usize,
}

impl Rebatch {
    pub fn new(rows_max: usize) -> Self {
        Self { rows_max, pending: VecDeque::new(), rows: 0 }
    }

    pub fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.pending.push_back(batch);
    }

    /// The next full batch.
    pub fn full(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows < self.rows_max { Ok(None) } else { self.take(self.rows_max) }
    }

    /// Whatever is left; with nothing at all an empty batch, if the schema is known.
    pub fn rest(&mut self) -> Result<Option<RecordBatch>> {
        self.take(self.rows)
    }

    fn take(&mut self, count: usize) -> Result<Option<RecordBatch>> {
        let (mut taken, mut missing) = (Vec::new(), count);
        while let Some(batch) = self.pending.pop_front() {
            let rows = missing.min(batch.num_rows());
            if rows < batch.num_rows() {
                self.pending.push_front(batch.slice(rows, batch.num_rows() - rows));
            }
            if rows > 0 || taken.is_empty() {
                taken.push(batch.slice(0, rows));
            }
            missing -= rows;
            if missing == 0 && count > 0 {
                break;
            }
        }
        self.rows -= count - missing;
        match &taken[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            [first, ..] => concat_batches(first.schema_ref(), &taken).map(Some).map_err(Error::internal),
        }
    }
}

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
            Self::Dtype(dtype, values) => {
                value_to(values.is_valid(row).then(|| value_at(values, row, *dtype)).as_ref())
            }
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
            let own =
                |name: &str| name != spine.names.time && !spine.names.keys.iter().any(|key| key == name);
            let fields = batch.schema_ref().fields().iter().zip(batch.columns());
            let columns: Vec<(&str, Plain)> = fields
                .filter(|(field, _)| own(field.name()))
                .map(|(field, array)| Ok((field.name().as_str(), Plain::new(field.name(), array)?)))
                .collect::<Result<_>>()?;
            for row in 0..batch.num_rows() {
                let at = rows.len();
                let mut out = SpineRow {
                    timestamp: Some(timestamp_to(Timestamp::from_stored(spine.times[at]))),
                    columns: columns
                        .iter()
                        .map(|(name, column)| ((*name).to_owned(), column.value(row)))
                        .collect(),
                    ..Default::default()
                };
                if let [ids] = &spine.ids[..] {
                    out.entity_id = ids.value(at).to_owned();
                } else {
                    let ids = spine.ids.iter().map(|ids| ids.value(at).to_owned());
                    out.entities = self.plan.keys.iter().cloned().zip(ids).collect();
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
    use arrow::array::Int64Array;

    fn batch(range: std::ops::Range<i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(range));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn batches_of_one_size_however_rows_came() {
        let cut = |sizes: &[i64]| {
            let mut rebatch = Rebatch::new(4);
            let (mut at, mut out) = (0, Vec::new());
            for size in sizes {
                rebatch.push(batch(at..at + size));
                at += size;
                while let Some(full) = rebatch.full().unwrap() {
                    out.push(full);
                }
            }
            out.extend(rebatch.rest().unwrap());
            out
        };
        let expected = cut(&[10]);
        assert_eq!(expected.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [4, 4, 2]);
        for sizes in [&[1; 10][..], &[3, 3, 3, 1], &[0, 4, 0, 4, 2], &[9, 1]] {
            assert_eq!(cut(sizes), expected);
        }
        assert_eq!(cut(&[0])[0].num_rows(), 0);
        assert!(cut(&[]).is_empty());
    }

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
