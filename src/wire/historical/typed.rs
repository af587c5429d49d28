//! Spines and answers as protobuf rows.

use super::{
    Rows,
    grpc::{reply, summary_to},
    names::{self, AddedNames, ColumnNames},
    plain::SpineRowsFromArrow,
};
use crate::{
    error::{Error, Kind, Result},
    feature::{CellStatus, Round, Timestamp, columns::value_at},
    registry::Plan,
    serving::training::{Answer, AnswerWriter, Part, Piece, Spine, SpineNames, SpineReader, Summary},
    wire::online,
    wire::proto::{
        self, GetHistoricalFeaturesResponse, SpineRow, SpineRows, TrainingRow, TrainingRows,
        get_historical_features_response::Part as Reply, value::Kind as ValueKind,
    },
};
use arrow::array::{Array, StringBuilder};
use bytes::Bytes;
use prost::Message;
use std::{borrow::Cow, collections::VecDeque, mem, sync::Arc};

/// Decoded rows take about this many times their bytes on the wire.
const MEMORY_FACTOR: usize = 6;

/// One message's encoding is the concatenation of its rows', so a spine's hash does not depend on how it was cut.
impl Part for SpineRows {
    fn bytes(&self) -> usize {
        MEMORY_FACTOR * self.encoded_len()
    }

    fn encode(self) -> Bytes {
        self.encode_to_vec().into()
    }

    fn decode(bytes: Bytes) -> Result<Self> {
        Message::decode(bytes).map_err(Error::internal)
    }
}

/// Reads `SpineRows`.
pub(super) struct TypedReader {
    plan: Arc<Plan>,
    columns: ColumnNames,
    added: AddedNames,
    names: Arc<SpineNames>,
    first_row: usize,
    rows: VecDeque<SpineRow>,
    ids: Vec<StringBuilder>,
    times: Vec<i64>,
    bytes: usize,
}

impl TypedReader {
    pub fn new(plan: Arc<Plan>, columns: ColumnNames) -> Self {
        let alone = plan.keys.len() == 1;
        let mapped =
            |key: &String| columns.get(key).or_else(|| columns.get("entity_id").filter(|_| alone)).cloned();
        let key = |key| {
            mapped(key).unwrap_or_else(|| if alone { "entity_id".into() } else { format!("entities.{key}") })
        };
        let time = columns.get("timestamp").or_else(|| columns.get("event_timestamp"));
        let names = SpineNames {
            keys: plan.keys.iter().map(key).collect(),
            time: time.cloned().unwrap_or_else(|| "timestamp".into()),
        };
        Self {
            ids: plan.keys.iter().map(|_| StringBuilder::new()).collect(),
            added: AddedNames::new(&plan, false),
            names: Arc::new(names),
            plan,
            columns,
            first_row: 0,
            rows: VecDeque::new(),
            times: Vec::new(),
            bytes: 0,
        }
    }

    fn read(&mut self, row: &SpineRow) -> Result<()> {
        for name in row.columns.keys().chain(row.entities.keys()) {
            self.added.check(name).map_err(|why| Error::invalid(name, why))?;
        }
        for (position, key) in self.plan.keys.iter().enumerate() {
            let id = self.id(row, key).map_err(|why| Error::invalid(&self.names.keys[position], why))?;
            self.ids[position].append_value(id);
        }
        let time = self.time(row).map_err(|why| Error::invalid(&self.names.time, why))?;
        self.times.push(time.micros());
        Ok(())
    }

    fn id<'a>(&self, row: &'a SpineRow, key: &str) -> Result<Cow<'a, str>, String> {
        let alone = self.plan.keys.len() == 1;
        let mapped = self.columns.get(key).or_else(|| self.columns.get("entity_id").filter(|_| alone));
        let name = mapped.map_or(key, String::as_str);
        if let Some(id) = row.entities.get(name) {
            if mapped.is_none() && alone && !row.entity_id.is_empty() {
                return Err(names::named_twice(key));
            }
            return Ok(id.into());
        }
        if mapped.is_none() && alone && !row.entity_id.is_empty() {
            return Ok((&row.entity_id).into());
        }
        match mapped.and_then(|name| row.columns.get(name)).and_then(|value| value.kind.as_ref()) {
            Some(ValueKind::StringValue(id)) => Ok(id.into()),
            Some(ValueKind::Int64Value(id)) => Ok(id.to_string().into()),
            Some(_) => Err("an entity id is a string or an int64, never null".into()),
            None => Err(format!("the row names no {key:?}; every row of the spine names its entities")),
        }
    }

    fn time(&self, row: &SpineRow) -> Result<Timestamp, String> {
        let proto_time = |time: &prost_types::Timestamp| {
            Timestamp::from_seconds_nanos(time.seconds, time.nanos, Round::Down)
        };
        let mapped = self.columns.get("timestamp").or_else(|| self.columns.get("event_timestamp"));
        let Some(name) = mapped else {
            return match &row.timestamp {
                Some(time) => proto_time(time),
                None => Err("the row has no timestamp; every row of the spine has its moment".into()),
            };
        };
        match row.columns.get(name).and_then(|value| value.kind.as_ref()) {
            Some(ValueKind::TimestampValue(time)) => proto_time(time),
            Some(ValueKind::StringValue(text)) => Timestamp::parse(text, Round::Down),
            _ => Err(format!("the row's column {name:?} holds no timestamp")),
        }
    }
}

