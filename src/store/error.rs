//! What a store answers when it cannot do what was asked, with the cause that it saw.
//!
//! `serving::store_error` turns it into the project's one error, in one place. Variants are what callers do different
//! things about: retry, decide again, stop, or tell the caller.

use crate::store::readers::ReaderId;
use std::{
    error::Error,
    io::{self, ErrorKind},
    sync::Arc,
};

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The cause below, kept for logs. Shared, because one failed transaction answers many callers.
pub type Source = Arc<dyn Error + Send + Sync>;

/// Why a store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A part cannot be reached, read or written now; a retry may help.
    #[error(
        "cannot {doing}: {source}; check free space and permissions of the data directory, then retry; if this stays, \
         restart the server"
    )]
    Unavailable { doing: String, source: Source },
    /// Nothing was written, and nothing will be before somebody makes room.
    #[error("cannot {doing}: {source}; the disk is full: make room, then retry")]
    DiskFull { doing: String, source: Source },
    #[error("the store is shutting down or has failed; see the log, then start it again")]
    Stopped,
    /// The caller's deadline came before this step began.
    #[error("the deadline was over before the store was read; ask for less or wait longer")]
    DeadlineExceeded,
    /// What was written once cannot be read back.
    #[error("{place} is damaged: {source}; stop the server and restore the data directory from a backup")]
    Damaged { place: String, source: Source },
    /// A compare-and-set was lost: read again and decide again.
    #[error("{why}; read it again and decide again")]
    Conflict { why: String },
    /// Somebody else owns the reader now.
    #[error(
        "somebody else reads partition {} of the event log now ({:?}); claim it again to go on from what is committed",
        .0.partition, .0.purpose
    )]
    Fenced(ReaderId),
    /// The request breaks a rule that only the store can judge.
    #[error(transparent)]
    Refused(Refusal),
    /// The store cannot be used as it is; only an operator can change that.
    #[error("{0}")]
    Unusable(String),
    /// A defect of ours.
    #[error("{0}")]
    Defect(Source),
}

/// Rules that only a store can judge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the idempotency key {key:?} was used with another request; use a new key")]
    OtherFingerprint { key: String },
    #[error("the event log has no partition {partition}; it has {partitions}, from 0")]
    NoPartition { partition: u32, partitions: u32 },
}

impl StoreError {
    /// A failed step, by what it was about to do: `write to the store`.
    pub fn unavailable(doing: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let (doing, source) = (doing.into(), Source::from(source.into()));
        match is_disk_full(&*source) {
            true => Self::DiskFull { doing, source },
            false => Self::Unavailable { doing, source },
        }
    }

    pub fn damaged(place: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Damaged { place: place.into(), source: source.into().into() }
    }

    pub fn defect(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Defect(source.into().into())
    }
}

/// Whether somewhere below the system said that there is no room.
fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut below = Some(error);
    while let Some(error) = below {
        let of_system = error.downcast_ref::<io::Error>();
        if of_system
            .is_some_and(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
        {
            return true;
        }
        // What an I/O error wraps is not its source.
        let wrapped = of_system.and_then(io::Error::get_ref);
        below = wrapped.map_or_else(|| error.source(), |wrapped| Some(wrapped));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures_however_deep_it_lies() {
        let full = || io::Error::from(ErrorKind::StorageFull);
        for error in [
            StoreError::unavailable("write", full()),
            StoreError::unavailable("write", io::Error::other(full())),
        ] {
            assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
        }
        let other = StoreError::unavailable("write to the store", io::Error::other("gone"));
        assert!(matches!(other, StoreError::Unavailable { .. }));
        assert!(
            other.to_string().starts_with("cannot write to the store: gone; check free space"),
            "{other}"
        );
        assert_eq!(other.source().unwrap().to_string(), "gone");
    }
}
