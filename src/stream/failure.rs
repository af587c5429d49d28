//! Why a reader ends before it is told to.

use crate::{error::Error, store::StoreError};

pub type Result<T> = std::result::Result<T, Failure>;

/// What a reader does next depends on it.
#[derive(Debug)]
pub enum Failure {
    /// Another one claimed the partition: this one ends. Would it claim again, both would fence each other for ever.
    Fenced,
    /// It begins again from what was committed last. That also settles what became of a commit whose answer was lost: the
    /// claim finds all of it, or nothing.
    Error(Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced(_) => Self::Fenced,
            error => Self::Error(error.into()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
