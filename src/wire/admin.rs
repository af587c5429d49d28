//! What administrators look at, as the contract has it.

use super::{proto, value::timestamp_to};
use crate::{
    serving::{
        admin::{Backfill, LateEntry, LateFilter, StreamStatus},
        catalogue::Page,
        page::PageRequest,
    },
    store::readers::DeadLetter,
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

pub fn late_from(request: proto::ListLateEventsRequest) -> (LateFilter, PageRequest) {
    let proto::ListLateEventsRequest { event_type, entity_id, page_size, page_token } = request;
    (LateFilter { event_type, entity_id }, PageRequest { size: page_size.into(), token: page_token })
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

pub fn dead_from(request: proto::ListDeadLettersRequest) -> PageRequest {
    PageRequest { size: request.page_size.into(), token: request.page_token }
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
