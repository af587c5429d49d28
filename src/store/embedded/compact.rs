//! Compaction: many segments become few, and what retention drops leaves.
//!
//! Segments of like size are merged four or more at a time (size-tiered), so a row is written about log₄ times. A merge
//! waits until writing pauses, unless segments pile up: loading in bulk has the disk to itself. Readers keep what they
//! have; the new segment replaces the old ones in one transaction.

use super::{
    Shared,
    manifest::Changes,
    merge::merge,
    segment::Segment,
    state::{GroupState, State},
};
use crate::{feature::RowId, store::Result};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How often to look by itself.
pub const EVERY: Duration = Duration::from_secs(2);
/// Segments of like size that are worth a merge.
const MERGE_MIN: usize = 4;
const MERGE_MAX: usize = 16;
/// That many are merged while writing goes on.
const PILED_UP: usize = 64;
/// Segments of one group beyond which the writer waits.
pub const SEGMENTS_MAX: usize = 512;
/// The smallest tier, in bytes; each next one is four times as large.
const TIER_BYTES: u64 = 1 << 20;
/// Part of the retention time that passes before a segment is read again for rows to drop.
const RETENTION_STEPS: i64 = 8;

/// Compacts until nothing is due; `whole` merges every group into one segment.
pub fn compact_all(shared: &Shared, whole: bool) -> Result<()> {
    let quiet = shared.segments_written_since_last_look() == 0;
    while !shared.compactor.is_stopped() {
        let mut state = State::clone(&shared.published.state());
        state.retention_bound = shared.retention_bound();
        let due = state.groups.iter().find_map(|(id, group)| {
            let inputs = if whole { all(shared, &state, group) } else { due(shared, &state, group, quiet) };
            (!inputs.is_empty()).then_some((*id, inputs))
        });
        let Some((id, inputs)) = due else { return Ok(()) };
        compact(shared, id, &inputs, state.retention_bound)?;
        shared.compactor.progressed();
    }
    Ok(())
}

/// Segments to merge now; empty = none.
fn due(shared: &Shared, state: &State, group: &GroupState, quiet: bool) -> Vec<Arc<Segment>> {
    let enough = if quiet { MERGE_MIN } else { PILED_UP };
    let mut tiers: BTreeMap<u32, Vec<Arc<Segment>>> = BTreeMap::new();
    for segment in &group.segments {
        if segment.meta.bytes < shared.options.segment_bytes_max / 2 {
            tiers.entry((segment.meta.bytes / TIER_BYTES + 1).ilog(4)).or_default().push(segment.clone());
        }
    }
    for mut segments in tiers.into_values() {
        if segments.len() < enough {
            continue;
        }
        // Neighbours in time, so that merged segments overlap as little as before.
        segments.sort_by_key(|segment| segment.meta.events);
        let mut bytes = 0;
        segments.truncate(MERGE_MAX);
        let fitting = segments.iter().take_while(|segment| {
            bytes += segment.meta.bytes;
            bytes <= shared.options.segment_bytes_max
        });
        let fitting = fitting.count();
        if fitting >= 2 {
            segments.truncate(fitting);
            return segments;
        }
    }
    group.segments.iter().find(|segment| outdated(shared, state, segment)).cloned().into_iter().collect()
}

/// Everything, unless there is nothing to gain.
fn all(shared: &Shared, state: &State, group: &GroupState) -> Vec<Arc<Segment>> {
    let is_done = match group.segments.as_slice() {
        [] => true,
        [only] => !state.retention_bound.is_some_and(|bound| {
            shared.options.retention.is_some()
                && only.meta.reduced_to.is_none_or(|done| done < bound)
                && only.meta.events.0 < bound
        }),
        _ => false,
    };
    if is_done { Vec::new() } else { group.segments.clone() }
}

/// The segment holds rows that retention drops, and did not lose any for a while.
fn outdated(shared: &Shared, state: &State, segment: &Segment) -> bool {
    let (Some(bound), Some(kept)) = (state.retention_bound, shared.options.retention) else { return false };
    let since = segment.meta.reduced_to.unwrap_or(segment.meta.events.0);
    segment.meta.events.0 < bound && bound - since > kept.micros() / RETENTION_STEPS
}

fn compact(shared: &Shared, id: RowId, inputs: &[Arc<Segment>], retention_bound: Option<i64>) -> Result<()> {
    let schema = shared.published.state().groups[&id].schema.clone();
    let merged = merge(&shared.medium, shared.next_segment_id(), &schema, inputs, retention_bound)?;
    shared.medium.sync_directory()?;
    let removed: Vec<u64> = inputs.iter().map(|segment| segment.meta.id).collect();
    let changes = Changes {
        segments: vec![merged.meta.clone()],
        removed: removed.clone(),
        retention_bound,
        ..Changes::default()
    };
    // A commit that failed may be there at the next start all the same: all files stay, named or not.
    shared.manifest.apply(&changes, &[])?;
    shared.published.change(|state| {
        state.retention_bound = state.retention_bound.max(retention_bound);
        let Some(group) = state.group_mut(id) else { return };
        group.segments.retain(|segment| !removed.contains(&segment.meta.id));
        group.add_segment(merged);
    });
    removed.iter().for_each(|id| shared.medium.remove(*id));
    Ok(())
}
