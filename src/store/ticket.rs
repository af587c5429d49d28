//! Waiting for work whose place is taken already.

use super::Result;
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::OwnedSemaphorePermit;

/// The answer to work that got its place when it was handed over, and runs to its end whoever drops this.
#[must_use = "the work is under way, and only this tells how it ends"]
pub struct Ticket<T>(BoxFuture<'static, Result<T>>);

impl<T> Ticket<T> {
    /// A ticket for work that is under way: `answer` only waits for it.
    pub fn new(answer: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(answer.boxed())
    }
}

impl<T> Future for Ticket<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket")
    }
}

/// Memory that a store lends for work that waits in its queue; given back with the work.
#[derive(Debug)]
pub struct Room(pub(super) OwnedSemaphorePermit);
