//! Moves parts of a spine through a training set and out as messages, without deadlock and in bounded memory.
//!
//! Two tasks: one puts what the caller sends into the spool, the other reads, computes and writes. Both end when the
//! answer is dropped. Work that computes runs on blocking threads; waiting for a slow caller holds none.

use super::{
    AnswerWriter, Outlet, Piece, Rows, SpineReader, Summary, TrainingSet,
    reservation::Reservation,
    spool::{Part, Spool, blocking},
};
use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio_util::task::AbortOnDropHandle;

/// A caller that is silent for this long gets an answer to what it sent.
const SILENCE: Duration = Duration::from_millis(50);
/// Of a piece's memory, the part that the spool may hold besides.
const SPOOL_SHARE: usize = 8;

/// How long the other side may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the next part of the spine while nothing else is to be done.
    pub part: Duration,
    /// For the caller to take a message after it sent its whole spine.
    pub message: Duration,
    /// For the whole call.
    pub deadline: Option<std::time::Instant>,
}

/// When pieces are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    /// As soon as a piece is full or the caller is silent: for callers that wait for answers while they send.
    Promptly,
    /// When pieces are full: for formats that collect rows anyway.
    WhenFull,
    /// When the whole spine has come: for formats that state its hash before its rows.
    AtTheEnd,
}

/// A part as it came, with the bytes that the spine's hash runs over.
pub type HashedPart<P> = (P, Bytes);

/// One call: a spine's parts in, the messages of its answer out.
pub struct Pump<P, R, M> {
    set: Arc<TrainingSet>,
    reader: Box<dyn SpineReader<P, R>>,
    writer: Box<dyn AnswerWriter<R, M>>,
    answering: Answering,
    patience: Patience,
    reservation: Reservation,
}

impl<P: Part, R: Rows, M: Send + 'static> Pump<P, R, M> {
    pub fn new(
        set: Arc<TrainingSet>,
        reader: Box<dyn SpineReader<P, R>>,
        (writer, answering): (Box<dyn AnswerWriter<R, M>>, Answering),
        patience: Patience,
    ) -> Self {
        Self { reservation: Reservation::new(set.memory()), set, reader, writer, answering, patience }
    }

    /// Answers the whole spine; `read` hears of it before the caller is told that this was all.
    pub async fn run(
        mut self,
        parts: impl Stream<Item = Result<HashedPart<P>>> + Send + 'static,
        outlet: &Outlet<M>,
        read: impl FnOnce(&Summary),
    ) -> Result<()> {
        let piece_bytes_max = self.set.limits().spine_piece_bytes_max;
        let spool = Arc::new(Spool::new(piece_bytes_max / SPOOL_SHARE, self.set.limits().spool_bytes_max));
        let feeding = AbortOnDropHandle::new(tokio::spawn(feed(parts, spool.clone())));
        if self.answering == Answering::AtTheEnd {
            spool.ended().await?;
            self.writer.begin(spool.hash());
        }
        let (mut rows, mut greeted) = (0, false);
        loop {
            let taken = match self.next_parts(&spool, greeted).await? {
                Next::Parts(parts) => {
                    self.reservation.begin().await?;
                    self = self
                        .compute(move |pump| parts.into_iter().try_for_each(|part| pump.reader.push(part)))
                        .await?;
                    let rows = self.reader.rows();
                    let is_full = self.reader.bytes() >= piece_bytes_max || rows >= self.set.rows_max();
                    let bytes = self.reader.bytes() + self.set.answer_bytes(rows);
                    let is_full = is_full || (!self.reservation.grow(bytes) && rows > 0);
                    is_full.then(|| self.reader.take())
                }
                Next::Silence if self.reader.rows() > 0 => Some(self.reader.take()),
                Next::Silence => {
                    if let Some(greeting) = self.writer.greeting().filter(|_| rows == 0) {
                        outlet.send(greeting, self.patience.message, &spool).await?;
                    }
                    greeted = true;
                    None
                }
                Next::End => {
                    self = self.compute(|pump| pump.reader.finish()).await?;
                    let last = self.reader.take();
                    rows += last.spine.len();
                    self = match rows {
                        0 => self.step(last, &spool, outlet).await?,
                        _ => self.answer(last, &spool, outlet).await?,
                    };
                    break;
                }
            };
            if let Some(piece) = taken {
                rows += piece.spine.len();
                self = self.answer(piece, &spool, outlet).await?;
            }
        }
        drop(feeding);
        let summary = Summary { rows, spine_hash: spool.hash() };
        read(&summary);
        self = self.compute(move |pump| pump.writer.finish(summary)).await?;
        self.send(&spool, outlet).await.map(drop)
    }

    async fn next_parts(&mut self, spool: &Spool<P>, greeted: bool) -> Result<Next<P>> {
        let prompt = self.answering == Answering::Promptly;
        let pending = prompt && (self.reader.rows() > 0 || !greeted);
        let patience = if pending { SILENCE } else { self.patience.part };
        match tokio::time::timeout(patience, spool.take()).await {
            Ok(parts) => Ok(parts?.map_or(Next::End, Next::Parts)),
            Err(_) if pending => Ok(Next::Silence),
            Err(_) => {
                let seconds = self.patience.part.as_secs();
                let message = format!("nothing more of the spine came for {seconds} s; send it, or end it");
                Err(Error::new(Kind::DeadlineExceeded, message))
            }
        }
    }

    /// Answers a piece, in as many steps as the memory of a piece asks for.
    async fn answer(mut self, mut piece: Piece<R>, spool: &Spool<P>, outlet: &Outlet<M>) -> Result<Self> {
        let mut at = 0;
        while at < piece.spine.len() {
            let count = self.set.rows_max().min(piece.spine.len() - at);
            let step = Piece { spine: piece.spine.slice(at, count), rows: piece.rows.take_front(count) };
            self = self.step(step, spool, outlet).await?;
            at += count;
        }
        self.reservation.release();
        Ok(self)
    }

    async fn step(mut self, piece: Piece<R>, spool: &Spool<P>, outlet: &Outlet<M>) -> Result<Self> {
        let answer = self.set.answer(&piece.spine).await?;
        self = self.compute(move |pump| pump.writer.push(piece.rows, &piece.spine, answer)).await?;
        self.send(spool, outlet).await
    }

    /// Sends all messages that are ready.
    async fn send(mut self, spool: &Spool<P>, outlet: &Outlet<M>) -> Result<Self> {
        loop {
            let (pump, message) = blocking(move || {
                let message = self.writer.message()?;
                Ok((self, message))
            })
            .await?;
            self = pump;
            match message {
                Some(message) => outlet.send(message, self.patience.message, spool).await?,
                None => return Ok(self),
            }
        }
    }

    async fn compute(mut self, work: impl FnOnce(&mut Self) -> Result<()> + Send + 'static) -> Result<Self> {
        blocking(move || work(&mut self).map(|()| self)).await
    }
}

enum Next<P> {
    Parts(Vec<P>),
    Silence,
    End,
}

/// Puts all parts into the spool.
async fn feed<P: Part>(parts: impl Stream<Item = Result<HashedPart<P>>>, spool: Arc<Spool<P>>) {
    let mut parts = pin!(parts);
    while let Some(part) = parts.next().await {
        let put = match part {
            Ok((part, hashed)) => spool.put(part, &hashed).await,
            Err(error) => Err(error),
        };
        if put.is_err() {
            return spool.end(put);
        }
    }
    spool.end(Ok(()));
}
