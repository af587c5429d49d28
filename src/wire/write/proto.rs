//! `WriteFeaturesRequest` and `StreamWriteFeaturesRequest`, read in place.

use super::IN_FLIGHT_MAX;
use crate::{
    access::Caller,
    error::{Error, Result},
    feature::Round,
    proto::fields::{Field, each_field, flag, malformed, take_entry, take_field, text},
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
use sha2::{Digest, Sha256};

/// Commits the rows of a unary request.
pub async fn write(InPlace(request): &InPlace, service: &Service, caller: &Caller) -> Result<WriteOutcome> {
    let judge = if flag(request, 3)? { Judge::RowByRow } else { Judge::AllOrNothing };
    let (rows, idempotency) = read(request, service, caller, judge)?;
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
        let read =
            request.and_then(|InPlace(request)| Ok(read(&request, &service, &caller, Judge::RowByRow)?));
        async move {
            let (rows, idempotency) = read?;
            Ok(service.write(&caller, rows, idempotency).await?)
        }
    });
    commits.buffered(IN_FLIGHT_MAX)
}

/// Reads either request: their first two fields are the same.
fn read(
    request: &[u8],
    service: &Service,
    caller: &Caller,
    judge: Judge,
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
        key => Some(IdempotencyKey::new(key, fingerprint(request)?)?),
    };
    Ok((rows, idempotency))
}

/// Equal for equal rows. Maps have no order of their own, so the parts of a row are hashed in the order of their
/// bytes.
fn fingerprint(request: &[u8]) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    each_field(request, |number, field| {
        match (number, field) {
            (1, Field::Bytes(row)) => {
                let mut parts = Vec::new();
                let mut rest = row;
                while !rest.is_empty() {
                    let from = row.len() - rest.len();
                    take_field(&mut rest)?;
                    parts.push(&row[from..row.len() - rest.len()]);
                }
                parts.sort_unstable();
                hash.update((parts.len() as u64).to_le_bytes());
                parts.iter().for_each(|part| hash.update(part));
            }
            (3, Field::Varint(partial)) => hash.update([u8::from(partial != 0)]),
            _ => {}
        }
        Ok(())
    })?;
    Ok(hash.finalize().into())
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
fn read_row(mut row: &[u8], rows: &mut RowsBuilder) -> Result<()> {
    let mut head = RowHead::default();
    let mut time: Option<prost_types::Timestamp> = None;
    while !row.is_empty() {
        match take_field(&mut row)? {
            (1, Field::Bytes(name)) => head.entity_type = given(text(name, "entity_type")?),
            (2, Field::Bytes(id)) => head.entity_id = given(text(id, "entity_id")?),
            (3, Field::Bytes(entry)) => {
                let (key, id) = take_entry(entry)?;
                head.entities.push((text(key, "entities")?.into(), text(id, "entities")?.into()));
            }
            (4, Field::Bytes(moment)) => {
                time.get_or_insert_default().merge(moment).map_err(malformed)?;
            }
            (5, Field::Bytes(entry)) => {
                let (name, value) = take_entry(entry)?;
                let name = text(name, "values")?;
                read_cell(name, value, rows).map_err(|error| error.within(name).within("values"))?;
            }
            (1..=5, _) => return Err(malformed("a field has the wrong wire type")),
            // Fields of a later contract.
            _ => {}
        }
    }
    head.event_timestamp = time.map(|time| timestamp_from(time, Round::Up, "event_timestamp")).transpose()?;
    rows.end(&head)
}

fn given(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    (!text.is_empty()).then(|| text.into())
}

fn read_cell(name: &str, value: &[u8], rows: &mut RowsBuilder) -> Result<()> {
    let target = rows.target(name)?;
    let value = read_value(value, target.dtype)?;
    rows.give(target, value)
}
