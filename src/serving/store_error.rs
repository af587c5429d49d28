//! The one place where a store's answer becomes what a caller is told.

use crate::{
    error::{Error, Kind},
    store::{Refusal, StoreError},
};

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Unavailable { .. }
            | StoreError::DiskFull { .. }
            | StoreError::Damaged { .. }
            | StoreError::Unusable(_)
            | StoreError::Stopped => Error::unavailable(message),
            StoreError::DeadlineExceeded => Error::new(Kind::DeadlineExceeded, message),
            StoreError::Conflict { .. } | StoreError::Refused(Refusal::OtherFingerprint { .. }) => {
                Error::new(Kind::Aborted, message)
            }
            StoreError::Refused(Refusal::NoPartition { .. }) => Error::not_found(message),
            StoreError::Fenced(_) => Error::new(Kind::FailedPrecondition, message),
            StoreError::Defect(_) => Error::internal(message),
        }
    }
}
