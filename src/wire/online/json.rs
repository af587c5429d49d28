//! The online answer as natural JSON: `POST /api/v1/features/online`.

use super::{
    Envelope,
    json_layout::{JsonLayout, write_status},
    layout::Layout,
};
use crate::{
    error::{Error, Kind, Result},
    feature::{
        CellStatus, Duration, PackedRow, Round, Timestamp,
        json::{JsonReader, append, write_string},
    },
    registry::{FeatureList, ListEncoding},
    serving::online::{Entities, GroupCells, OnlineAnswer, OnlineRequest},
    wire::json::{Int64Form, JsonWriter, read_duration, read_id, read_timestamp, read_u64},
};
use bytes::Bytes;
use std::borrow::Cow;

pub(super) const MEMBERS: [&str; 9] = [
    "features",
    "feature_set",
    "entity_ids",
    "entities",
    "as_of",
    "max_age",
    "use_defaults",
    "int64",
    // Last, because only the packed answer has a schema to leave out.
    "schema_id",
];
/// What a value, a status and an event timestamp are guessed to take, with their quotes.
const CELL_BYTES_GUESS: usize = 20 + 12 + 30;
/// A shorter text is sooner copied than sent as a piece of its own. Tests have short texts only, and share them too.
const SHARED_BYTES_MIN: usize = if cfg!(test) { 64 } else { 2_048 };
const TIMESTAMP_BYTES_GUESS: usize = 30;

/// The body of a request.
#[derive(Debug, Default)]
pub struct JsonRequest<'a> {
    /// The text of the array.
    features: Option<&'a str>,
    feature_set: Option<Cow<'a, str>>,
    entity_ids: Option<Ids<'a>>,
    entities: Option<Vec<(String, Ids<'a>)>>,
    as_of: Option<Timestamp>,
    max_age: Option<Duration>,
    use_defaults: bool,
    int64: Int64Form,
    /// The schema that the caller of a packed answer holds; 0 = none.
    pub schema_id: u64,
}

type Ids<'a> = Vec<Cow<'a, str>>;

/// The entities of a request as the service takes them. Borrows from the request.
#[derive(Debug, Default)]
pub struct JsonEntities<'a> {
    ids: Vec<&'a str>,
    columns: Option<Vec<(&'a str, Vec<&'a str>)>>,
}

impl<'a> JsonRequest<'a> {
    /// The body of `/features/online`.
    pub fn read(body: &'a [u8]) -> Result<Self> {
        Self::read_members(body, &MEMBERS[..8])
    }

    /// The body of `/features/online:packed`: the same question, and the schema that the caller holds.
    pub fn read_packed(body: &'a [u8]) -> Result<Self> {
        Self::read_members(body, &MEMBERS)
    }

    fn read_members(body: &'a [u8], members: &'static [&'static str]) -> Result<Self> {
        let mut request = Self::default();
        JsonReader::read(body, |reader| {
            reader.object(|reader, member| {
                let known = members.contains(&member);
                if known && reader.take_null()? {
                    return Ok(());
                }
                match member {
                    "features" => request.features = Some(reader.raw_strings()?),
                    "feature_set" => request.feature_set = Some(reader.string()?),
                    "entity_ids" => request.entity_ids = Some(read_ids(reader)?),
                    "entities" => {
                        let columns = request.entities.get_or_insert_default();
                        reader.object(|reader, key| {
                            columns.push((key.to_owned(), read_ids(reader)?));
                            Ok(())
                        })?;
                    }
                    "as_of" => request.as_of = Some(read_timestamp(reader, Round::Down)?),
                    "max_age" => request.max_age = Some(read_duration(reader)?),
                    "use_defaults" => request.use_defaults = reader.boolean()?,
                    "int64" => request.int64 = Int64Form::read(reader)?,
                    "schema_id" if known => request.schema_id = read_u64(reader)?,
                    _ => return reader.unknown_member(members),
                }
                Ok(())
            })
        })?;
        Ok(request)
    }

    pub fn entities(&self) -> JsonEntities<'_> {
        fn texts<'t>(ids: &'t Ids<'_>) -> Vec<&'t str> {
            ids.iter().map(|id| &**id).collect()
        }
        JsonEntities {
            ids: self.entity_ids.as_ref().map(texts).unwrap_or_default(),
            columns: self
                .entities
                .as_ref()
                .map(|columns| columns.iter().map(|(key, ids)| (key.as_str(), texts(ids))).collect()),
        }
    }

