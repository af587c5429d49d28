//! The log's thread: what waits goes into one transaction, and what is outdated leaves in between.

use super::{
    blob::Piece,
    partition::Partition,
    queue::{Append, Closing},
};
use crate::store::{Result, embedded::Shared};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How often outdated records are looked for.
const REMOVE_EVERY: Duration = Duration::from_secs(60);
/// The newest volume ends after this part of the time for which events are kept, however little it holds: it leaves when
/// its last event is outdated, so none stays much longer than it should.
const VOLUMES_IN_RETENTION: i64 = 8;

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
            let removed = remove_outdated(shared);
            work.removals.into_iter().for_each(|reply| drop(reply.send(removed.clone())));
        } else if Instant::now() >= remove_at {
            if let Err(error) = remove_outdated(shared) {
                tracing::error!(%error, "cannot remove old events; it will be tried again");
            }
            remove_at = Instant::now() + REMOVE_EVERY;
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
    let durable = shared.log.volumes.append(&blobs);
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

/// Removes what is outdated, as far as its volume is.
fn remove_outdated(shared: &Shared) -> Result<()> {
    let log = &shared.log;
    let kept = shared.options.event_retention.micros();
    log.volumes.begin_if_older(shared.now().saturating_sub(kept / VOLUMES_IN_RETENTION))?;
    let keep_from: Vec<u64> = log.partitions.iter().map(Partition::keep_from).collect();
    let starts = log.volumes.remove(shared.event_retention_bound(), &keep_from)?;
    log.partitions.iter().zip(starts).for_each(|(partition, start)| partition.remove_before(start));
    Ok(())
}
