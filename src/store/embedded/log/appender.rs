//! The log's thread: what waits goes into one transaction, and what is outdated leaves in between.

use super::{
    blob::Piece,
    queue::{Append, Closing},
};
use crate::{error::Result, store::embedded::Shared};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How often outdated records are looked for.
const REMOVE_EVERY: Duration = Duration::from_secs(60);
/// Blobs of a partition that are removed before appends have their turn again.
const REMOVE_BLOBS_MAX: usize = 128;

/// Runs until the store is dropped.
pub fn run(shared: &Shared) {
    let queue = &shared.log.queue;
    let _closing = Closing(queue);
    let mut remove_at = Instant::now();
    while let Some(work) = queue.take(remove_at.saturating_duration_since(Instant::now())) {
        if !work.appends.is_empty() {
            append(shared, work.appends);
        }
        if !work.removals.is_empty() {
            let removed = remove_all_outdated(shared);
            work.removals.into_iter().for_each(|reply| drop(reply.send(removed.clone())));
        } else if Instant::now() >= remove_at {
            let more = remove_outdated(shared).unwrap_or_else(|error| {
                tracing::error!(%error, "cannot remove old events; it will be tried again");
                false
            });
            remove_at = if more { Instant::now() } else { Instant::now() + REMOVE_EVERY };
        }
    }
}

/// Pieces for one partition, joined as far as they fit.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Piece>,
    records: u64,
}

impl Gathered {
    fn push(&mut self, piece: Piece) {
        self.records += u64::from(piece.records);
        let left = match self.pieces.last_mut() {
            Some(last) => last.join(piece).err(),
            None => Some(piece),
        };
        self.pieces.extend(left);
    }
}

/// Makes appends durable in one transaction and lets readers see them.
fn append(shared: &Shared, appends: Vec<Append>) {
    let mut gathered: BTreeMap<u32, Gathered> = BTreeMap::new();
    // For each caller its parts: the partition, and the records before it in this transaction.
    let mut replies = Vec::with_capacity(appends.len());
    for Append { parts, reply, room } in appends {
        let mut places = Vec::with_capacity(parts.len());
        for part in parts {
            let of_partition = gathered.entry(part.partition).or_default();
            places.push((part.partition, of_partition.records));
            part.pieces.into_iter().for_each(|piece| of_partition.push(piece));
        }
        replies.push((reply, places, room));
    }
    let mut blobs = Vec::new();
    let mut firsts = BTreeMap::new();
    {
        let mut timeline = shared.published.timeline();
        let now = shared.now();
        for (partition, gathered) in gathered {
            let (first, log_time) = timeline.append(partition, gathered.records, now);
            firsts.insert(partition, first);
            let mut next = first;
            for piece in gathered.pieces {
                let blob = piece.into_blob(next, log_time);
                next = blob.end();
                blobs.push((partition, blob));
            }
        }
    }
    let durable = shared.log.tables.append(&blobs);
    shared.log.note(&durable);
    match &durable {
        Ok(()) => blobs.iter().for_each(|(partition, blob)| shared.log.publish(*partition, blob)),
        Err(_) => {
            let mut timeline = shared.published.timeline();
            firsts.iter().for_each(|(partition, first)| timeline.streams.undo(*partition, *first));
        }
    }
    for (reply, places, room) in replies {
        drop(room);
        let offsets = places.iter().map(|(partition, before)| firsts[partition] + before).collect();
        let _ = reply.send(durable.clone().map(|()| offsets));
    }
}

fn remove_all_outdated(shared: &Shared) -> Result<()> {
    while remove_outdated(shared)? {}
    Ok(())
}

/// Removes some of what is outdated; true if there is more.
fn remove_outdated(shared: &Shared) -> Result<bool> {
    let before = shared.event_retention_bound();
    let mut more = false;
    for (number, partition) in shared.log.partitions.iter().enumerate() {
        let (start, is_more) =
            shared.log.tables.remove(number as u32, before, partition.keep_from(), REMOVE_BLOBS_MAX)?;
        partition.remove_before(start);
        more |= is_more;
    }
    Ok(more)
}
