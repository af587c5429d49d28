//! Moments of knowledge: when commits become visible, and the moment before which nothing can still appear.
//!
//! ```text
//!   direct rows   created:   … visible | in flight | later          settled: just before what is in flight, or now
//!   stream rows   log time:  … read and committed | not yet         settled: just before the first record not yet settled
//! ```
//!
//! A `created` or a log time that is given after a settled time was stated is greater than it.

use crate::feature::{RowId, RowSchema, Timestamp};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Marks kept of a partition that is not settled: what lies between two of them is as old as the first.
const MARKS_MAX: usize = 4_096;

/// Moments in UTC microseconds.
#[derive(Debug)]
pub struct Timeline {
    /// The greatest `created` of a commit that is visible, or was ever given.
    pub last_created: i64,
    /// The number of the last commit that is visible.
    pub last_commit: u64,
    /// The first `created` of commits that are not visible yet.
    pub in_flight: Option<i64>,
    /// The greatest settled time ever stated.
    pub settled: i64,
    /// Settled times up to this one survive a crash.
    pub settled_reserved: i64,
    /// By group the greatest `created` of a visible row.
    newest: HashMap<RowId, i64>,
    pub streams: Streams,
}

/// What a snapshot may say of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Nothing can still appear before it, or at it.
    pub at: i64,
    /// Everything visible was created by then.
    pub is_all: bool,
}

impl Default for Timeline {
    fn default() -> Self {
        let never = Timestamp::MIN.micros();
        Self {
            last_created: never,
            last_commit: 0,
            in_flight: None,
            settled: never,
            settled_reserved: never,
            newest: HashMap::new(),
            streams: Streams::default(),
        }
    }
}

impl Timeline {
    /// Begins a group of commits: the first may have the `created` returned, each later one a greater one.
    pub fn begin(&mut self, now: i64) -> i64 {
        let first = now.max(self.last_created + 1).max(self.settled + 1);
        self.in_flight = Some(first);
        first
    }

    /// Ends it: everything up to `last_created` and `last_commit` is visible, or will never be.
    pub fn end(&mut self, last_created: i64, last_commit: u64) {
        self.last_created = last_created;
        self.last_commit = last_commit;
        self.in_flight = None;
    }

    /// Notes that rows of a group are visible, the newest of them `created` then.
    pub fn note_visible(&mut self, group: RowId, created: i64) {
        let newest = self.newest.entry(group).or_insert(created);
        *newest = created.max(*newest);
    }

    /// When the newest visible row of a group was created; none = it has none.
    pub fn newest(&self, group: RowId) -> Option<i64> {
        self.newest.get(&group).copied()
    }

    /// Gives records of a partition their first offset and their log time; from now on they are not settled.
    pub fn append(&mut self, partition: u32, records: u64, now: i64) -> (u64, i64) {
        self.streams.append(partition, records, now.max(self.settled + 1))
    }

    /// States a settled time for some groups.
    pub fn state_settled(&mut self, now: i64, groups: &[Arc<RowSchema>]) -> Settled {
        let mut at = match self.in_flight {
            Some(first) => first - 1,
            None => now.max(self.last_created),
        };
        if groups.iter().any(|group| group.windowed) {
            at = at.min(self.streams.settled());
        }
        self.settled = self.settled.max(at);
        let is_settled =
            |group: &Arc<RowSchema>| self.newest.get(&group.id).is_none_or(|newest| *newest <= at);
        Settled { at, is_all: groups.iter().all(is_settled) }
    }
}

/// Where the partitions of the event log stand, by number.
#[derive(Debug, Default)]
pub struct Streams(Vec<Stream>);

#[derive(Debug)]
struct Stream {
    /// The offset that the next record gets.
    end: u64,
    /// Of the newest record, or of one that could not be written.
    log_time: i64,
    /// Everything before this is settled.
    settled_to: u64,
    /// Log times of records that are not settled, by offset, the oldest first. Empty = all are.
    marks: VecDeque<(u64, i64)>,
}

impl Streams {
    /// Adds the next partition as a start finds it: its end, its last log time, and where rows may still come from, with
    /// the log time there.
    pub fn add(&mut self, end: u64, log_time: Option<i64>, unsettled: Option<(u64, i64)>) {
        let settled_to = unsettled.map_or(end, |(offset, _)| offset);
        let log_time = log_time.unwrap_or(Timestamp::MIN.micros());
        self.0.push(Stream { end, log_time, settled_to, marks: unsettled.into_iter().collect() });
    }

    fn append(&mut self, partition: u32, records: u64, now: i64) -> (u64, i64) {
        let stream = &mut self.0[partition as usize];
        stream.log_time = stream.log_time.max(now);
        let first = stream.end;
        stream.end += records;
        if stream.marks.back().is_none_or(|(_, log_time)| *log_time < stream.log_time) {
            if stream.marks.len() == MARKS_MAX {
                let mut number = 0;
                stream.marks.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
            }
            stream.marks.push_back((first, stream.log_time));
        }
        (first, stream.log_time)
    }

    /// The records from `first` on were not written. Log time does not run back.
    pub fn undo(&mut self, partition: u32, first: u64) {
        let stream = &mut self.0[partition as usize];
        stream.end = first;
        while stream.marks.back().is_some_and(|(offset, _)| *offset >= first) {
            stream.marks.pop_back();
        }
        stream.forget_settled();
    }

    /// Every row that records before `next_offset` cause is visible.
    pub fn settle(&mut self, partition: u32, next_offset: u64) {
        if let Some(stream) = self.0.get_mut(partition as usize) {
            stream.settled_to = stream.settled_to.max(next_offset);
            stream.forget_settled();
        }
    }

    /// The moment before which no record can still cause a row; in the far future if none can.
    fn settled(&self) -> i64 {
        let first = self.0.iter().filter_map(|stream| stream.marks.front()).map(|(_, log_time)| *log_time);
        first.min().map_or(i64::MAX, |log_time| log_time - 1)
    }
}

impl Stream {
    fn forget_settled(&mut self) {
        if self.settled_to >= self.end {
            self.marks.clear();
        }
        // The newest mark at or before what is not settled is not after it.
        while self.marks.get(1).is_some_and(|(offset, _)| *offset <= self.settled_to) {
            self.marks.pop_front();
        }
    }
}
