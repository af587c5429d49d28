//! How far the log had come at some moment, in one partition.

use crate::{feature::Timestamp, store::log::Extent};

/// Bytes of an encoded mark.
const MARK_BYTES: usize = 24;

/// A moment of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The offset that the next record gets.
    pub offset: u64,
    /// Of the last record before it, if there ever was one.
    pub log_time: i64,
    /// Bytes of all blobs before it since the log's first.
    pub bytes: u64,
}

impl Mark {
    /// Before the first record.
    pub const ZERO: Self = Self { offset: 0, log_time: i64::MIN, bytes: 0 };

    /// What a partition holds from an offset on to this mark.
    pub fn bounds(&self, start: u64) -> Extent {
        let log_time = (self.offset > 0).then(|| Timestamp::from_stored(self.log_time));
        Extent { start, end: self.offset, log_time }
    }
}

/// The marks of all partitions: offset, log time and bytes of each, little-endian.
pub fn encode(marks: &[Mark]) -> Vec<u8> {
    let mut out = Vec::with_capacity(marks.len() * MARK_BYTES);
    for mark in marks {
        out.extend_from_slice(&mark.offset.to_le_bytes());
        out.extend_from_slice(&mark.log_time.to_le_bytes());
        out.extend_from_slice(&mark.bytes.to_le_bytes());
    }
    out
}

/// `None` if the bytes are not the marks of so many partitions.
pub fn decode(bytes: &[u8], partitions: u32) -> Option<Vec<Mark>> {
    let (marks, rest) = bytes.as_chunks::<MARK_BYTES>();
    let decode = |mark: &[u8; MARK_BYTES]| {
        let (words, _) = mark.as_chunks::<8>();
        Mark {
            offset: u64::from_le_bytes(words[0]),
            log_time: i64::from_le_bytes(words[1]),
            bytes: u64::from_le_bytes(words[2]),
        }
    };
    (rest.is_empty() && marks.len() == partitions as usize).then(|| marks.iter().map(decode).collect())
}
