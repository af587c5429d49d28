//! What administrators look at, in both encodings.

use super::{json::JsonWriter, proto, query::Query, value::timestamp_to};
use crate::{
    error::Result,
    serving::{
        admin::{Backfill, LateEntry, LateFilter, StreamStatus},
        catalogue::Page,
        page::PageRequest,
    },
    store::events::DeadLetter,
    window::Ledger,
};

pub fn streams_to(streams: &[StreamStatus]) -> proto::ListStreamsResponse {
    let stream = |stream: &StreamStatus| proto::Stream {
        partition: stream.partition,
        end_offset: stream.end_offset,
        next_offset: stream.next_offset,
        committed_offset: stream.committed_offset,
        lag: lag(stream),
        log_time: stream.log_time.map(timestamp_to),
        ledger: Some(ledger_to(stream.ledger)),
        entities: stream.memory.entities,
        panes: stream.memory.panes,
        state_bytes: stream.memory.bytes,
        stalled: stream.stalled.clone().unwrap_or_default(),
    };
    proto::ListStreamsResponse { streams: streams.iter().map(stream).collect() }
}

pub fn write_streams(streams: &[StreamStatus]) -> Vec<u8> {
    list("streams", streams, None, |w, stream| {
        w.key("partition").uint(stream.partition.into());
        w.key("end_offset").uint(stream.end_offset);
        w.key("next_offset").uint(stream.next_offset);
        w.key("committed_offset").uint(stream.committed_offset);
        w.key("lag").uint(lag(stream));
        w.key("log_time").option(stream.log_time, JsonWriter::timestamp);
        w.key("ledger").object(|w| write_ledger(w, stream.ledger));
        w.key("entities").uint(stream.memory.entities);
        w.key("panes").uint(stream.memory.panes);
        w.key("state_bytes").uint(stream.memory.bytes);
        w.key("stalled").option(stream.stalled.as_deref(), JsonWriter::string);
    })
}

pub fn backfills_to(backfills: Vec<Backfill>) -> proto::ListBackfillsResponse {
    let backfill = |backfill: Backfill| proto::Backfill {
        partition: backfill.partition,
        groups: backfill.groups,
        next_offset: backfill.next_offset,
        end_offset: backfill.end_offset,
        joins_at: backfill.joins_at.map(timestamp_to),
        done: backfill.done,
        ledger: backfill.ledger.map(ledger_to),
    };
    proto::ListBackfillsResponse { backfills: backfills.into_iter().map(backfill).collect() }
}

pub fn write_backfills(backfills: &[Backfill]) -> Vec<u8> {
    list("backfills", backfills, None, |w, backfill| {
        w.key("partition").uint(backfill.partition.into());
        w.key("groups").strings(&backfill.groups);
        w.key("next_offset").uint(backfill.next_offset);
        w.key("end_offset").uint(backfill.end_offset);
        w.key("joins_at").option(backfill.joins_at, JsonWriter::timestamp);
        w.key("done").boolean(backfill.done);
        w.key("ledger").option(backfill.ledger, |w, ledger| w.object(|w| write_ledger(w, ledger)));
    })
}

pub fn late_from(request: proto::ListLateEventsRequest) -> (LateFilter, PageRequest) {
    let proto::ListLateEventsRequest { event_type, entity_id, page_size, page_token } = request;
    (LateFilter { event_type, entity_id }, PageRequest { size: page_size.into(), token: page_token })
}

/// `?event_type=&entity_id=&page_size=&page_token=`
pub fn read_late(query: Option<&str>) -> Result<(LateFilter, PageRequest)> {
    let mut query = Query::parse(query)?;
    let mut text = |name| query.take(name).unwrap_or_default();
    let filter = LateFilter { event_type: text("event_type"), entity_id: text("entity_id") };
    let page = query.take_page()?;
    query.finish()?;
    Ok((filter, page))
}

