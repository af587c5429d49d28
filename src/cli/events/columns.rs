//! What each column of a file is in an event, and events on their way. Nobody registers what events hold, so a field is
//! what it looks like.

use crate::{
    cli::{
        args::from_proto,
        load::{Cell, Load, Shape, is_text, value_cell},
        value,
    },
    client::{Client, EventWriter},
    error::{Error, Kind, Result},
    feature::{
        Dtype, Round, Timestamp, Value,
        json::{JsonKind, JsonReader, double},
    },
    wire::{
        json::{JsonWriter, read_id},
        proto::{self, Event, StreamPublishEventsRequest, StreamPublishEventsResponse, value::Kind as Proto},
        value::{timestamp_to, value_to},
    },
};
use arrow::datatypes::DataType;
use clap::Args;
use std::collections::HashMap;

/// How the columns of a file are told apart.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ColumnArgs {
    /// The column with the event timestamp [default: timestamp, else event_timestamp]
    #[arg(long, value_name = "COL")]
    time: Option<String>,
    /// The column with the entity's id [default: entity_id]
    #[arg(long, value_name = "COL")]
    entity: Option<String>,
    /// The type of all events
    #[arg(long = "type", value_name = "TEXT", conflicts_with = "type_column")]
    event_type: Option<String>,
    /// The column with each event's type [default: event_type]
    #[arg(long, value_name = "COL")]
    type_column: Option<String>,
    /// The column with the value [default: value]; columns that are nothing else go into metadata
    #[arg(long, value_name = "COL")]
    value: Option<String>,
    /// Keep a column of a CSV as text, such as codes of digits; other fields that look like numbers or booleans become those
    #[arg(long, value_name = "COL")]
    text: Vec<String>,
    /// Pass over a column
    #[arg(long, value_name = "COL")]
    ignore: Vec<String>,
}

/// What a column is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Time,
    EntityId,
    EventType,
    EventId,
    EntityType,
    Value,
    /// A member of the metadata.
    Member(String),
    /// All of the metadata, as a JSON object.
    Metadata,
    Ignored,
}

/// Tells roles by name.
pub(super) struct Columns(pub ColumnArgs);

impl Columns {
    fn of(&self, name: &str) -> Result<Role> {
        let args = &self.0;
        let is = |given: &Option<String>, usual: &[&str]| match given {
            Some(given) => given == name,
            None => usual.contains(&name),
        };
        Ok(match name {
            _ if args.ignore.iter().any(|ignored| ignored == name) => Role::Ignored,
            _ if is(&args.time, &["timestamp", "event_timestamp"]) => Role::Time,
            _ if is(&args.entity, &["entity_id"]) => Role::EntityId,
            // The type that was said counts, whatever the file says.
            "event_type" if args.event_type.is_some() => Role::Ignored,
            _ if is(&args.type_column, &["event_type"]) => Role::EventType,
            _ if is(&args.value, &["value"]) => Role::Value,
            "event_id" => Role::EventId,
            "entity_type" => Role::EntityType,
            "metadata" => Role::Metadata,
            name => {
                let member = name.strip_prefix("metadata.").unwrap_or(name);
                if member.is_empty() || member.contains('.') {
                    let message = "a dot in the name of a column would lead into an object, which a table has not; rename the \
                                   column, pass over it with --ignore, or send NDJSON";
                    return Err(Error::invalid(name, message));
                }
                Role::Member(member.to_owned())
            }
        })
    }
}

impl Shape for Columns {
    type Row = Event;
    type Role = Role;

    fn begin(&self) -> Event {
        Event { event_type: self.0.event_type.clone().unwrap_or_default(), ..Event::default() }
    }

    fn role(&mut self, name: &str) -> Result<Role> {
        self.of(name)
    }

