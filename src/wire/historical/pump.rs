//! Moves parts of a spine through a training set and out as messages, without deadlock and in bounded memory.
//!
//! Two tasks: one puts what the caller sends into the spool, the other reads, computes and writes. Both end when the
//! answer is dropped. Work that computes runs on blocking threads; waiting for a slow caller holds none.

use super::{
    AnswerWriter, Piece, SpineReader, Summary,
    reservation::Reservation,
    spool::{Part, Spool, blocking},
};
use crate::{
    error::{Error, Kind, Result},
    serving::{Limits, historical::TrainingSet},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

/// A caller that is silent for this long gets an answer to what it sent.
const SILENCE: Duration = Duration::from_millis(50);
/// Messages that wait for the caller to take them.
const MESSAGES_WAITING_MAX: usize = 4;
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
pub(super) enum Answering {
    /// As soon as a piece is full or the caller is silent: for callers that wait for answers while they send.
    Promptly,
    /// When pieces are full: for formats that collect rows anyway.
    WhenFull,
    /// When the whole spine has come: for formats that state its hash before its rows.
    AtTheEnd,
}

/// A part as it came, with the bytes that the spine's hash runs over.
pub(super) type HashedPart<P> = (P, Bytes);

/// What becomes of a spine.
pub(super) struct Pump<R, W> {
    set: Arc<TrainingSet>,
    reader: R,
    writer: W,
    answering: Answering,
    patience: Patience,
    reservation: Reservation,
    piece_bytes_max: usize,
    spool_bytes_max: u64,
}

/// The messages of an answer. Dropping it ends the call.
pub(super) struct Messages<M> {
    receiver: mpsc::Receiver<Result<M>>,
    _tasks: [AbortOnDropHandle<()>; 1],
}

impl<M> Stream for Messages<M> {
    type Item = Result<M>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<M>>> {
        self.receiver.poll_recv(context)
    }
}

/// Where messages go; every wait for the caller is bounded.
pub(super) struct Outlet<M>(mpsc::Sender<Result<M>>);

/// Runs `work` beside its caller; its error becomes the last item of the messages.
pub(super) fn spawn<M, F>(
    deadline: Option<std::time::Instant>,
    work: impl FnOnce(Outlet<M>) -> F,
) -> Messages<M>
where
    M: Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(MESSAGES_WAITING_MAX);
    let work = work(Outlet(sender.clone()));
    let task = tokio::spawn(async move {
        let result = match deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), work).await {
                Ok(result) => result,
                Err(_) => Err(Error::new(
                    Kind::DeadlineExceeded,
                    "the deadline is over before the training set was whole",
                )),
            },
            None => work.await,
        };
        if let Err(error) = result {
            // A caller that is gone needs no reason.
            let _ = sender.send(Err(error)).await;
        }
    });
    Messages { receiver, _tasks: [AbortOnDropHandle::new(task)] }
}

impl<R: SpineReader, W: AnswerWriter> Pump<R, W> {
    pub fn new(
        set: Arc<TrainingSet>,
        reader: R,
        writer: W,
        answering: Answering,
        patience: Patience,
        limits: &Limits,
    ) -> Self {
        Self {
            reservation: Reservation::new(set.memory()),
            set,
            reader,
            writer,
            answering,
            patience,
            piece_bytes_max: limits.spine_piece_bytes_max,
            spool_bytes_max: limits.spool_bytes_max,
        }
    }

    /// Answers the whole spine.
    pub async fn run(
        mut self,
        parts: impl Stream<Item = Result<HashedPart<R::Part>>> + Send + 'static,
        outlet: &Outlet<W::Message>,
    ) -> Result<()> {
        let spool = Arc::new(Spool::new(self.piece_bytes_max / SPOOL_SHARE, self.spool_bytes_max));
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
                    let is_full = self.reader.bytes() >= self.piece_bytes_max || rows >= self.set.rows_max();
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
        self = self.compute(move |pump| pump.writer.finish(summary)).await?;
        self.send(&spool, outlet).await.map(drop)
    }

    async fn next_parts(&mut self, spool: &Spool<R::Part>, greeted: bool) -> Result<Next<R::Part>> {
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
    async fn answer(
        mut self,
        mut piece: Piece,
        spool: &Spool<R::Part>,
        outlet: &Outlet<W::Message>,
    ) -> Result<Self> {
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

    async fn step(
        mut self,
        piece: Piece,
        spool: &Spool<R::Part>,
        outlet: &Outlet<W::Message>,
    ) -> Result<Self> {
        let answer = self.set.answer(&piece.spine).await?;
        self = self.compute(move |pump| pump.writer.push(piece.rows, &piece.spine, answer)).await?;
        self.send(spool, outlet).await
    }

    /// Sends all messages that are ready.
    async fn send(mut self, spool: &Spool<R::Part>, outlet: &Outlet<W::Message>) -> Result<Self> {
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

impl<M> Outlet<M> {
    /// Sends a message that needs no spine.
    pub async fn say(&self, message: M) -> Result<()> {
        self.0.send(Ok(message)).await.map_err(|_| gone())
    }

    /// Waits for the caller to take a message. As long as it sends, it may take its time.
    async fn send<P: Part>(&self, message: M, patience: Duration, spool: &Spool<P>) -> Result<()> {
        let mut send = pin!(self.0.send(Ok(message)));
        let mut received = spool.received();
        loop {
            match tokio::time::timeout_at(Instant::now() + patience, send.as_mut()).await {
                Ok(sent) => return sent.map_err(|_| gone()),
                Err(_) if spool.received() > received => received = spool.received(),
                Err(_) => {
                    let message = format!("the answer was not read for {} s", patience.as_secs());
                    return Err(Error::new(Kind::DeadlineExceeded, message));
                }
            }
        }
    }
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

fn gone() -> Error {
    Error::unavailable("the caller is gone")
}