impl SpineReader<SpineRows, Rows> for TypedReader {
    fn push(&mut self, part: SpineRows) -> Result<()> {
        self.bytes += Part::bytes(&part);
        for row in part.rows {
            let position = self.first_row + self.rows.len();
            self.read(&row).map_err(|error| error.within(format_args!("spine[{position}]")))?;
            self.rows.push_back(row);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn take(&mut self) -> Piece<Rows> {
        let rows = mem::take(&mut self.rows);
        let spine = Spine {
            first_row: self.first_row,
            ids: self.ids.iter_mut().map(StringBuilder::finish).collect(),
            times: mem::take(&mut self.times).into(),
            names: self.names.clone(),
        };
        self.first_row += rows.len();
        self.bytes = 0;
        Piece { spine, rows: Rows::Typed(rows) }
    }
}

/// Writes `TrainingRows`.
pub(super) struct TypedWriter {
    plan: Arc<Plan>,
    from_arrow: SpineRowsFromArrow,
    message_bytes_max: usize,
    rows: VecDeque<SpineRow>,
    answer: Option<Answer>,
    /// Rows of the answer that were written.
    written: usize,
    summary: Option<Summary>,
}

impl TypedWriter {
    pub fn new(plan: Arc<Plan>, message_bytes_max: usize) -> Self {
        Self {
            from_arrow: SpineRowsFromArrow::new(plan.clone()),
            plan,
            message_bytes_max,
            rows: VecDeque::new(),
            answer: None,
            written: 0,
            summary: None,
        }
    }
}

impl AnswerWriter<Rows, GetHistoricalFeaturesResponse> for TypedWriter {
    fn push(&mut self, rows: Rows, spine: &Spine, answer: Answer) -> Result<()> {
        self.rows = match rows {
            Rows::Typed(rows) => rows,
            Rows::Arrow(batches) => self.from_arrow.rows(batches, spine)?,
            Rows::Json(_) => return Err(Error::internal("JSON rows have no typed answer")),
        };
        self.answer = Some(answer);
        self.written = 0;
        Ok(())
    }

    fn finish(&mut self, summary: Summary) -> Result<()> {
        self.summary = Some(summary);
        Ok(())
    }

    fn message(&mut self) -> Result<Option<GetHistoricalFeaturesResponse>> {
        let (Some(answer), false) = (&self.answer, self.rows.is_empty()) else {
            return Ok(self.summary.take().map(summary_to));
        };
        let (mut rows, mut bytes) = (Vec::new(), 0);
        // A quarter of the greatest message: large enough to be cheap, small enough that few of them wait.
        while bytes < self.message_bytes_max / 4 {
            let Some(spine) = self.rows.pop_front() else { break };
            let features = Some(row(&self.plan, answer, self.written));
            let row = TrainingRow { spine: Some(spine), features };
            let row_bytes = row.encoded_len() + 16;
            if bytes + row_bytes > self.message_bytes_max {
                if rows.is_empty() {
                    let message = format!(
                        "a row of {row_bytes} bytes is over the limit of {} for a message; ask for fewer features",
                        self.message_bytes_max
                    );
                    return Err(Error::new(Kind::TooLarge, message));
                }
                if let Some(spine) = row.spine {
                    self.rows.push_front(spine);
                }
                break;
            }
            bytes += row_bytes;
            rows.push(row);
            self.written += 1;
        }
        Ok(Some(reply(Reply::Rows(TrainingRows { rows }))))
    }
}

/// One row of an answer, in the layout of online answers. It must carry statuses.
fn row(plan: &Plan, answer: &Answer, at: usize) -> proto::Row {
    let mut row = proto::Row {
        event_timestamps_us: answer.event_timestamps.iter().map(|group| group[at]).collect(),
        ..Default::default()
    };
    for (feature, column) in plan.features.iter().zip(&answer.features) {
        let values = &column.values;
        let there = values.is_valid(at);
        let status = column.statuses.as_ref().map_or(CellStatus::Error as u8, |statuses| statuses[at]);
        row.statuses.push(i32::from(status));
        let dtype = feature.feature.dtype;
        online::push(&mut row, dtype, there.then(|| value_at(values, at, dtype)));
    }
    row
}