    fn check_columns(&self, columns: &[(String, Role)]) -> Result<()> {
        let count = |wanted: &Role| columns.iter().filter(|(_, role)| role == wanted).count();
        let refused = |message: &str| Err(Error::new(Kind::InvalidArgument, message));
        match count(&Role::Time) {
            0 => return refused("no column holds the event timestamp; name it with --time COL"),
            1 => {}
            _ => {
                return refused(
                    "several columns could hold the event timestamp; name one with --time COL and pass over the others with --ignore COL",
                );
            }
        }
        if count(&Role::EntityId) == 0 {
            return refused("no column holds the entity's id; name it with --entity COL");
        }
        if count(&Role::EventType) == 0 && self.0.event_type.is_none() {
            return refused(
                "no column holds the event type; name it with --type-column COL, or say --type TEXT for all events",
            );
        }
        Ok(())
    }

    fn put_field(&self, event: &mut Event, name: &str, role: &Role, field: &str) -> Result<()> {
        if matches!(role, Role::Value | Role::Member(_)) {
            let text = self.0.text.iter().any(|column| column == name);
            let value = field_value(field, text).map_err(|error| error.within(name))?;
            self.put_value(event, name, role, value);
            return Ok(());
        }
        self.put_text(event, name, role, field)
    }

    /// An event as REST takes it, or a flat one with a member for each column.
    fn read_json(&mut self, text: &[u8]) -> Result<Event> {
        let mut event = self.begin();
        JsonReader::read(text, |reader| {
            reader.object(|reader, name| {
                match self.of(name)? {
                    Role::Ignored => drop(reader.raw()?),
                    _ if reader.take_null()? => {}
                    role @ (Role::Value | Role::Member(_)) => put(&mut event, &role, json_value(reader)?),
                    Role::Metadata => read_metadata(reader, &mut event)?,
                    role @ Role::EntityId => put_text(&mut event, &role, &read_id(reader)?)?,
                    role => put_text(&mut event, &role, &reader.string()?)?,
                }
                Ok(())
            })
        })?;
        Ok(event)
    }

    fn cell(&self, name: &str, role: &Role, have: &DataType) -> Result<Cell, String> {
        match role {
            Role::Ignored => Ok(Cell::Ignored),
            Role::Time if is_text(have) => Ok(Cell::Text),
            Role::Time if matches!(have, DataType::Timestamp(_, Some(_))) => Ok(Cell::Time),
            Role::Time => Err("expected timestamps with a time zone, or RFC 3339 text".into()),
            Role::EntityId | Role::EventType | Role::EventId | Role::EntityType | Role::Metadata => {
                match is_text(have) || (have.is_integer() && *role != Role::Metadata) {
                    true => Ok(Cell::Text),
                    false => Err("expected strings or integers".into()),
                }
            }
            Role::Value | Role::Member(_) => {
                [Dtype::Bool, Dtype::Int64, Dtype::Float64, Dtype::String, Dtype::Bytes, Dtype::Timestamp]
                    .into_iter()
                    .find_map(|dtype| value_cell(dtype, have))
                    .ok_or_else(|| {
                        format!("expected numbers, booleans, strings, bytes or timestamps with a time zone (pass over the column with --ignore {name})")
                    })
            }
        }
    }

    fn put_text(&self, event: &mut Event, name: &str, role: &Role, text: &str) -> Result<()> {
        put_text(event, role, text).map_err(|error| error.within(name))
    }

    fn put_time(&self, event: &mut Event, time: Option<Timestamp>) {
        event.timestamp = time.map(timestamp_to);
    }

    fn put_value(&self, event: &mut Event, _: &str, role: &Role, value: Option<Value>) {
        if let Some(value) = value {
            put(event, role, value_to(Some(&value)));
        }
    }
}

impl Load for Columns {
    type Request = StreamPublishEventsRequest;
    type Answer = StreamPublishEventsResponse;

