//! The features beside the spine's own columns.

use super::Answer;
use crate::{
    error::{Error, Result},
    feature::{CellStatus, Dtype},
    registry::Plan,
    store::NO_ROW,
};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int8Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    buffer::{BooleanBuffer, NullBuffer, ScalarBuffer},
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

/// What `__status` columns refer to, by the statuses' numbers.
static STATUS_NAMES: LazyLock<ArrayRef> = LazyLock::new(|| {
    let name = |number| CellStatus::from_number(number).map_or("INVALID", CellStatus::name);
    Arc::new(StringArray::from_iter_values((0..=CellStatus::Error as u8).map(name)))
});

/// Puts the features beside the spine's own columns.
pub struct Joiner {
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
            let metadata =
                [("larder.ref", feature.reference.clone()), ("larder.dtype", dtype.name().into_owned())];
            let metadata = HashMap::from(metadata.map(|(key, value)| (key.to_owned(), value)));
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
        return Arc::new(BooleanArray::new(values, nulls));
    }
    if array.nulls().is_none() {
        return array.clone();
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
