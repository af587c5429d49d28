//! The way out: messages of a call that runs beside its caller. Every wait for the caller is bounded.

use super::spool::{Part, Spool};
use crate::error::{Error, Kind, Result};
use futures_util::Stream;
use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

/// Messages that wait for the caller to take them.
const MESSAGES_WAITING_MAX: usize = 4;

/// The messages of an answer. Dropping it ends the call.
pub struct Messages<M> {
    receiver: mpsc::Receiver<Result<M>>,
    _task: AbortOnDropHandle<()>,
}

impl<M> Stream for Messages<M> {
    type Item = Result<M>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<M>>> {
        self.receiver.poll_recv(context)
    }
}

/// Where messages go.
pub struct Outlet<M>(mpsc::Sender<Result<M>>);

/// Runs `work` beside its caller; its error becomes the last item of the messages.
pub fn spawn<M, F>(deadline: Option<std::time::Instant>, work: impl FnOnce(Outlet<M>) -> F) -> Messages<M>
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
    Messages { receiver, _task: AbortOnDropHandle::new(task) }
}

impl<M> Outlet<M> {
    /// Sends a message that needs no spine.
    pub async fn say(&self, message: M) -> Result<()> {
        self.0.send(Ok(message)).await.map_err(|_| gone())
    }

    /// Waits for the caller to take a message. As long as it sends, it may take its time.
    pub(super) async fn send<P: Part>(&self, message: M, patience: Duration, spool: &Spool<P>) -> Result<()> {
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

fn gone() -> Error {
    Error::unavailable("the caller is gone")
}