    const VERB: &'static str = "Publishing";
    const NOUN: &'static str = "event";
    const COUNTS: &'static [&'static str] = &["accepted", "unused", "late", "duplicate"];

    fn open(client: &Client, in_flight_max: usize) -> EventWriter {
        client.event_writer(in_flight_max)
    }

    fn request(events: Vec<Event>) -> StreamPublishEventsRequest {
        StreamPublishEventsRequest { events }
    }

    fn counts(answer: &StreamPublishEventsResponse) -> Vec<u64> {
        vec![answer.accepted, answer.unused, answer.late, answer.duplicate]
    }

    fn rejected(answer: &StreamPublishEventsResponse) -> Vec<(u32, &str, &str)> {
        let rejected = answer.rejected.iter();
        rejected.map(|rejected| (rejected.event, &*rejected.field, &*rejected.reason)).collect()
    }

    fn members(w: &mut JsonWriter<'_>, event: &Event) {
        let texts = [
            ("entity_id", &event.entity_id),
            ("event_type", &event.event_type),
            ("event_id", &event.event_id),
            ("entity_type", &event.entity_type),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            w.key(name).string(text);
        }
        w.key("timestamp").option(event.timestamp.as_ref(), |w, at| w.timestamp(from_proto(at)));
        if let Some(given) = &event.value {
            w.key("value").value(value::from_proto(given).as_ref());
        }
        let metadata: std::collections::BTreeMap<_, _> = event.metadata.iter().collect();
        w.key("metadata").object(|w| {
            for (name, given) in metadata {
                w.key(name).value(value::from_proto(given).as_ref());
            }
        });
    }
}

/// What a field of CSV looks like; an empty one is nothing.
fn field_value(field: &str, text: bool) -> Result<Option<Value>> {
    let looks_like_number = || JsonReader::read(field.as_bytes(), JsonReader::number).is_ok();
    Ok(match field {
        "" => None,
        _ if text => Some(Value::String(field.to_owned())),
        "true" | "True" | "TRUE" => Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => Some(Value::Bool(false)),
        _ if field.trim() == field && looks_like_number() => Some(match field.parse() {
            Ok(int) => Value::Int64(int),
            Err(_) => Value::Float64(double(field)?),
        }),
        _ => Some(Value::String(field.to_owned())),
    })
}

/// A value as JSON has it; objects and arrays stay JSON.
fn json_value(reader: &mut JsonReader<'_>) -> Result<proto::Value> {
    let kind = match reader.peek()? {
        JsonKind::Null => {
            reader.take_null()?;
            Proto::NullValue(true)
        }
        JsonKind::Bool => Proto::BoolValue(reader.boolean()?),
        JsonKind::String => Proto::StringValue(reader.string()?.into_owned()),
        JsonKind::Number => {
            let text = reader.number()?;
            match text.parse() {
                Ok(int) => Proto::Int64Value(int),
                Err(_) => Proto::Float64Value(double(text)?),
            }
        }
        JsonKind::Array | JsonKind::Object => Proto::JsonValue(reader.raw()?.to_owned()),
    };
    Ok(proto::Value { kind: Some(kind) })
}

fn read_metadata(reader: &mut JsonReader<'_>, event: &mut Event) -> Result<()> {
    let mut members = HashMap::new();
    reader.object(|reader, name| {
        members.insert(name.to_owned(), json_value(reader)?);
        Ok(())
    })?;
    event.metadata.extend(members);
    Ok(())
}

/// Puts a field that is no value into an event; an empty one is as good as none.
fn put_text(event: &mut Event, role: &Role, text: &str) -> Result<()> {
    match role {
        Role::Time => {
            let at =
                Timestamp::parse(text, Round::Up).map_err(|why| Error::new(Kind::InvalidArgument, why))?;
            event.timestamp = Some(timestamp_to(at));
        }
        Role::EntityId => event.entity_id = text.to_owned(),
        Role::EventType => event.event_type = text.to_owned(),
        Role::EventId => event.event_id = text.to_owned(),
        Role::EntityType => event.entity_type = text.to_owned(),
        Role::Metadata if text.is_empty() => {}
        Role::Metadata => JsonReader::read(text.as_bytes(), |reader| read_metadata(reader, event))?,
        Role::Value | Role::Member(_) | Role::Ignored => {}
    }
    Ok(())
}

fn put(event: &mut Event, role: &Role, value: proto::Value) {
    match role {
        Role::Value => event.value = Some(value),
        Role::Member(name) => drop(event.metadata.insert(name.clone(), value)),
        _ => {}
    }
}
