//! Lines of a body without end, in bounded memory, and what an answer lists of those that were refused.

use crate::error::{Error, Result};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream::Fuse};

/// Rejects that an answer lists; all are counted.
const LISTED_MAX: usize = 1_000;

/// Cuts pieces of a body into lines. Most lines lie whole within a piece, and are not copied.
pub(super) struct Lines<S> {
    pieces: Fuse<S>,
    /// What is left of the last piece.
    rest: Bytes,
    /// The beginning of a line whose end has not come yet.
    begun: BytesMut,
    /// It is over the limit already: the rest of it is passed over.
    too_long: bool,
    bytes_max: usize,
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Lines<S> {
    pub fn new(pieces: S, bytes_max: usize) -> Self {
        Self { pieces: pieces.fuse(), rest: Bytes::new(), begun: BytesMut::new(), too_long: false, bytes_max }
    }

    /// The next line without its end, or why that line is refused; `None` at the end of the body. Blank lines are passed
    /// over. An error of the body ends it. Nothing is lost when this is given up half-way.
    pub async fn next(&mut self) -> Result<Option<Result<Bytes>>> {
        loop {
            let line = match memchr::memchr(b'\n', &self.rest) {
                Some(end) => {
                    let line = self.rest.split_to(end + 1);
                    self.end(line.slice(..end))
                }
                None => {
                    let rest = std::mem::take(&mut self.rest);
                    self.begin(&rest);
                    if let Some(piece) = self.pieces.next().await {
                        self.rest = piece?;
                        continue;
                    }
                    if self.begun.is_empty() && !self.too_long {
                        return Ok(None);
                    }
                    // The last line may lack its end.
                    self.end(Bytes::new())
                }
            };
            match line {
                Ok(line) if line.trim_ascii().is_empty() => {}
                line => return Ok(Some(line)),
            }
        }
    }

    fn begin(&mut self, part: &[u8]) {
        if self.begun.len() + part.len() > self.bytes_max {
            self.too_long = true;
            self.begun = BytesMut::new();
        }
        if !self.too_long {
            self.begun.extend_from_slice(part);
        }
    }

    fn end(&mut self, part: Bytes) -> Result<Bytes> {
        let whole = self.begun.is_empty() && !self.too_long && part.len() <= self.bytes_max;
        if !whole {
            self.begin(&part);
        }
        let begun = std::mem::take(&mut self.begun);
        match std::mem::take(&mut self.too_long) {
            true => Err(Error::refused(format!("the line is longer than {} bytes", self.bytes_max))),
            false if whole => Ok(part),
            false => Ok(begun.freeze()),
        }
    }
}

/// The first rejects of a body, and how many there are in all.
#[derive(Debug)]
pub(super) struct Listed<R> {
    pub first: Vec<R>,
    pub total: u64,
}

impl<R> Default for Listed<R> {
    fn default() -> Self {
        Self { first: Vec::new(), total: 0 }
    }
}

impl<R> Listed<R> {
    pub fn add(&mut self, rejected: Vec<R>) {
        self.total += rejected.len() as u64;
        let room = LISTED_MAX - self.first.len();
        self.first.extend(rejected.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use proptest::prelude::*;

    /// Every line of a body that comes in pieces of this size; None = too long.
    fn lines(body: &[u8], piece: usize, bytes_max: usize) -> Vec<Option<Vec<u8>>> {
        let pieces: Vec<_> = body.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut lines = Lines::new(stream::iter(pieces), bytes_max);
        let mut all = Vec::new();
        let next = async {
            while let Some(line) = lines.next().await.unwrap() {
                all.push(line.ok().map(|line| line.to_vec()));
            }
        };
        futures_util::FutureExt::now_or_never(next).unwrap();
        all
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_pieces(body in "[ab \n]{0,64}", piece in 1_usize..9, bytes_max in 1_usize..6) {
            let wanted: Vec<_> = body
                .split('\n')
                .filter(|line| line.len() > bytes_max || !line.trim().is_empty())
                .map(|line| (line.len() <= bytes_max).then(|| line.as_bytes().to_vec()))
                .collect();
            prop_assert_eq!(lines(body.as_bytes(), piece, bytes_max), wanted);
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let pieces = stream::iter((0..1_000).map(|_| Ok(Bytes::from_static(&[b'x'; 1_000]))));
        let mut lines = Lines::new(pieces, 10_000);
        let mut next = Box::pin(lines.next());
        let refused =
            futures_util::FutureExt::now_or_never(&mut next).unwrap().unwrap().unwrap().unwrap_err();
        assert!(refused.message.contains("10000"));
        drop(next);
        assert_eq!(lines.begun.capacity(), 0);
    }
}
