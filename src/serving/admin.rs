//! What administrators look at: how streams stand, and which records were not counted.
//!
//! The log is shared by all tenants. Whoever runs the server (scope operator) sees how partitions stand, which names
//! nobody; whoever runs a tenant (scope admin) sees that tenant's backfills and records, and no other's.

use super::{Service, catalogue::Page, page::PageRequest};
use crate::{
    access::{Caller, Scope},
    error::{Error, Kind, Result},
    feature::{RowId, TenantId, Timestamp, entity},
    registry::Catalogue,
    store::{
        log::RecordId,
        readers::{
            DeadLetter, LateEvent, Purpose, ReaderId, ReaderState, ReaderSummary, SideQuery, StateSize,
        },
    },
    window::Ledger,
};
use std::{collections::HashMap, time::Duration};

/// How long a question for statuses waits until what was judged before it is committed.
const COMMIT_WAIT: Duration = Duration::from_secs(1);

/// How one partition stands, as everybody who shares the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    pub partition: u32,
    /// Everything before it is counted, durably.
    pub next_offset: u64,
    pub committed_offset: u64,
    /// The offset that the next record will get.
    pub end_offset: u64,
    pub log_time: Option<Timestamp>,
    pub ledger: Ledger,
    pub memory: StateSize,
    /// Why it cannot go on; it tries again.
    pub stalled: Option<String>,
}

/// A backfill as the caller's tenant sees it.
#[derive(Clone, Debug)]
pub struct Backfill {
    pub partition: u32,
    /// By name.
    pub groups: Vec<String>,
    pub next_offset: u64,
    pub end_offset: u64,
    /// The end of the first live window. None = not known, or that of another tenant's group.
    pub joins_at: Option<Timestamp>,
    pub done: bool,
    /// None where the pass also counts for other tenants: their events are none of the caller's business.
    pub ledger: Option<Ledger>,
}

/// Which late events to list; an empty part matches all.
#[derive(Clone, Debug, Default)]
pub struct LateFilter {
    pub event_type: String,
    pub entity_id: String,
}

/// An event that missed closed windows, with their groups by name.
#[derive(Clone, Debug)]
pub struct LateEntry {
    pub event: LateEvent,
    /// Aligned with `event.missed`.
    pub groups: Vec<String>,
}

impl Service {
    /// How every partition stands, from what its reader last committed: every process that shares the store answers the
    /// same. What this process has judged before is committed first.
    pub async fn streams(&self, caller: &Caller) -> Result<Vec<StreamStatus>> {
        caller.require(Scope::Operator)?;
        self.events.streams.commit_judged(COMMIT_WAIT).await;
        let states = self.events.progress.readers().await?;
        let mut live: HashMap<u32, ReaderState> = states
            .into_iter()
            .filter(|state| state.reader.purpose == Purpose::Live)
            .map(|state| (state.reader.partition, state))
            .collect();
        let mut statuses = Vec::new();
        for partition in 0..self.events.log.source.identity().await?.partitions {
            let reader = ReaderId { partition, purpose: Purpose::Live };
            let state = live.remove(&partition).unwrap_or_else(|| ReaderState::new(reader));
            statuses.push(StreamStatus {
                partition,
                next_offset: state.next_offset,
                committed_offset: state.next_offset,
                // Asked after the state was read, so that it is not before it.
                end_offset: self.events.log.source.extent(partition).await?.end,
                log_time: state.log_time,
                ledger: state.summary.ledger,
                memory: state.summary.state,
                stalled: state.stalled,
            });
        }
        Ok(statuses)
    }