pub fn late_to(page: Page<LateEntry>) -> proto::ListLateEventsResponse {
    let late = |LateEntry { event, groups }: LateEntry| proto::LateEvent {
        partition: event.place.partition,
        offset: event.place.offset,
        log_time: Some(timestamp_to(event.log_time)),
        entity_id: event.entity_id,
        event_type: event.event_type,
        timestamp: Some(timestamp_to(event.event_timestamp)),
        event_id: event.event_id.unwrap_or_default(),
        entity_type: event.entity_type.unwrap_or_default(),
        late: event.late,
        missed: event
            .missed
            .iter()
            .zip(groups)
            .map(|(missed, group)| proto::MissedWindows {
                group,
                first_end: Some(timestamp_to(missed.first)),
                last_end: Some(timestamp_to(missed.last)),
                windows: u32::try_from(missed.ends().count()).unwrap_or(u32::MAX),
            })
            .collect(),
    };
    proto::ListLateEventsResponse {
        late_events: page.entries.into_iter().map(late).collect(),
        next_page_token: page.next_page_token,
    }
}

pub fn write_late(page: &Page<LateEntry>) -> Vec<u8> {
    list("late_events", &page.entries, Some(&page.next_page_token), |w, LateEntry { event, groups }| {
        w.key("partition").uint(event.place.partition.into());
        w.key("offset").uint(event.place.offset);
        w.key("log_time").timestamp(event.log_time);
        w.key("entity_id").string(&event.entity_id);
        w.key("event_type").string(&event.event_type);
        w.key("timestamp").timestamp(event.event_timestamp);
        w.key("event_id").option(event.event_id.as_deref(), JsonWriter::string);
        w.key("entity_type").option(event.entity_type.as_deref(), JsonWriter::string);
        w.key("late").boolean(event.late);
        w.key("missed").array(|w| {
            for (missed, group) in event.missed.iter().zip(groups) {
                w.object(|w| {
                    w.key("group").string(group);
                    w.key("first_end").timestamp(missed.first);
                    w.key("last_end").timestamp(missed.last);
                    w.key("windows").uint(missed.ends().count() as u64);
                });
            }
        });
    })
}

pub fn dead_from(request: proto::ListDeadLettersRequest) -> PageRequest {
    PageRequest { size: request.page_size.into(), token: request.page_token }
}

/// `?page_size=&page_token=`
pub fn read_dead(query: Option<&str>) -> Result<PageRequest> {
    let mut query = Query::parse(query)?;
    let page = query.take_page()?;
    query.finish()?;
    Ok(page)
}

pub fn dead_to(page: Page<DeadLetter>) -> proto::ListDeadLettersResponse {
    let dead = |letter: DeadLetter| proto::DeadLetter {
        partition: letter.place.partition,
        offset: letter.place.offset,
        log_time: Some(timestamp_to(letter.log_time)),
        reason: letter.reason,
        record: letter.record,
    };
    proto::ListDeadLettersResponse {
        dead_letters: page.entries.into_iter().map(dead).collect(),
        next_page_token: page.next_page_token,
    }
}

pub fn write_dead(page: &Page<DeadLetter>) -> Vec<u8> {
    list("dead_letters", &page.entries, Some(&page.next_page_token), |w, letter| {
        w.key("partition").uint(letter.place.partition.into());
        w.key("offset").uint(letter.place.offset);
        w.key("log_time").timestamp(letter.log_time);
        w.key("reason").string(&letter.reason);
        w.key("record").bytes(&letter.record);
    })
}

/// Records that are not counted yet.
fn lag(stream: &StreamStatus) -> u64 {
    stream.end_offset.saturating_sub(stream.next_offset)
}

fn ledger_to(ledger: Ledger) -> proto::Ledger {
    proto::Ledger {
        produced: ledger.produced(),
        counted: ledger.counted,
        unused: ledger.unused,
        late: ledger.late,
        duplicate: ledger.duplicate,
        dead: ledger.dead,
    }
}

fn write_ledger(w: &mut JsonWriter<'_>, ledger: Ledger) {
    w.key("produced").uint(ledger.produced());
    w.key("counted").uint(ledger.counted);
    w.key("unused").uint(ledger.unused);
    w.key("late").uint(ledger.late);
    w.key("duplicate").uint(ledger.duplicate);
    w.key("dead").uint(ledger.dead);
}

/// `{name: [{…}, …], "next_page_token": …}`
fn list<T>(
    name: &str,
    entries: &[T],
    next_page_token: Option<&str>,
    members: impl Fn(&mut JsonWriter<'_>, &T),
) -> Vec<u8> {
    let mut out = Vec::new();
    JsonWriter::new(&mut out).object(|w| {
        w.key(name).array(|w| entries.iter().for_each(|entry| w.object(|w| members(w, entry))));
        if let Some(token) = next_page_token {
            w.key("next_page_token").string(token);
        }
    });
    out
}
