//! What callers and background threads share, and how a start finds it.

use super::{
    Options, as_of,
    background::Handle,
    directory::Directory,
    latest::{LatestCache, Miss},
    log::PartitionedLog,
    manifest::Manifest,
    medium::Medium,
    memtable::RecentRow,
    progress, registry,
    segment::Segment,
    state::{GroupState, Published, State},
    timeline::Timeline,
};
use crate::{
    feature::{EntityTypeId, RowId},
    store::{EntityRows, Result, Revision, RowRef, StoredRow},
};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// How far ahead settled times are made durable: one sync a second, however many snapshots.
const SETTLED_AHEAD_MICROS: i64 = 1_000_000;

/// What callers and background threads share.
pub struct Shared {
    pub options: Options,
    pub manifest: Manifest,
    pub medium: Medium,
    /// None = everything is in memory.
    pub directory: Option<Directory>,
    pub log: PartitionedLog,
    pub published: Published,
    pub latest: LatestCache,
    pub next_segment: AtomicU64,
    /// `next_segment` when the compactor last looked.
    pub last_look: AtomicU64,
    pub compactor: Handle,
    /// What the registry stands at.
    pub registry_head: watch::Sender<Revision>,
    /// The number of the first commit since the start.
    pub first_commit: u64,
}

impl Shared {
    pub fn recover(
        manifest: Manifest,
        log: PartitionedLog,
        medium: Medium,
        directory: Option<Directory>,
        options: Options,
    ) -> Result<Self> {
        let recovered = manifest.recover()?;
        let mut state = State { retention_bound: recovered.retention_bound, ..State::default() };
        let mut timeline = Timeline::default();
        for schema in recovered.groups {
            state.groups.insert(schema.id, Arc::new(GroupState::new(Arc::new(schema))));
        }
        let named: HashSet<u64> = recovered.segments.iter().map(|meta| meta.id).collect();
        for meta in recovered.segments {
            timeline.last_created = timeline.last_created.max(meta.created.1);
            let segment = Arc::new(Segment::open(meta.clone(), medium.open(meta.id)?)?);
            if let Some(group) = state.group_mut(meta.group) {
                timeline.note_visible(meta.group, meta.created.1);
                group.add_segment(segment);
            }
        }
        // Every named segment is there and readable: only now is anything else moved.
        medium.clear(&named, &recovered.removed)?;
        manifest.forget_removed()?;
        let mut first_commit = 1;
        for (id, commit, rows) in &recovered.tail {
            first_commit = first_commit.max(commit + 1);
            for created in rows.iter().map(|(_, row)| row.created.micros()) {
                timeline.last_created = timeline.last_created.max(created);
                timeline.note_visible(*id, created);
            }
            if let Some(group) = state.groups.get(id) {
                let recent = |row: &Arc<StoredRow>| RecentRow { row: row.clone(), commit: *commit };
                group.active.insert(rows.iter().map(|(key, row)| (&**key, recent(row))));
            }
        }
        timeline.last_commit = first_commit - 1;
        if let Some(settled) = recovered.settled_reserved {
            timeline.settled = settled;
            timeline.settled_reserved = settled;
        }
        progress::recover(&manifest, &log, &mut timeline.streams)?;
        Ok(Self {
            latest: LatestCache::new(options.latest_bytes_max),
            next_segment: AtomicU64::new(named.iter().max().map_or(1, |last| last + 1)),
            last_look: AtomicU64::new(0),
            compactor: Handle::default(),
            registry_head: watch::Sender::new(manifest.read(registry::head)?),
            published: Published::new(state, timeline),
            first_commit,
            manifest,
            log,
            medium,
            directory,
            options,
        })
    }

    /// Reads what the cache could not answer, and keeps it there. Answers with the position of each key.
    pub fn read_latest(
        &self,
        entity_type: EntityTypeId,
        groups: &[RowId],
        missed: Vec<(Miss, String)>,
    ) -> Vec<(usize, EntityRows)> {
        let state = self.published.state();
        let read = |(miss, key): (Miss, String)| {
            let of_group = |group: &RowId| as_of::latest(state.groups.get(group)?, &key);
            let rows: Vec<_> = groups.iter().map(of_group).collect();
            let found = groups.iter().copied().zip(rows.iter().map(|row| row.as_deref().map(RowRef::from)));
            let found = EntityRows::new(&key, found);
            self.latest.fill(miss, entity_type, &key, found.clone());
            (miss.key, found)
        };
        missed.into_iter().map(read).collect()
    }

    /// Fails if the data directory was removed or replaced under this process.
    pub fn check_owned(&self) -> Result<()> {
        self.directory.as_ref().map_or(Ok(()), |directory| directory.check_owned())
    }

    pub fn now(&self) -> i64 {
        self.options.clock.now().micros()
    }

    pub fn next_segment_id(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }

    pub fn segments_written_since_last_look(&self) -> u64 {
        let now = self.next_segment.load(Ordering::Relaxed);
        now - self.last_look.swap(now, Ordering::Relaxed).min(now)
    }

    pub fn retention_bound(&self) -> Option<i64> {
        let kept = self.options.retention?.micros();
        let bound = self.now().saturating_sub(kept);
        Some(self.published.state().retention_bound.map_or(bound, |known| known.max(bound)))
    }

    /// Events of an older log time are not kept.
    pub fn event_retention_bound(&self) -> i64 {
        self.now().saturating_sub(self.options.event_retention.micros())
    }

    /// Makes sure that no commit after a restart is created at or before `settled`.
    pub fn reserve_settled(&self, settled: i64) -> Result<()> {
        let until = settled.saturating_add(SETTLED_AHEAD_MICROS);
        self.manifest.reserve_settled(until)?;
        let mut timeline = self.published.timeline();
        timeline.settled_reserved = timeline.settled_reserved.max(until);
        Ok(())
    }
}
