//! What an idempotency key is bound to: the rows of a request, however they were sent.
//!
//! JSON and proto of one request have one fingerprint, so a repeat over the other transport is a repeat. Members and maps
//! have no order, moments no offset, numbers of a feature's dtype no spelling. Neither the clock nor what is kept counts: the
//! same request has the same fingerprint a day later.

use crate::{
    feature::{Timestamp, Value},
    serving::write::RowsBuilder,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A row as it was sent.
#[derive(Debug, Default, Serialize)]
pub(super) struct SentRow {
    pub entity_type: String,
    pub entity_id: String,
    pub entities: BTreeMap<String, String>,
    /// None = left out.
    pub event_timestamp: Option<Sent<Timestamp>>,
    /// By the names that the row uses; None within = null.
    values: BTreeMap<String, Sent<Option<Value>>>,
}

/// What was read, if it could be. What could not is refused wherever it comes from, so its content makes no difference.
#[derive(Debug, Serialize)]
pub(super) enum Sent<T> {
    Unfit,
    Fit(T),
}

impl<T> Sent<T> {
    pub fn of<E>(read: Result<T, E>) -> Self {
        read.map_or(Sent::Unfit, Sent::Fit)
    }
}

impl SentRow {
    /// Adds a value that `read` reads by its feature's dtype.
    pub fn value<E>(
        &mut self,
        name: &str,
        rows: &RowsBuilder,
        read: impl FnOnce(crate::feature::Dtype) -> Result<Option<Value>, E>,
    ) {
        let read = rows.dtype(name).map_or(Sent::Unfit, |dtype| match read(dtype) {
            // One NaN and one zero.
            Ok(Some(value)) => Sent::of(value.checked(dtype, true).map(Some)),
            read => Sent::of(read),
        });
        self.values.insert(name.to_owned(), read);
    }
}

/// Gathers rows in their order.
pub(super) struct Fingerprint(Sha256);

impl Fingerprint {
    /// `partial` as the request says it. A streamed request has no such field, so it has the fingerprint of a unary one
    /// without it: what a broken stream left in doubt may be sent again by unary calls.
    pub fn new(partial: bool) -> Self {
        Self(Sha256::new_with_prefix([u8::from(partial)]))
    }

    /// None = it was no row.
    pub fn row(&mut self, row: Option<&SentRow>) {
        let row = rmp_serde::to_vec(&row).expect("a row can be written down");
        self.0.update((row.len() as u64).to_le_bytes());
        self.0.update(row);
    }

    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
