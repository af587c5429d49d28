//! Ids: numbers that stores and the registry give, and nobody else can spell.
//!
//! A number alone is no right to read: whoever holds an id got it from a catalogue, and a catalogue belongs to an
//! authenticated caller. `tests/architecture.rs` holds `from_stored` to `store` and `registry`.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(u64);

        impl $name {
            /// An id as it was stored; only stores and the registry have one.
            #[inline]
            pub const fn from_stored(number: u64) -> Self {
                Self(number)
            }

            #[inline]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Identifies a tenant.
    TenantId
}
id! {
    /// Identifies an entity type across all tenants.
    EntityTypeId
}
id! {
    /// Identifies a stored row across all tenants: the features of a group that were registered together, which are the
    /// unit of storage, of order and of caching.
    RowId
}
id! {
    /// Identifies one version of a feature across all tenants.
    FeatureId
}
