//! Memory that all training sets share: reserved before it grows, given back when a piece was answered.
//!
//! A call waits for its first share while it holds none; once it holds one it never waits for more, but answers what it
//! has. So calls cannot wait for each other.

use crate::error::{Error, Result};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit of [`Service::training_memory`](crate::serving::Service::training_memory) stands for, in bytes.
pub const SHARE_BYTES: usize = 1 << 20;

/// One call's part of the memory.
pub(super) struct Reservation {
    memory: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    pub fn new(memory: Arc<Semaphore>) -> Self {
        Self { memory, held: None }
    }

    /// Waits for the first share, unless some is held.
    pub async fn begin(&mut self) -> Result<()> {
        if self.held.is_none() {
            let permit = self.memory.clone().acquire_owned().await;
            self.held = Some(permit.map_err(|_| Error::unavailable("the server is stopping"))?);
        }
        Ok(())
    }

    /// Whether the call now holds memory for so many bytes. It keeps what it has either way.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let Some(held) = &mut self.held else { return false };
        let missing = bytes.div_ceil(SHARE_BYTES).saturating_sub(held.num_permits());
        let more =
            u32::try_from(missing).ok().map(|missing| self.memory.clone().try_acquire_many_owned(missing));
        match more {
            Some(Ok(more)) => {
                held.merge(more);
                true
            }
            _ => false,
        }
    }

    /// Gives everything back.
    pub fn release(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_waits_only_while_it_holds_nothing() {
        let memory = Arc::new(Semaphore::new(3));
        let (mut one, mut other) = (Reservation::new(memory.clone()), Reservation::new(memory.clone()));
        assert!(!one.grow(1), "nothing was begun");
        one.begin().await.unwrap();
        other.begin().await.unwrap();
        assert!(one.grow(2 * SHARE_BYTES));
        assert!(!other.grow(SHARE_BYTES + 1));
        assert!(other.grow(SHARE_BYTES));
        let mut third = Reservation::new(memory);
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), third.begin()).await;
        assert!(waits.is_err());
        one.release();
        third.begin().await.unwrap();
    }
}
