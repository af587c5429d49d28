//! One JSON document of rows.

use super::fingerprint::{Fingerprint, Sent, SentRow};
use crate::{
    access::Caller,
    error::{Error, Result},
    feature::{Round, json::JsonReader},
    serving::{
        Service,
        write::{IdempotencyKey, Judge, RowHead, RowsBuilder, WriteOutcome},
    },
    wire::{
        json::{JsonWriter, read_id, read_timestamp, read_value},
        query::Query,
    },
};

/// How a call of `POST /features/write` wants its rows judged and remembered.
#[derive(Debug)]
pub struct JsonRequest {
    pub(super) judge: Judge,
    /// From the header; a field of the body may say it instead.
    pub(super) idempotency_key: Option<String>,
}

impl JsonRequest {
    /// From the address (`?partial=true`) and the header `Idempotency-Key`.
    pub fn new(query: Option<&str>, idempotency_key: Option<&str>) -> Result<Self> {
        let mut query = Query::parse(query)?;
        let judge = judge(query.take_flag("partial")?);
        query.finish()?;
        Ok(Self { judge, idempotency_key: idempotency_key.map(str::to_owned) })
    }

    /// Commits the rows of `{"rows": […]}`.
    pub async fn write(self, service: &Service, caller: &Caller, body: &[u8]) -> Result<WriteOutcome> {
        let (rows, idempotency) = self.read(service, caller, body)?;
        service.write(caller, rows, idempotency).await
    }

    fn read(
        mut self,
        service: &Service,
        caller: &Caller,
        body: &[u8],
    ) -> Result<(RowsBuilder, Option<IdempotencyKey>)> {
        let mut text = None;
        JsonReader::read(body, |reader| {
            reader.object(|reader, key| {
                match key {
                    // How rows are judged may stand behind them.
                    "rows" => text = Some(reader.raw_to_read_again()?),
                    "partial" => self.judge = judge(reader.boolean()?),
                    "idempotency_key" => {
                        let given = reader.string()?.into_owned();
                        if self.idempotency_key.as_ref().is_some_and(|header| *header != given) {
                            return Err(Error::refused("the header Idempotency-Key says another key"));
                        }
                        self.idempotency_key = Some(given);
                    }
                    _ => return reader.unknown_member(&BODY),
                }
                Ok(())
            })
        })?;
        let mut rows = service.rows(caller, self.judge)?;
        let text = text.unwrap_or("[]").as_bytes();
        JsonReader::read(text, |reader| {
            reader.array(|reader, _| match self.judge {
                Judge::AllOrNothing => rows.row(|rows| read_row(reader, rows)),
                Judge::RowByRow => {
                    // A bad row is left half-way, so each is read by a reader of its own.
                    let row = reader.raw_to_read_again()?;
                    rows.row(|rows| JsonReader::read(row.as_bytes(), |reader| read_row(reader, rows)))
                }
            })
        })
        .map_err(|error| error.within("rows"))?;
        if rows.is_empty() {
            return Err(Error::invalid("rows", "there is nothing to write; send at least one row"));
        }
        let idempotency = match self.idempotency_key {
            None => None,
            Some(key) => {
                let partial = self.judge == Judge::RowByRow;
                Some(IdempotencyKey::new(key, fingerprint(text, partial, &rows)?)?)
            }
        };
        Ok((rows, idempotency))
    }
}

fn fingerprint(text: &[u8], partial: bool, rows: &RowsBuilder) -> Result<[u8; 32]> {
    let mut fingerprint = Fingerprint::new(partial);
    JsonReader::read(text, |reader| {
        reader.array(|reader, _| {
            let row = reader.raw_to_read_again()?;
            let sent = JsonReader::read(row.as_bytes(), |reader| sent_row(reader, rows));
            fingerprint.row(sent.ok().as_ref());
            Ok(())
        })
    })?;
    Ok(fingerprint.finish())
}

/// `{"accepted": 1, "unchanged": 0, "rejected": []}`, and `rejected_total` where not all of them are listed.
pub fn write_outcome(outcome: &WriteOutcome, rejected_total: u64) -> Vec<u8> {
    let mut out = Vec::new();
    JsonWriter::new(&mut out).object(|w| {
        w.key("accepted").uint(outcome.accepted);
        w.key("unchanged").uint(outcome.unchanged);
        w.key("rejected").array(|w| {
            for rejected in &outcome.rejected {
                w.object(|w| {
                    w.key("row").uint(rejected.row);
                    w.key("field").string(&rejected.field);
                    w.key("reason").string(&rejected.reason);
                });
            }
        });
        if rejected_total > outcome.rejected.len() as u64 {
            w.key("rejected_total").uint(rejected_total);
        }
    });
    out
}

pub(super) const BODY: [&str; 3] = ["rows", "partial", "idempotency_key"];
pub(super) const ROW: [&str; 5] = ["entity_type", "entity_id", "entities", "event_timestamp", "values"];

/// Reads one row.
pub(super) fn read_row(reader: &mut JsonReader<'_>, rows: &mut RowsBuilder) -> Result<()> {
    let mut head = RowHead::default();
    reader.object(|reader, key| {
        match key {
            "entity_type" => head.entity_type = Some(reader.string()?),
            "entity_id" => head.entity_id = Some(read_id(reader)?),
            "entities" => reader.object(|reader, key| {
                head.entities.push((key.to_owned().into(), read_id(reader)?));
                Ok(())
            })?,
            "event_timestamp" => head.event_timestamp = Some(read_timestamp(reader, Round::Up)?),
            "values" => reader.object(|reader, name| {
                let target = rows.target(name)?;
                let value = read_value(reader, target.dtype)?;
                rows.give(target, value)
            })?,
            _ => return reader.unknown_member(&ROW),
        }
        Ok(())
    })?;
    rows.end(&head)
}

/// The same as it was sent. Each part is taken out before it is read, so that one that does not fit ends nothing.
fn sent_row(reader: &mut JsonReader<'_>, rows: &RowsBuilder) -> Result<SentRow> {
    let mut sent = SentRow::default();
    reader.object(|reader, key| {
        match key {
            "entity_type" => sent.entity_type = reader.string()?.into_owned(),
            "entity_id" => sent.entity_id = read_id(reader)?.into_owned(),
            "entities" => reader.object(|reader, key| {
                sent.entities.insert(key.to_owned(), read_id(reader)?.into_owned());
                Ok(())
            })?,
            "event_timestamp" => {
                let text = reader.raw()?.as_bytes();
                let read = JsonReader::read(text, |reader| read_timestamp(reader, Round::Up));
                sent.event_timestamp = Some(Sent::of(read));
            }
            "values" => reader.object(|reader, name| {
                let text = reader.raw_to_read_again()?.as_bytes();
                sent.value(name, rows, |dtype| JsonReader::read(text, |reader| read_value(reader, dtype)));
                Ok(())
            })?,
            _ => return reader.unknown_member(&ROW),
        }
        Ok(())
    })?;
    Ok(sent)
}

fn judge(partial: bool) -> Judge {
    if partial { Judge::RowByRow } else { Judge::AllOrNothing }
}
