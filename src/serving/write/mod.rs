//! Writing rows: judged one by one, gathered as columns, committed in one transaction.
//!
//! ```text
//!   body ── wire ──> RowsBuilder ── judge ──> a column batch for each group ──> store.commit ──> WriteOutcome
//! ```

mod group_rows;
mod rows;

pub use rows::{RowHead, RowsBuilder, Target};

use super::Service;
use crate::{
    access::{Caller, Scope},
    error::{Error, Result},
    feature::Timestamp,
    store::{Commit, Committed, Idempotency, Receipt},
};
use serde::{Deserialize, Serialize};

/// Longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// Whether one bad row refuses the whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// One bad row fails the call.
    AllOrNothing,
    /// Good rows are taken, bad ones come back.
    RowByRow,
}

/// What became of the rows: accepted + unchanged + rejected = all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOutcome {
    /// Rows made durable by this call.
    pub accepted: u64,
    /// Rows equal to what was there already.
    pub unchanged: u64,
    pub rejected: Vec<RejectedRow>,
    /// When the store learned the accepted rows; None = no row was committed.
    pub created: Option<Timestamp>,
}

/// A row that was not accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// Position in the request, from 0.
    pub row: u64,
    /// The offending field, such as `rows[57].values.country`.
    pub field: String,
    pub reason: String,
}

impl RejectedRow {
    /// What an error within a row says.
    pub fn new(row: u64, error: Error) -> Self {
        let Error { message, field, .. } = error.within(format_args!("rows[{row}]"));
        Self { row, field: field.unwrap_or_default(), reason: message }
    }
}

/// The caller's own name for a request, so that a repeat does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub key: String,
    /// SHA-256 of the request's content.
    pub fingerprint: [u8; 32],
}

impl IdempotencyKey {
    pub fn new(key: impl Into<String>, fingerprint: [u8; 32]) -> Result<Self> {
        let key = key.into();
        let fits = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) && !key.contains(char::is_control);
        if !fits {
            let message = format!(
                "an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes and no control characters"
            );
            return Err(Error::invalid("idempotency_key", message));
        }
        Ok(Self { key, fingerprint })
    }

    /// The key of the n-th transaction of a streamed request. No caller's own key holds a control character.
    pub fn part(key: &str, part: u64, fingerprint: [u8; 32]) -> Self {
        Self { key: format!("{key}\u{1}{part}"), fingerprint }
    }
}

impl Service {
    /// A builder for the rows of one transaction.
    pub fn rows(&self, caller: &Caller, judge: Judge) -> Result<RowsBuilder> {
        caller.require(Scope::Write)?;
        Ok(RowsBuilder::new(self.registry.catalogue(caller), self.limits.clone(), self.time_bounds(), judge))
    }

    /// Commits rows; they are durable when this returns. A repeated idempotency key returns the first answer.
    pub async fn write(
        &self,
        caller: &Caller,
        rows: RowsBuilder,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<WriteOutcome> {
        caller.require(Scope::Write)?;
        let (batches, rows, rejected) = rows.finish();
        if batches.is_empty() && idempotency.is_none() {
            return Ok(WriteOutcome { rejected, ..WriteOutcome::default() });
        }
        let sequences: Vec<_> = batches.iter().map(|batch| batch.sequences.clone()).collect();
        let outcome = move |receipt: &Receipt, rejected| {
            let accepted = accepted_rows(receipt, &sequences, rows.end);
            let created = (rows.good > 0).then_some(receipt.created);
            WriteOutcome { accepted, unchanged: rows.good - accepted, rejected, created }
        };
        let idempotency = idempotency.map(|IdempotencyKey { key, fingerprint }| {
            let (outcome, rejected) = (outcome.clone(), rejected.clone());
            let answer = move |receipt: &Receipt| {
                rmp_serde::to_vec(&outcome(receipt, rejected)).expect("an outcome can be written down")
            };
            Idempotency { key, fingerprint, answer: Box::new(answer) }
        });
        let commit = Commit { tenant: caller.tenant(), batches, idempotency };
        // Without the runtime's turns: a commit told to wait for its turn would let a later one of the same stream into
        // the queue first, and their order decides between rows of one moment.
        match tokio::task::unconstrained(self.store.commit(commit)).await? {
            Committed::Fresh(receipt) => Ok(outcome(&receipt, rejected)),
            Committed::Replayed(answer) => rmp_serde::from_slice(&answer)
                .map_err(|error| Error::internal(format!("a stored answer cannot be read: {error}"))),
        }
    }
}

/// Rows of which at least one group was stored. `sequences` are the rows' positions in each batch.
fn accepted_rows(receipt: &Receipt, sequences: &[arrow::buffer::ScalarBuffer<u32>], rows_end: usize) -> u64 {
    if let [sequences] = sequences {
        let unchanged = receipt.unchanged[0].as_ref().map_or(0, |unchanged| unchanged.count_set_bits());
        return (sequences.len() - unchanged) as u64;
    }
    let mut accepted = vec![false; rows_end];
    for (sequences, unchanged) in sequences.iter().zip(&receipt.unchanged) {
        for (i, sequence) in sequences.iter().enumerate() {
            if unchanged.as_ref().is_none_or(|unchanged| !unchanged.value(i)) {
                accepted[*sequence as usize] = true;
            }
        }
    }
    accepted.iter().filter(|accepted| **accepted).count() as u64
}
