//! One view for a whole call.

use super::{
    Shared,
    as_of::{self, Search, View},
    blocking, statistics,
    timeline::Settled,
};
use crate::{
    feature::{RowSchema, Timestamp},
    store::{
        AsOf, KnownAt, Picks, Result, Scan, Snapshot, StoredRow,
        statistics::{ColumnStatistics, StatisticsQuery},
    },
};
use async_trait::async_trait;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub struct EmbeddedSnapshot {
    view: View,
    settled: Settled,
}

impl EmbeddedSnapshot {
    pub fn take(shared: &Shared, groups: &[Arc<RowSchema>]) -> Self {
        let retention_bound = shared.retention_bound();
        let (mut state, last_commit, settled) = shared.published.snapshot(shared.now(), groups);
        if state.retention_bound != retention_bound {
            let mut moved = super::State::clone(&state);
            moved.retention_bound = retention_bound;
            state = Arc::new(moved);
        }
        Self { view: View { state, last_commit }, settled }
    }
}

#[async_trait]
impl Snapshot for EmbeddedSnapshot {
    fn settled_at(&self) -> Timestamp {
        Timestamp::from_stored(self.settled.at)
    }

    /// Of direct rows always: commits are published in the order of their `created`, and a settled time lies between the
    /// published ones and those under way. Rows of a stream may be visible while another partition lags.
    fn is_settled(&self) -> bool {
        self.settled.is_all
    }

    async fn as_of(&self, query: AsOf) -> Result<Vec<Picks>> {
        let view = self.view.clone();
        blocking(move || as_of::as_of(&view, &query)).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<StoredRow>> {
        let view = self.view.clone();
        blocking(move || Ok(read(&view, &scan))).await
    }

    async fn statistics(&self, query: StatisticsQuery) -> Result<Vec<ColumnStatistics>> {
        let view = self.view.clone();
        let given_up = CancellationToken::new();
        // A caller whose deadline is over drops this call: then the walk ends too.
        let _waiting = given_up.clone().drop_guard();
        blocking(move || statistics::statistics(&view, &query, &given_up)).await
    }
}

fn read(view: &View, scan: &Scan) -> Vec<StoredRow> {
    let Some(group) = view.state.groups.get(&scan.group.id) else { return Vec::new() };
    let (from, to) = (scan.from.micros(), scan.to.micros());
    let after = scan.after.map(|(event, created, sequence)| (event.micros(), created.micros(), sequence));
    let is_asked =
        |order: (i64, i64, u64)| order.0 >= from && order.0 < to && after.is_none_or(|after| order > after);
    let base = view.state.retention_bound.and_then(|bound| base(view, scan, bound));
    let is_kept = |order: (i64, i64, u64)| {
        view.state.retention_bound.is_none_or(|bound| order.0 >= bound || base == Some(order))
    };
    let mut found = Vec::new();
    for memtable in group.memtables() {
        let rows = memtable.read();
        let rows = rows.get(scan.key.as_str()).map_or(&[][..], Vec::as_slice);
        let kept = rows.iter().filter(|recent| {
            let row = &recent.row;
            let order = (row.event_timestamp.micros(), row.created.micros(), row.sequence);
            recent.commit <= view.last_commit && is_asked(order) && is_kept(order)
        });
        found.extend(kept.take(scan.limit).map(|recent| StoredRow::clone(&recent.row)));
    }
    for segment in &group.segments {
        if segment.meta.events.0 >= to || segment.meta.events.1 < from {
            continue;
        }
        let rows = segment.rows_of(&scan.key);
        let start = segment.events.partition_point(rows.clone(), |event| event < from);
        let kept = (start..rows.end)
            .take_while(|row| segment.events.get(*row) < to)
            .filter(|row| is_asked(segment.order(*row)) && is_kept(segment.order(*row)));
        found.extend(kept.take(scan.limit).map(|row| segment.stored_row(row, &group.schema)));
    }
    found.sort_unstable_by_key(StoredRow::order);
    found.truncate(scan.limit);
    found
}

/// The one row that is left of what retention drops.
fn base(view: &View, scan: &Scan, bound: i64) -> Option<(i64, i64, u64)> {
    let group = view.state.groups.get(&scan.group.id)?;
    let memtables: Vec<_> = group.memtables().map(|table| table.read()).collect();
    let mut search = Search::new(view, group, KnownAt::Snapshot);
    search.seek(&scan.key);
    let mut recent = Vec::new();
    as_of::recent_rows(&memtables, &scan.key, &mut recent);
    search.newest_order(bound - 1, &recent)
}
