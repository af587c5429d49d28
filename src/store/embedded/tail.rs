//! The write-ahead form of a small batch: one record for each (group, commit).
//!
//! ```text
//! [rows: u32] then for each row
//! [event: i64][created: i64][sequence: u64][key bytes: u32][row bytes: u32][key][packed row]
//! ```
//!
//! All integers are little-endian. The engine that holds the record checks its bytes, so it carries no checksum.

use crate::{feature::Timestamp, store::StoredRow};
use std::sync::Arc;

/// A kept row with its key.
pub type KeyedRow = (Box<str>, Arc<StoredRow>);

pub fn encode(rows: &[KeyedRow]) -> Vec<u8> {
    let bytes: usize = rows.iter().map(|(key, row)| 32 + key.len() + row.values.len()).sum();
    let mut out = Vec::with_capacity(4 + bytes);
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    for (key, row) in rows {
        out.extend_from_slice(&row.event_timestamp.micros().to_le_bytes());
        out.extend_from_slice(&row.created.micros().to_le_bytes());
        out.extend_from_slice(&row.sequence.to_le_bytes());
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(&(row.values.len() as u32).to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&row.values);
    }
    out
}

/// The rows; `None` if the bytes are no record.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<KeyedRow>> {
    fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
        let (head, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        Some(head)
    }
    fn number<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        take(bytes, N)?.try_into().ok()
    }
    let count = u32::from_le_bytes(number(&mut bytes)?);
    let mut rows = Vec::with_capacity(count.min(1 << 16) as usize);
    for _ in 0..count {
        let event = i64::from_le_bytes(number(&mut bytes)?);
        let created = i64::from_le_bytes(number(&mut bytes)?);
        let sequence = u64::from_le_bytes(number(&mut bytes)?);
        let key_len = u32::from_le_bytes(number(&mut bytes)?) as usize;
        let row_len = u32::from_le_bytes(number(&mut bytes)?) as usize;
        let key = std::str::from_utf8(take(&mut bytes, key_len)?).ok()?;
        let row = StoredRow {
            event_timestamp: Timestamp::from_stored(event),
            created: Timestamp::from_stored(created),
            sequence,
            values: take(&mut bytes, row_len)?.into(),
        };
        rows.push((key.into(), Arc::new(row)));
    }
    bytes.is_empty().then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_come_back(rows in prop::collection::vec((".{0,9}", any::<i64>(), any::<i64>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..40)), 0..9)) {
            let rows: Vec<KeyedRow> = rows.into_iter().map(|(key, event, created, sequence, values)| {
                let row = StoredRow {
                    event_timestamp: Timestamp::from_stored(event),
                    created: Timestamp::from_stored(created),
                    sequence,
                    values: values.into(),
                };
                (key.into(), Arc::new(row))
            }).collect();
            let bytes = encode(&rows);
            prop_assert_eq!(decode(&bytes), Some(rows));
            prop_assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
    }
}
