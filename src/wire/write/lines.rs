//! Rows as NDJSON, one a line: a body without end, in bounded memory.
//!
//! ```text
//!   pieces ──> lines ──> chunks of rows (by count and bytes, never by time) ──> transactions, some at once
//! ```
//!
//! A chunk's rows depend on the body alone, so that a repeat under one idempotency key meets the same transactions.

use super::json::{JsonRequest, read_row};
use crate::{
    access::Caller,
    error::{Error, Result},
    feature::json::JsonReader,
    serving::{
        Service,
        write::{IdempotencyKey, Judge, RejectedRow, RowsBuilder, WriteOutcome},
    },
    wire::lines::{Lines, Listed},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

/// A transaction takes at most so many rows, of at most so many bytes.
const CHUNK_ROWS_MAX: usize = 8_192;
const CHUNK_BYTES_MAX: usize = 2 << 20;
/// Transactions under way at once.
const CHUNKS_IN_FLIGHT_MAX: usize = 4;

/// Writes the rows of a body, judged line by line. Rows count from 0; empty lines are passed over. The outcome lists the
/// first rejected rows; the number beside it counts all.
pub async fn write_lines(
    request: JsonRequest,
    service: &Service,
    caller: &Caller,
    pieces: impl Stream<Item = Result<Bytes>> + Send + Unpin + 'static,
) -> Result<(WriteOutcome, u64)> {
    if let Some(key) = &request.idempotency_key {
        IdempotencyKey::new(key, [0; 32])?;
    }
    let chunks = Chunks {
        service: service.clone(),
        caller: caller.clone(),
        key: request.idempotency_key,
        lines: Lines::new(pieces, service.limits.line_bytes_max),
        rows: 0,
        parts: 0,
    };
    let chunks = stream::try_unfold(chunks, |mut chunks| async move {
        let chunk = chunks.next().await?;
        Ok(chunk.map(|chunk| (chunk, chunks)))
    });
    let (service, caller) = (service.clone(), caller.clone());
    let commits = chunks.map(move |chunk: Result<Chunk>| {
        let (service, caller) = (service.clone(), caller.clone());
        async move {
            let Chunk { first, rows, idempotency } = chunk?;
            Ok((first, service.write(&caller, rows, idempotency).await?))
        }
    });
    let mut commits = Box::pin(commits.buffered(CHUNKS_IN_FLIGHT_MAX));
    let mut total = Total::default();
    loop {
        match commits.try_next().await {
            Ok(Some((first, outcome))) => total.add(first, outcome),
            Ok(None) => return Ok(total.finish()),
            Err(error) => return Err(total.interrupted(error)),
        }
    }
}

/// The rows of one transaction.
struct Chunk {
    /// Position of its first row in the body.
    first: u64,
    rows: RowsBuilder,
    idempotency: Option<IdempotencyKey>,
}

/// Cuts a body into chunks.
struct Chunks<S> {
    service: Service,
    caller: Caller,
    key: Option<String>,
    lines: Lines<S>,
    /// Rows in earlier chunks.
    rows: u64,
    parts: u64,
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Chunks<S> {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        let mut rows = self.service.rows(&self.caller, Judge::RowByRow)?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        while rows.len() < CHUNK_ROWS_MAX && bytes < CHUNK_BYTES_MAX {
            let Some(line) = self.lines.next().await? else { break };
            if self.key.is_some() {
                // A line that is too long is the same whatever it says: it is not kept.
                hash.update(line.as_deref().unwrap_or_default());
                hash.update(b"\n");
            }
            bytes += line.as_ref().map_or(0, Bytes::len);
            rows.row(|rows| JsonReader::read(&line?, |reader| read_row(reader, rows)))?;
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let first = self.rows;
        self.rows += rows.len() as u64;
        let part = self.parts;
        self.parts += 1;
        let idempotency =
            self.key.as_ref().map(|key| IdempotencyKey::part(key, part, hash.finalize().into()));
        Ok(Some(Chunk { first, rows, idempotency }))
    }
}

/// What became of the chunks so far.
#[derive(Default)]
struct Total {
    outcome: WriteOutcome,
    rejected: Listed<RejectedRow>,
}

impl Total {
    fn add(&mut self, first: u64, outcome: WriteOutcome) {
        self.outcome.accepted += outcome.accepted;
        self.outcome.unchanged += outcome.unchanged;
        self.outcome.created = outcome.created.max(self.outcome.created);
        let placed = outcome.rejected.into_iter().map(|rejected| {
            let row = first + rejected.row;
            let within = rejected.field.split_once(']').map_or("", |(_, within)| within);
            RejectedRow { row, field: format!("rows[{row}]{within}"), reason: rejected.reason }
        });
        self.rejected.add(placed.collect());
    }

    fn finish(mut self) -> (WriteOutcome, u64) {
        self.outcome.rejected = self.rejected.first;
        (self.outcome, self.rejected.total)
    }

    /// An error after a part of the body was written says how much is durable.
    fn interrupted(&self, mut error: Error) -> Error {
        let WriteOutcome { accepted, unchanged, .. } = self.outcome;
        let rejected = self.rejected.total;
        let rows = accepted + unchanged + rejected;
        if rows > 0 {
            error.message = format!(
                "{}; the first {rows} rows were judged before: {accepted} accepted, {unchanged} unchanged, {rejected} rejected",
                error.message
            );
        }
        error
    }
}
