//! Training sets: a call drives `serving::training` with the forms that `wire::historical` reads and writes.

pub(super) mod grpc;
pub(super) mod rest;

use super::{Call, Shared};
use crate::serving::training::Patience;

impl Shared {
    /// How long the two ends of a stream wait for each other.
    fn patience(&self, call: &Call) -> Patience {
        Patience {
            part: self.settings.stream_timeout,
            message: self.settings.write_timeout,
            deadline: call.deadline,
        }
    }
}
