//! Rows of features out of the columns of a file, and on their way.

use super::roles::{Role, Roles};
use crate::{
    cli::{
        args::from_proto,
        load::{Cell, Load, Shape, is_text, value_cell},
        value,
    },
    client::{Client, RowWriter},
    error::{Error, Kind, Result},
    feature::{
        Round, Timestamp, Value,
        json::{JsonKind, JsonReader},
    },
    wire::{
        json::{JsonWriter, parse_text, read_id, read_value},
        proto::{FeatureRow, StreamWriteFeaturesRequest, StreamWriteFeaturesResponse},
        value::{timestamp_to, value_to},
    },
};
use arrow::datatypes::DataType;

impl Shape for Roles {
    type Row = FeatureRow;
    type Role = Role;

    fn begin(&self) -> FeatureRow {
        FeatureRow::default()
    }

    fn role(&mut self, name: &str) -> Result<Role> {
        self.of(name)
    }

    fn check_columns(&self, columns: &[(String, Role)]) -> Result<()> {
        let count = |wanted: fn(&Role) -> bool| columns.iter().filter(|(_, role)| wanted(role)).count();
        let refused = |message: &str| Err(Error::new(Kind::InvalidArgument, message));
        match count(|role| *role == Role::Time) {
            0 => return refused("no column holds the event timestamp; name it with --time COL"),
            1 => {}
            _ => {
                return refused(
                    "several columns could hold the event timestamp; name one with --time COL and pass over the others with --ignore COL",
                );
            }
        }
        if count(|role| matches!(role, Role::EntityId | Role::Key(_))) == 0 {
            return refused("no column holds an entity's id; name it with --entity KEY=COL");
        }
        if count(|role| matches!(role, Role::Feature(_))) == 0 {
            return refused("no column bears the name of a registered feature");
        }
        Ok(())
    }

    fn put_field(&self, row: &mut FeatureRow, name: &str, role: &Role, field: &str) -> Result<()> {
        if let Role::Feature(dtype) = role {
            let value = parse_text(field, *dtype).map_err(|error| error.within(format!("values.{name}")))?;
            put_value(row, name, value);
            return Ok(());
        }
        self.put_text(row, name, role, field)
    }

    /// A row as REST takes it, or a flat one with a member for each column.
    fn read_json(&mut self, text: &[u8]) -> Result<FeatureRow> {
        let mut row = self.begin();
        JsonReader::read(text, |reader| {
            reader.object(|reader, name| match name {
                "values" if reader.peek()? == JsonKind::Object => reader.object(|reader, feature| {
                    let dtype = self.dtype(feature)?;
                    put_value(&mut row, feature, read_value(reader, dtype)?);
                    Ok(())
                }),
                "entities" if reader.peek()? == JsonKind::Object => reader.object(|reader, key| {
                    row.entities.insert(key.to_owned(), read_id(reader)?.into_owned());
                    Ok(())
                }),
                name => {
                    match self.of(name)? {
                        Role::Feature(dtype) => put_value(&mut row, name, read_value(reader, dtype)?),
                        Role::Ignored => drop(reader.raw()?),
                        Role::Key(_) if reader.take_null()? => {}
                        role @ (Role::EntityId | Role::Key(_)) => {
                            put_text(&mut row, &role, &read_id(reader)?)?
                        }
                        role => put_text(&mut row, &role, &reader.string()?)?,
                    }
                    Ok(())
                }
            })
        })?;
        Ok(row)
    }

    fn cell(&self, _: &str, role: &Role, have: &DataType) -> Result<Cell, String> {
        match role {
            Role::Ignored => Ok(Cell::Ignored),
            Role::EntityId | Role::EntityType | Role::Key(_) if is_text(have) || have.is_integer() => {
                Ok(Cell::Text)
            }
            Role::EntityId | Role::EntityType | Role::Key(_) => Err("expected strings or integers".into()),
            Role::Time if is_text(have) => Ok(Cell::Text),
            Role::Time if matches!(have, DataType::Timestamp(_, Some(_))) => Ok(Cell::Time),
            Role::Time => Err("expected timestamps with a time zone, or RFC 3339 text".into()),
            Role::Feature(dtype) => {
                value_cell(*dtype, have).ok_or_else(|| format!("the feature is of dtype {dtype}"))
            }
        }
    }

    fn put_text(&self, row: &mut FeatureRow, name: &str, role: &Role, text: &str) -> Result<()> {
        put_text(row, role, text).map_err(|error| error.within(name))
    }

    fn put_time(&self, row: &mut FeatureRow, time: Option<Timestamp>) {
        row.event_timestamp = time.map(timestamp_to);
    }

    fn put_value(&self, row: &mut FeatureRow, name: &str, _: &Role, value: Option<Value>) {
        put_value(row, name, value);
    }
}

impl Load for Roles {
    type Request = StreamWriteFeaturesRequest;
    type Answer = StreamWriteFeaturesResponse;

    const VERB: &'static str = "Writing";
    const NOUN: &'static str = "row";
    const COUNTS: &'static [&'static str] = &["accepted", "unchanged"];

    fn open(client: &Client, in_flight_max: usize) -> RowWriter {
        client.writer(in_flight_max)
    }

    fn request(rows: Vec<FeatureRow>) -> StreamWriteFeaturesRequest {
        StreamWriteFeaturesRequest { rows, ..Default::default() }
    }

    fn counts(answer: &StreamWriteFeaturesResponse) -> Vec<u64> {
        vec![answer.accepted, answer.unchanged]
    }

    fn rejected(answer: &StreamWriteFeaturesResponse) -> Vec<(u32, &str, &str)> {
        let rejected = answer.rejected.iter();
        rejected.map(|rejected| (rejected.row, &*rejected.field, &*rejected.reason)).collect()
    }

    fn members(w: &mut JsonWriter<'_>, row: &FeatureRow) {
        if !row.entity_type.is_empty() {
            w.key("entity_type").string(&row.entity_type);
        }
        if !row.entity_id.is_empty() {
            w.key("entity_id").string(&row.entity_id);
        }
        if !row.entities.is_empty() {
            w.key("entities").object(|w| row.entities.iter().for_each(|(key, id)| w.key(key).string(id)));
        }
        w.key("event_timestamp").option(row.event_timestamp.as_ref(), |w, at| w.timestamp(from_proto(at)));
        w.key("values").object(|w| {
            for (name, value) in &row.values {
                w.key(name).value(value::from_proto(value).as_ref());
            }
        });
    }
}

/// Puts a field that is no feature into a row.
fn put_text(row: &mut FeatureRow, role: &Role, text: &str) -> Result<()> {
    match role {
        Role::Time => {
            let at =
                Timestamp::parse(text, Round::Up).map_err(|why| Error::new(Kind::InvalidArgument, why))?;
            row.event_timestamp = Some(timestamp_to(at));
        }
        Role::EntityId => row.entity_id = text.to_owned(),
        Role::EntityType => row.entity_type = text.to_owned(),
        // A row that names no id for a key does not speak of it.
        Role::Key(_) if text.is_empty() => {}
        Role::Key(key) => drop(row.entities.insert(key.clone(), text.to_owned())),
        Role::Ignored | Role::Feature(_) => {}
    }
    Ok(())
}

fn put_value(row: &mut FeatureRow, name: &str, value: Option<Value>) {
    row.values.insert(name.to_owned(), value_to(value.as_ref()));
}
