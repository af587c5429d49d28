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
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

/// A transaction takes at most so many rows, of at most so many bytes.
const CHUNK_ROWS_MAX: usize = 8_192;
const CHUNK_BYTES_MAX: usize = 2 << 20;
/// Transactions under way at once.
const CHUNKS_IN_FLIGHT_MAX: usize = 4;
/// Rejected rows that an answer lists; all are counted.
const REJECTED_LISTED_MAX: usize = 1_000;

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
        line: Line::new(service.limits.line_bytes_max),
        rest: Bytes::new(),
        rows: 0,
        parts: 0,
    };
    let state = (chunks, pieces.fuse());
    let chunks = stream::try_unfold(state, |(mut chunks, mut pieces)| async move {
        let chunk = chunks.next(&mut pieces).await?;
        Ok(chunk.map(|chunk| (chunk, (chunks, pieces))))
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
            Ok(None) => return Ok((total.outcome, total.rejected)),
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
struct Chunks {
    service: Service,
    caller: Caller,
    key: Option<String>,
    line: Line,
    /// What is left of the last piece.
    rest: Bytes,
    /// Rows in earlier chunks.
    rows: u64,
    parts: u64,
}

impl Chunks {
    async fn next(
        &mut self,
        pieces: &mut (impl Stream<Item = Result<Bytes>> + Unpin),
    ) -> Result<Option<Chunk>> {
        let mut rows = self.service.rows(&self.caller, Judge::RowByRow)?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        while rows.len() < CHUNK_ROWS_MAX && bytes < CHUNK_BYTES_MAX {
            if !self.line.fill(&mut self.rest) {
                match pieces.next().await {
                    Some(piece) => {
                        self.rest = piece?;
                        continue;
                    }
                    None if self.line.is_empty() => break,
                    // The last line may lack its end.
                    None => {}
                }
            }
            if !self.line.is_blank() {
                bytes += self.line.text.len();
                if self.key.is_some() {
                    hash.update(&self.line.text);
                    hash.update(b"\n");
                }
                self.line.read(&mut rows)?;
            }
            self.line.clear();
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

/// The line being gathered. One over the limit is passed over up to its end, and rejected.
struct Line {
    text: Vec<u8>,
    bytes_max: usize,
    too_long: bool,
}

impl Line {
    fn new(bytes_max: usize) -> Self {
        Self { text: Vec::new(), bytes_max, too_long: false }
    }

    /// Takes bytes up to the next end of a line; false if there is none in `rest`.
    fn fill(&mut self, rest: &mut Bytes) -> bool {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let taken = rest.split_to(end.map_or(rest.len(), |end| end + 1));
        let taken = taken.strip_suffix(b"\n").unwrap_or(&taken);
        if self.text.len() + taken.len() > self.bytes_max {
            self.too_long = true;
            self.text.truncate(self.bytes_max);
        } else {
            self.text.extend_from_slice(taken);
        }
        end.is_some()
    }

    fn read(&self, rows: &mut RowsBuilder) -> Result<()> {
        rows.row(|rows| {
            if self.too_long {
                return Err(Error::refused(format!("the line is longer than {} bytes", self.bytes_max)));
            }
            JsonReader::read(&self.text, |reader| read_row(reader, rows))
        })
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && !self.too_long
    }

    fn is_blank(&self) -> bool {
        !self.too_long && self.text.iter().all(u8::is_ascii_whitespace)
    }

    fn clear(&mut self) {
        self.text.clear();
        self.too_long = false;
    }
}

/// What became of the chunks so far.
#[derive(Default)]
struct Total {
    outcome: WriteOutcome,
    rejected: u64,
}

impl Total {
    fn add(&mut self, first: u64, outcome: WriteOutcome) {
        self.outcome.accepted += outcome.accepted;
        self.outcome.unchanged += outcome.unchanged;
        self.rejected += outcome.rejected.len() as u64;
        self.outcome.created = outcome.created.max(self.outcome.created);
        let room = REJECTED_LISTED_MAX - self.outcome.rejected.len();
        let listed = outcome.rejected.into_iter().take(room).map(|rejected| {
            let row = first + rejected.row;
            let within = rejected.field.split_once(']').map_or("", |(_, within)| within);
            RejectedRow { row, field: format!("rows[{row}]{within}"), reason: rejected.reason }
        });
        self.outcome.rejected.extend(listed);
    }

    /// An error after a part of the body was written says how much is durable.
    fn interrupted(&self, mut error: Error) -> Error {
        let WriteOutcome { accepted, unchanged, .. } = self.outcome;
        let rows = accepted + unchanged + self.rejected;
        if rows > 0 {
            error.message = format!(
                "{}; the first {rows} rows were judged before: {accepted} accepted, {unchanged} unchanged, {} rejected",
                error.message, self.rejected
            );
        }
        error
    }
}