    /// Backfills of the caller's groups, under way and done.
    pub async fn backfills(&self, caller: &Caller) -> Result<Vec<Backfill>> {
        caller.require(Scope::Admin)?;
        let catalogue = self.registry.catalogue(caller);
        let is_own = |(tenant, _): &(TenantId, RowId)| *tenant == caller.tenant();
        let mut backfills = Vec::new();
        for state in self.events.progress.readers().await? {
            let ReaderSummary { groups: all, joins_at, ledger, .. } = state.summary;
            let own = all.iter().filter(|group| is_own(group));
            let groups: Vec<String> = own.map(|(_, group)| name(&catalogue, *group)).collect();
            if state.reader.purpose == Purpose::Live || groups.is_empty() {
                continue;
            }
            let partition = state.reader.partition;
            let end_offset = match state.done {
                true => state.next_offset,
                false => self.events.log.source.extent(partition).await?.end,
            };
            backfills.push(Backfill {
                partition,
                next_offset: state.next_offset,
                end_offset,
                joins_at: joins_at.filter(|_| all.first().is_some_and(is_own)),
                done: state.done,
                ledger: (groups.len() == all.len()).then_some(ledger),
                groups,
            });
        }
        Ok(backfills)
    }

    /// A page of the caller's late events, by partition and offset.
    pub async fn late_events(
        &self,
        caller: &Caller,
        filter: &LateFilter,
        page: &PageRequest,
    ) -> Result<Page<LateEntry>> {
        caller.require(Scope::Admin)?;
        let LateFilter { event_type, entity_id } = filter;
        for (text, field) in [(event_type, "event_type"), (entity_id, "entity_id")] {
            if !text.is_empty() {
                entity::check_id(text).map_err(|why| Error::invalid(field, why))?;
            }
        }
        let pages = page.open(caller, &["late-events", event_type, entity_id])?;
        let mut events = self
            .events
            .progress
            .late_events(SideQuery {
                tenant: caller.tenant(),
                after: pages.after.as_deref().map(read_position).transpose()?,
                limit: pages.size + 1,
                event_type: event_type.clone(),
                entity_id: entity_id.clone(),
            })
            .await?;
        let next_page_token = pages.cut(&mut events, |event| position(event.place));
        let catalogue = self.registry.catalogue(caller);
        let entry = |event: LateEvent| LateEntry {
            groups: event.missed.iter().map(|missed| name(&catalogue, missed.group)).collect(),
            event,
        };
        Ok(Page { entries: events.into_iter().map(entry).collect(), next_page_token })
    }

    /// A page of the caller's records that could not be used, by partition and offset.
    pub async fn dead_letters(&self, caller: &Caller, page: &PageRequest) -> Result<Page<DeadLetter>> {
        caller.require(Scope::Admin)?;
        let pages = page.open(caller, &["dead-letters"])?;
        let mut letters = self
            .events
            .progress
            .dead_letters(SideQuery {
                tenant: caller.tenant(),
                after: pages.after.as_deref().map(read_position).transpose()?,
                limit: pages.size + 1,
                event_type: String::new(),
                entity_id: String::new(),
            })
            .await?;
        let next_page_token = pages.cut(&mut letters, |letter| position(letter.place));
        Ok(Page { entries: letters, next_page_token })
    }
}

fn name(catalogue: &Catalogue, group: RowId) -> String {
    // Groups are never removed; a replica may be asked before it has heard of one.
    let known = catalogue.group_by_id(group);
    known.map_or_else(|| format!("#{group}"), |entry| entry.group.name.clone())
}

fn position(place: RecordId) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&place.partition.to_le_bytes());
    bytes[4..].copy_from_slice(&place.offset.to_le_bytes());
    bytes
}

fn read_position(bytes: &[u8]) -> Result<RecordId> {
    let parts = bytes.split_first_chunk::<4>().and_then(|(partition, rest)| {
        Some(RecordId {
            partition: u32::from_le_bytes(*partition),
            offset: u64::from_le_bytes(rest.try_into().ok()?),
        })
    });
    // The seal was ours, so only another version of the server can have written it.
    parts.ok_or_else(|| {
        Error::new(Kind::InvalidArgument, "this page token is of another version; begin again")
            .at("page_token")
    })
}
