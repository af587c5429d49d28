//! Records as bytes: pieces that callers encode, and the blobs that the log keeps.
//!
//! ```text
//! [log time: i64][records: u32][least event timestamp: i64][greatest: i64]      the head
//! for each record [bytes after this head: u32][what: u8][tenant: u32][payload]
//! ```
//!
//! All integers are little-endian. A tenant whose number takes more than 32 bits has `WIDE` added to `what`, and its upper
//! 32 bits before the payload: what was written while numbers had 32 bits is read as ever. The engine checks the bytes that it holds, so blobs carry no checksum. A blob without
//! events has a least event timestamp above the greatest.

use crate::{
    feature::{TenantId, Timestamp},
    store::log::{Body, NewRecord, Payload, Record, TenantRef},
};
use bytes::Bytes;

/// A blob of more than one record stays below this: with what the engine adds it fills 64 KiB, a size that it allocates.
pub const BLOB_BYTES_MAX: usize = 64 * 1024 - 256;
pub const HEAD_BYTES: usize = 28;
/// What a record takes beside its payload.
pub const RECORD_BYTES: usize = 9;

const JSON: u8 = 0;
const PROTO: u8 = 1;
const TICK: u8 = 2;
/// Added to `JSON` and `PROTO`: four more bytes of the tenant follow.
const WIDE: u8 = 0x80;
const WIDE_BYTES: usize = 4;

/// Records of one partition that follow each other, without their log time.
#[derive(Debug)]
pub struct Piece {
    /// Room for the head, then the records.
    bytes: Vec<u8>,
    pub records: u32,
    /// Least and greatest event timestamp.
    events: (i64, i64),
}

/// What is known of a blob without its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub log_time: i64,
    pub records: u32,
    /// Least and greatest event timestamp.
    pub events: (i64, i64),
}

/// A blob of the log.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The offset of its first record.
    pub first: u64,
    pub head: Head,
    bytes: Bytes,
}

impl Piece {
    /// One record that only carries log time.
    pub fn tick() -> Self {
        let mut piece = Self::with_capacity(RECORD_BYTES);
        piece.push(TICK, TenantId::from_stored(0), &[]);
        piece
    }

    /// `bytes` of records follow.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut piece =
            Self { bytes: Vec::with_capacity(HEAD_BYTES + bytes), records: 0, events: (i64::MAX, i64::MIN) };
        piece.bytes.resize(HEAD_BYTES, 0);
        piece
    }

    /// Whether so many bytes of records may follow in the same blob.
    pub fn takes(&self, bytes: usize) -> bool {
        self.records == 0 || self.bytes.len() + bytes <= BLOB_BYTES_MAX
    }

    pub fn push_event(&mut self, record: &NewRecord) {
        let event = record.event_timestamp.micros();
        self.events = (self.events.0.min(event), self.events.1.max(event));
        match &record.payload {
            Payload::Json(payload) => self.push(JSON, record.tenant, payload),
            Payload::Proto(payload) => self.push(PROTO, record.tenant, payload),
        }
    }

    fn push(&mut self, what: u8, tenant: TenantId, payload: &[u8]) {
        let (low, high) = halves(tenant);
        let wide = if high == 0 { &[][..] } else { &high.to_le_bytes()[..] };
        self.bytes.extend_from_slice(&((wide.len() + payload.len()) as u32).to_le_bytes());
        self.bytes.push(if high == 0 { what } else { what | WIDE });
        self.bytes.extend_from_slice(&low.to_le_bytes());
        self.bytes.extend_from_slice(wide);
        self.bytes.extend_from_slice(payload);
        self.records += 1;
    }

    /// Puts another piece behind this one; gives it back if it does not fit.
    pub fn join(&mut self, other: Piece) -> Result<(), Piece> {
        if !self.takes(other.record_bytes()) {
            return Err(other);
        }
        self.bytes.extend_from_slice(&other.bytes[HEAD_BYTES..]);
        self.records += other.records;
        self.events = (self.events.0.min(other.events.0), self.events.1.max(other.events.1));
        Ok(())
    }

    /// Bytes of its records.
    pub fn record_bytes(&self) -> usize {
        self.bytes.len() - HEAD_BYTES
    }

    pub fn into_blob(mut self, first: u64, log_time: i64) -> Blob {
        let head = Head { log_time, records: self.records, events: self.events };
        self.bytes[..HEAD_BYTES].copy_from_slice(&head.encode());
        Blob { first, head, bytes: self.bytes.into() }
    }
}

/// What a record takes in a blob.
pub fn record_bytes(record: &NewRecord) -> usize {
    let (Payload::Json(payload) | Payload::Proto(payload)) = &record.payload;
    RECORD_BYTES + if halves(record.tenant).1 == 0 { 0 } else { WIDE_BYTES } + payload.len()
}

/// The lower and the upper 32 bits of a tenant's number.
fn halves(tenant: TenantId) -> (u32, u32) {
    (tenant.get() as u32, (tenant.get() >> 32) as u32)
}

impl Head {
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..8].copy_from_slice(&self.log_time.to_le_bytes());
        out[8..12].copy_from_slice(&self.records.to_le_bytes());
        out[12..20].copy_from_slice(&self.events.0.to_le_bytes());
        out[20..].copy_from_slice(&self.events.1.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Self {
        let long = |at: usize| i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let records = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
        Self { log_time: long(0), records, events: (long(12), long(20)) }
    }

    /// Whether some event may lie in `[from, to)`.
    pub fn may_hold(&self, from: Timestamp, to: Timestamp) -> bool {
        self.events.0 < to.micros() && self.events.1 >= from.micros()
    }
}

impl Blob {
    /// `None` if the bytes are no blob.
    pub fn parse(first: u64, bytes: Bytes) -> Option<Self> {
        let head = Head::decode(bytes.first_chunk()?);
        Some(Self { first, head, bytes })
    }

    /// The offset after its last record.
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.head.records)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds its records from an offset on to `out` until they have `bytes_left` bytes, but at least one; they share its
    /// memory. `None` if the bytes are no blob.
    pub fn read(&self, from: u64, bytes_left: &mut usize, out: &mut Vec<Record>) -> Option<()> {
        let log_time = Timestamp::from_stored(self.head.log_time);
        let mut at = HEAD_BYTES;
        for offset in self.first..self.end() {
            let head = self.bytes.get(at..at + RECORD_BYTES)?;
            let len = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
            let start = at + RECORD_BYTES;
            at = start + len;
            if offset < from {
                continue;
            }
            if at > self.bytes.len() {
                return None;
            }
            let word = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
            let mut tenant = u64::from(word(&head[5..9])?);
            let mut start = start;
            if head[4] & WIDE != 0 {
                tenant |= u64::from(word(self.bytes.get(start..start + WIDE_BYTES)?)?) << 32;
                start += WIDE_BYTES;
            }
            if start > at {
                return None;
            }
            let event =
                |payload| Body::Event { tenant: TenantRef::Id(TenantId::from_stored(tenant)), payload };
            let body = match head[4] & !WIDE {
                JSON => event(Payload::Json(self.bytes.slice(start..at))),
                PROTO => event(Payload::Proto(self.bytes.slice(start..at))),
                TICK => Body::Tick,
                _ => return None,
            };
            out.push(Record { offset, log_time, key: None, body });
            *bytes_left = bytes_left.saturating_sub(RECORD_BYTES + len);
            if *bytes_left == 0 {
                break;
            }
        }
        Some(())
    }
}