    /// The request in the service's words.
    pub fn to_online<'r>(&'r self, entities: &'r JsonEntities<'r>) -> Result<OnlineRequest<'r>> {
        let features = match (self.features, &self.feature_set) {
            (Some(array), None) => FeatureList::Encoded {
                encoding: ListEncoding::Json,
                bytes: array.as_bytes(),
                names: feature_names,
            },
            (None, Some(set)) => FeatureList::Set(set),
            (None, None) => FeatureList::Names(&[]),
            (Some(_), Some(_)) => {
                let message = "features and feature_set exclude each other; give one of them";
                return Err(Error::invalid("feature_set", message));
            }
        };
        let entities = match (&self.entity_ids, &entities.columns) {
            (_, None) => Entities::Ids(&entities.ids),
            (None, Some(columns)) => Entities::Columns(columns),
            (Some(_), Some(_)) => {
                let message = "entity_ids and entities exclude each other; give one of them";
                return Err(Error::invalid("entities", message));
            }
        };
        Ok(OnlineRequest {
            features,
            entities,
            as_of: self.as_of,
            max_age: self.max_age,
            use_defaults: self.use_defaults,
        })
    }
}

fn read_ids<'a>(reader: &mut JsonReader<'a>) -> Result<Ids<'a>> {
    let mut ids = Vec::new();
    reader.array(|reader, _| {
        ids.push(read_id(reader)?);
        Ok(())
    })?;
    Ok(ids)
}

/// The names within the text of an array.
fn feature_names(array: &[u8]) -> Result<Vec<Cow<'_, str>>> {
    let mut names = Vec::new();
    let read = JsonReader::read(array, |reader| {
        reader.array(|reader, _| {
            names.push(reader.string()?);
            Ok(())
        })
    });
    read.map_err(|error| error.within("features"))?;
    Ok(names)
}

/// Writes an answer, in pieces that follow one another.
pub fn write_json(
    answer: &OnlineAnswer,
    request: &JsonRequest<'_>,
    envelope: &Envelope<'_>,
) -> Result<Vec<Bytes>> {
    let layout = Layout::of(&answer.plan);
    let json = layout.json(&answer.plan);
    let row_guess = 2 * json.names_len() + CELL_BYTES_GUESS * answer.plan.features.len() + 200;
    let mut out = Pieces::with_capacity((200 + answer.rows * row_guess).min(envelope.bytes_max));
    out.own.extend_from_slice(b"{\"request_id\":");
    write_string(envelope.request_id, &mut out.own);
    out.own.extend_from_slice(b",\"degraded\":");
    out.own.extend_from_slice(if answer.degraded { b"true," } else { b"false," });
    out.share(&json.schema);
    out.own.extend_from_slice(b",\"results\":[");
    let defaults = answer.use_defaults.then_some(&*layout.defaults);
    let mut rows = RowWriter {
        answer,
        request,
        layout,
        json,
        cells: Vec::with_capacity(answer.plan.groups.len()),
        defaults: defaults
            .map(|bytes| PackedRow::new(bytes).expect("the defaults were packed when the plan was made")),
    };
    for row in 0..answer.rows {
        rows.write(row, &mut out);
        // The closing brackets are part of the answer.
        if out.len() + 2 > envelope.bytes_max {
            let message = format!(
                "the answer is over the limit of {} bytes; the first {row} of these {} entities fit",
                envelope.bytes_max, answer.rows
            );
            return Err(Error::new(Kind::TooLarge, message));
        }
    }
    out.own.extend_from_slice(b"]}");
    Ok(out.finish())
}

/// A body under way: what is its own, and texts of the plan that many bodies share.
struct Pieces {
    own: Vec<u8>,
    /// Each stands before the byte of `own` at its place.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
}

impl Pieces {
    fn with_capacity(bytes: usize) -> Self {
        Self { own: Vec::with_capacity(bytes), shared: Vec::new(), shared_len: 0 }
    }

    fn len(&self) -> usize {
        self.own.len() + self.shared_len
    }

    fn share(&mut self, text: &Bytes) {
        if text.len() < SHARED_BYTES_MIN {
            return self.own.extend_from_slice(text);
        }
        self.shared_len += text.len();
        self.shared.push((self.own.len(), text.clone()));
    }

    fn finish(self) -> Vec<Bytes> {
        let mut own = Bytes::from(self.own);
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut cut = 0;
        for (at, text) in self.shared {
            pieces.push(own.split_to(at - cut));
            pieces.push(text);
            cut = at;
        }
        pieces.push(own);
        pieces
    }
}

