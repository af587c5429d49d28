//! `WriteFeaturesRequest` and `StreamWriteFeaturesRequest`, read in place.

use super::{
    IN_FLIGHT_MAX,
    fingerprint::{Fingerprint, Sent, SentRow},
};
use crate::{
    access::Caller,
    error::{Error, Result},
    feature::Round,
    proto::fields::{Field, each_field, flag, malformed, take_entry, text},
    serving::{
        Service,
        write::{IdempotencyKey, Judge, RowHead, RowsBuilder, WriteOutcome},
    },
    wire::{
        codec::InPlace,
        proto,
        value::{read_value, timestamp_from, timestamp_to},
    },
};
use futures_util::{Stream, StreamExt};
use prost::Message;

/// Commits the rows of a unary request.
pub async fn write(InPlace(request): &InPlace, service: &Service, caller: &Caller) -> Result<WriteOutcome> {
    let partial = flag(request, 3)?;
    let judge = if partial { Judge::RowByRow } else { Judge::AllOrNothing };
    let (rows, idempotency) = read(request, service, caller, judge, partial)?;
    if rows.is_empty() {
        return Err(Error::invalid("rows", "there is nothing to write; send at least one row"));
    }
    service.write(caller, rows, idempotency).await
}

/// Answers a stream of requests in their order, each a transaction of its own, judged row by row.
pub fn write_stream<E: From<Error>>(
    service: Service,
    caller: Caller,
    requests: impl Stream<Item = Result<InPlace, E>>,
) -> impl Stream<Item = Result<WriteOutcome, E>> {
    let commits = requests.map(move |request| {
        let (service, caller) = (service.clone(), caller.clone());
        // Rows are read here, in the order of the requests; only the commits overlap.
        let read = request
            .and_then(|InPlace(request)| Ok(read(&request, &service, &caller, Judge::RowByRow, false)?));
        async move {
            let (rows, idempotency) = read?;
            Ok(service.write(&caller, rows, idempotency).await?)
        }
    });
    commits.buffered(IN_FLIGHT_MAX)
}

/// Reads either request: their first two fields are the same. `partial` as the request says it.
fn read(
    request: &[u8],
    service: &Service,
    caller: &Caller,
    judge: Judge,
    partial: bool,
) -> Result<(RowsBuilder, Option<IdempotencyKey>)> {
    let mut rows = service.rows(caller, judge)?;
    let mut key = "";
    each_field(request, |number, field| match (number, field) {
        (1, Field::Bytes(row)) => {
            let position = rows.len();
            rows.row(|rows| read_row(row, rows))
                .map_err(|error| error.within(format_args!("rows[{position}]")))
        }
        (2, Field::Bytes(bytes)) => {
            key = text(bytes, "idempotency_key")?;
            Ok(())
        }
        _ => Ok(()),
    })?;
    let idempotency = match key {
        "" => None,
        key => Some(IdempotencyKey::new(key, fingerprint(request, partial, &rows)?)?),
    };
    Ok((rows, idempotency))
}

fn fingerprint(request: &[u8], partial: bool, rows: &RowsBuilder) -> Result<[u8; 32]> {
    let mut fingerprint = Fingerprint::new(partial);
    each_field(request, |number, field| {
        if let (1, Field::Bytes(row)) = (number, field) {
            fingerprint.row(sent_row(row, rows).ok().as_ref());
        }
        Ok(())
    })?;
    Ok(fingerprint.finish())
}

pub fn outcome_to(outcome: WriteOutcome) -> proto::WriteFeaturesResponse {
    proto::WriteFeaturesResponse {
        accepted: outcome.accepted,
        unchanged: outcome.unchanged,
        rejected: outcome.rejected.into_iter().map(rejected_to).collect(),
        created_timestamp: outcome.created.map(timestamp_to),
    }
}

pub fn stream_outcome_to(outcome: WriteOutcome) -> proto::StreamWriteFeaturesResponse {
    proto::StreamWriteFeaturesResponse {
        accepted: outcome.accepted,
        unchanged: outcome.unchanged,
        rejected: outcome.rejected.into_iter().map(rejected_to).collect(),
        created_timestamp: outcome.created.map(timestamp_to),
    }
}

fn rejected_to(rejected: crate::serving::write::RejectedRow) -> proto::RejectedRow {
    let crate::serving::write::RejectedRow { row, field, reason } = rejected;
    proto::RejectedRow { row: u32::try_from(row).unwrap_or(u32::MAX), field, reason }
}

/// Reads a `FeatureRow`.
fn read_row(row: &[u8], rows: &mut RowsBuilder) -> Result<()> {
    let mut head = RowHead::default();
    let mut time = None;
    each_part(row, |part| {
        match part {
            Part::EntityType(name) => head.entity_type = given(name),
            Part::EntityId(id) => head.entity_id = given(id),
            Part::Entity(key, id) => head.entities.push((key.into(), id.into())),
            Part::Time(moment) => time = Some(moment),
            Part::Value(name, value) => {
                read_cell(name, value, rows).map_err(|error| error.within(name).within("values"))?;
            }
        }
        Ok(())
    })?;
    head.event_timestamp = time.map(|time| timestamp_from(time, Round::Up, "event_timestamp")).transpose()?;
    rows.end(&head)
}

/// The same as it was sent.
fn sent_row(row: &[u8], rows: &RowsBuilder) -> Result<SentRow> {
    let mut sent = SentRow::default();
    each_part(row, |part| {
        match part {
            Part::EntityType(name) => sent.entity_type = name.to_owned(),
            Part::EntityId(id) => sent.entity_id = id.to_owned(),
            Part::Entity(key, id) => drop(sent.entities.insert(key.to_owned(), id.to_owned())),
            Part::Time(time) => {
                sent.event_timestamp = Some(Sent::of(timestamp_from(time, Round::Up, "event_timestamp")));
            }
            Part::Value(name, value) => sent.value(name, rows, |dtype| read_value(value, dtype)),
        }
        Ok(())
    })?;
    Ok(sent)
}

/// A part of a `FeatureRow`. Of a moment that comes in pieces each is handed over merged with those before.
enum Part<'a> {
    EntityType(&'a str),
    EntityId(&'a str),
    Entity(&'a str, &'a str),
    Time(prost_types::Timestamp),
    Value(&'a str, &'a [u8]),
}

fn each_part<'a>(row: &'a [u8], mut take: impl FnMut(Part<'a>) -> Result<()>) -> Result<()> {
    let mut time = prost_types::Timestamp::default();
    each_field(row, |number, field| {
        take(match (number, field) {
            (1, Field::Bytes(name)) => Part::EntityType(text(name, "entity_type")?),
            (2, Field::Bytes(id)) => Part::EntityId(text(id, "entity_id")?),
            (3, Field::Bytes(entry)) => {
                let (key, id) = take_entry(entry)?;
                Part::Entity(text(key, "entities")?, text(id, "entities")?)
            }
            (4, Field::Bytes(moment)) => {
                time.merge(moment).map_err(malformed)?;
                Part::Time(time)
            }
            (5, Field::Bytes(entry)) => {
                let (name, value) = take_entry(entry)?;
                Part::Value(text(name, "values")?, value)
            }
            (1..=5, _) => return Err(malformed("a field has the wrong wire type")),
            // Fields of a later contract.
            _ => return Ok(()),
        })
    })
}

fn given(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    (!text.is_empty()).then(|| text.into())
}

fn read_cell(name: &str, value: &[u8], rows: &mut RowsBuilder) -> Result<()> {
    let target = rows.target(name)?;
    let value = read_value(value, target.dtype)?;
    rows.give(target, value)
}
