//! Spines as JSON: an array of rows, or a row a line.

use super::{
    Rows,
    names::{self, AddedNames, ColumnNames},
};
use crate::{
    error::{Error, Kind, Result},
    feature::{
        Round,
        json::{JsonKind, JsonReader},
    },
    registry::Plan,
    serving::training::{Piece, Spine, SpineNames, SpineReader},
    wire::json::{read_id, read_timestamp},
};
use arrow::array::StringBuilder;
use bytes::Bytes;
use std::{mem, sync::Arc};

/// How rows stand in their body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One part, a JSON array.
    Array,
    /// Parts of any size; each row ends with a line feed. Empty lines are passed over.
    Lines,
}

/// Reads rows that are JSON objects.
pub(super) struct JsonRowReader {
    framing: Framing,
    plan: Arc<Plan>,
    columns: ColumnNames,
    added: AddedNames,
    line_bytes_max: usize,
    /// Known from the first row on.
    names: Option<Arc<SpineNames>>,
    /// The start of a line whose end has not come.
    line: Vec<u8>,
    first_row: usize,
    texts: StringBuilder,
    ids: Vec<StringBuilder>,
    times: Vec<i64>,
}

impl JsonRowReader {
    pub fn new(
        framing: Framing,
        plan: Arc<Plan>,
        columns: ColumnNames,
        details: bool,
        line_bytes_max: usize,
    ) -> Self {
        Self {
            framing,
            added: AddedNames::new(&plan, details),
            ids: plan.keys.iter().map(|_| StringBuilder::new()).collect(),
            plan,
            columns,
            line_bytes_max,
            names: None,
            line: Vec::new(),
            first_row: 0,
            texts: StringBuilder::new(),
            times: Vec::new(),
        }
    }

    fn read_array(&mut self, text: &[u8]) -> Result<()> {
        JsonReader::read(text, |reader| reader.array(|reader, _| self.read_row(reader.raw()?)))
            .map_err(|error| error.within("spine"))
    }

    fn read_lines(&mut self, part: &[u8]) -> Result<()> {
        let mut rest = part;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            if self.line.is_empty() {
                self.read_line(line)?;
            } else {
                let mut whole = mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.read_line(&whole)?;
                whole.clear();
                self.line = whole;
            }
        }
        self.line.extend_from_slice(rest);
        self.check_len(&self.line)
    }

    fn read_line(&mut self, line: &[u8]) -> Result<()> {
        self.check_len(line)?;
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        let position = self.first_row + self.times.len();
        let text =
            str::from_utf8(line).map_err(|_| Error::new(Kind::InvalidArgument, "the line is not UTF-8"));
        text.and_then(|text| self.read_row(text))
            .map_err(|error| error.within(format_args!("spine[{position}]")))
    }

    fn check_len(&self, line: &[u8]) -> Result<()> {
        if line.len() <= self.line_bytes_max {
            return Ok(());
        }
        let position = self.first_row + self.times.len();
        let message = format!("a line has at most {} bytes; this one has more", self.line_bytes_max);
        Err(Error::new(Kind::TooLarge, message).at(format!("spine[{position}]")))
    }

    fn read_row(&mut self, text: &str) -> Result<()> {
        let names = match &self.names {
            Some(names) => names.clone(),
            None => {
                let mut members = Vec::new();
                JsonReader::read(text.as_bytes(), |reader| {
                    reader.object(|reader, key| {
                        members.push(key.to_owned());
                        reader.raw().map(drop)
                    })
                })?;
                let has = |name: &str| members.iter().any(|member| member == name);
                self.names.insert(Arc::new(names::resolve(&self.plan, &self.columns, has)?)).clone()
            }
        };
        let (mut found, mut time) = (0, None);
        let other = names.keys.first().and_then(|key| names::other_name(&self.plan, &self.columns, key));
        JsonReader::read(text.as_bytes(), |reader| {
            reader.object(|reader, member| {
                if Some(member) == other {
                    return Err(Error::new(Kind::InvalidArgument, names::named_twice(&self.plan.keys[0])));
                }
                self.added.check(member).map_err(|why| Error::new(Kind::InvalidArgument, why))?;
                let is_id = names.keys.iter().any(|key| key == member);
                if is_id {
                    let id = match reader.peek()? {
                        JsonKind::Null => return reader.refuse("an entity id"),
                        _ => read_id(reader)?,
                    };
                    for (key, ids) in names.keys.iter().zip(&mut self.ids) {
                        if key == member {
                            ids.append_value(&id);
                            found += 1;
                        }
                    }
                    Ok(())
                } else if member == names.time {
                    time = Some(read_timestamp(reader, Round::Down)?);
                    Ok(())
                } else {
                    reader.raw().map(drop)
                }
            })
        })?;
        let missing =
            |name: &str| Error::invalid(name, format!("the row has no {name:?}, which the first row has"));
        if found < names.keys.len() {
            let lacks = |(key, ids): &(&String, &StringBuilder)| {
                arrow::array::ArrayBuilder::len(*ids) == self.times.len() && !key.is_empty()
            };
            let lacking = names.keys.iter().zip(&self.ids).find(lacks);
            return Err(missing(lacking.map_or("entity_id", |(key, _)| key.as_str())));
        }
        self.times.push(time.ok_or_else(|| missing(&names.time))?.micros());
        self.texts.append_value(text);
        Ok(())
    }
}

impl SpineReader<Bytes, Rows> for JsonRowReader {
    fn push(&mut self, part: Bytes) -> Result<()> {
        match self.framing {
            Framing::Array => self.read_array(&part),
            Framing::Lines => self.read_lines(&part),
        }
    }

    fn finish(&mut self) -> Result<()> {
        let line = mem::take(&mut self.line);
        self.read_line(&line)
    }

    fn rows(&self) -> usize {
        self.times.len()
    }

    fn bytes(&self) -> usize {
        let ids: usize = self.ids.iter().map(|ids| ids.values_slice().len()).sum();
        self.texts.values_slice().len() + ids + (12 + 4 * self.ids.len()) * self.times.len()
    }

    fn take(&mut self) -> Piece<Rows> {
        let names = self.names.clone().unwrap_or_else(|| names::of_nothing(&self.plan));
        let spine = Spine {
            first_row: self.first_row,
            ids: self.ids.iter_mut().map(StringBuilder::finish).collect(),
            times: mem::take(&mut self.times).into(),
            names,
        };
        self.first_row += spine.len();
        Piece { spine, rows: Rows::Json(self.texts.finish()) }
    }
}
