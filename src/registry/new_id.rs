//! Numbers for what is registered anew.

use crate::feature::{EntityTypeId, FeatureId, RowId};

/// An id that registrations give.
pub trait NewId: Copy {
    /// The id of a number that was drawn at random.
    fn of(number: u64) -> Self;
}

impl NewId for EntityTypeId {
    fn of(number: u64) -> Self {
        Self::from_stored(number)
    }
}

impl NewId for RowId {
    fn of(number: u64) -> Self {
        Self::from_stored(number)
    }
}

impl NewId for FeatureId {
    fn of(number: u64) -> Self {
        Self::from_stored(number)
    }
}