/// One result at a time.
struct RowWriter<'a> {
    answer: &'a OnlineAnswer,
    request: &'a JsonRequest<'a>,
    layout: &'a Layout,
    json: &'a JsonLayout,
    /// By the plan's groups.
    cells: Vec<GroupCells<'a>>,
    defaults: Option<PackedRow<'a>>,
}

impl RowWriter<'_> {
    fn write(&mut self, row: usize, out: &mut Pieces) {
        self.cells.clear();
        self.cells.extend((0..self.answer.plan.groups.len()).map(|group| self.answer.cells(row, group)));
        out.own.extend_from_slice(if row == 0 { b"{" } else { b",{" });
        self.write_entity(row, &mut out.own);
        out.own.extend_from_slice(b",\"values\":{");
        self.write_values(&mut out.own);
        out.own.extend_from_slice(b"},\"statuses\":");
        self.write_statuses(out);
        let out = &mut out.own;
        out.extend_from_slice(b",\"event_timestamps\":{");
        self.write_event_timestamps(out);
        out.push(b'}');
        self.write_errors(out);
        out.push(b'}');
    }

    fn write_entity(&self, row: usize, out: &mut Vec<u8>) {
        if let Some(ids) = &self.request.entity_ids {
            out.extend_from_slice(b"\"entity_id\":");
            return write_string(&ids[row], out);
        }
        JsonWriter::new(out).key("entities").object(|writer| {
            for (key, ids) in self.request.entities.iter().flatten() {
                writer.key(key).string(&ids[row]);
            }
        });
    }

    fn write_values(&self, out: &mut Vec<u8>) {
        let mut writer = JsonWriter { out, int64: self.request.int64 };
        for (group, features) in &self.layout.statuses {
            let cells = &self.cells[*group];
            for position in features.clone() {
                let feature = &self.answer.plan.features[position];
                let (column, dtype) = (feature.feature.column as usize, feature.feature.dtype);
                self.json.write_name(position, writer.out);
                // Most rows are whole: no cell of them is judged alone.
                if let GroupCells::Whole { row, .. } = cells {
                    writer.packed(*row, column, dtype);
                    continue;
                }
                match (self.answer.status(position, cells), cells.row(), self.defaults) {
                    (CellStatus::Present, Some(row), _) => writer.packed(row, column, dtype),
                    (CellStatus::Error, ..) | (_, _, None) => writer.null(),
                    (_, _, Some(defaults)) => writer.packed(defaults, position, dtype),
                }
            }
        }
    }

    fn write_statuses(&self, out: &mut Pieces) {
        if self.cells.iter().all(|cells| matches!(cells, GroupCells::Whole { .. })) {
            return out.share(&self.json.all_present);
        }
        let out = &mut out.own;
        out.push(b'{');
        for (position, feature) in self.answer.plan.features.iter().enumerate() {
            self.json.write_name(position, out);
            write_status(self.answer.status(position, &self.cells[feature.group]), out);
        }
        out.push(b'}');
    }

    fn write_event_timestamps(&self, out: &mut Vec<u8>) {
        let mut text = Vec::with_capacity(TIMESTAMP_BYTES_GUESS);
        let mut written = None;
        for (group, features) in &self.layout.statuses {
            let cells = &self.cells[*group];
            // Groups that a stream writes mostly share a moment.
            if let event @ Some(moment) = cells.event()
                && event != written
            {
                text.clear();
                text.push(b'"');
                Timestamp::from_stored(moment).write_rfc3339(&mut text);
                text.push(b'"');
                written = event;
            }
            for position in features.clone() {
                self.json.write_name(position, out);
                match cells {
                    GroupCells::Whole { .. } => append(&text, out),
                    cells => match self.answer.status(position, cells) {
                        CellStatus::NotFound | CellStatus::Error => out.extend_from_slice(b"null"),
                        _ => append(&text, out),
                    },
                }
            }
        }
    }

    fn write_errors(&self, out: &mut Vec<u8>) {
        if !self.cells.iter().any(|cells| matches!(cells, GroupCells::Failed(_))) {
            return;
        }
        JsonWriter::new(out).key("errors").object(|writer| {
            for feature in &self.answer.plan.features {
                if let GroupCells::Failed(error) = &self.cells[feature.group] {
                    writer.key(&feature.name).string(&error.message);
                }
            }
        });
    }
}
