//! Flushing: sealed memtables become segments, beside readers and the writer.

use super::{Shared, background::Handle, manifest::Changes, segment_writer::write_memtable, state::Sealed};
use crate::{feature::RowId, store::Result};
use std::sync::Arc;

/// Turns everything that is sealed into segments, the oldest of each group first.
pub fn flush_all(shared: &Shared, handle: &Handle) -> Result<()> {
    loop {
        let state = shared.published.state();
        let oldest = state.groups.iter().find_map(|(id, group)| Some((*id, group.sealed.first()?.clone())));
        let Some((id, sealed)) = oldest else { return Ok(()) };
        flush(shared, id, &sealed)?;
        handle.progressed();
    }
}

fn flush(shared: &Shared, id: RowId, sealed: &Sealed) -> Result<()> {
    let schema = shared.published.state().groups[&id].schema.clone();
    let segment = write_memtable(&shared.medium, shared.next_segment_id(), &schema, &sealed.memtable)?;
    shared.medium.sync_directory()?;
    let changes = Changes {
        segments: vec![segment.meta.clone()],
        flushed: Some((id, sealed.last_commit)),
        ..Changes::default()
    };
    // A commit that failed may be there at the next start all the same: the file stays, named or not.
    shared.manifest.apply(&changes, &[])?;
    shared.published.change(|state| {
        let Some(group) = state.group_mut(id) else { return };
        group.sealed.retain(|other| !Arc::ptr_eq(&other.memtable, &sealed.memtable));
        group.add_segment(segment);
    });
    shared.compactor.notify();
    Ok(())
}
