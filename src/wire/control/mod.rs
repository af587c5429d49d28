//! The control plane's JSON: one struct for each shape.
//!
//! REST answers with these structs and reads bodies and queries into them, the command line prints them, and OpenAPI
//! takes its schemas from them. Each is made from a message of the contract, and each request becomes one: `wire` turns
//! only messages into vocabulary, so there is one conversion whichever transport a call comes by.
//!
//! ```text
//!   vocabulary ⇄ proto ──────────── gRPC
//!                  ⇅
//!               structs of this module ⇄ JSON ── REST, `--json`, YAML, OpenAPI
//! ```

mod admin;
mod cache;
mod explain;
mod features;
mod forms;
mod history;
mod sets;
mod statistics;

pub use admin::{
    Backfill, BackfillList, DeadLetter, DeadLetterList, DeadLettersQuery, LateEvent, LateEventList,
    LateEventsQuery, Ledger, MissedWindows, Stream, StreamList,
};
pub use cache::{EntityInvalidationQuery, Invalidated, Invalidation};
pub use explain::{ExplainedRow, ExplainedWindow, Explanation, Question};
pub use features::{
    EntityType, Feature, FeatureDefinition, FeatureList, FeaturesQuery, Outcome, Registered,
    RegisteredFeature, Registration, Status, StatusChange, Window, WindowDefinition,
};
pub use forms::{
    AsOf, CellStatusName, DtypeName, Edge, Id, Members, PageSize, Raw, Span, Time, dtype, dtype_name, list,
    status_of,
};
pub use history::{History, HistoryQuery, HistoryValue};
pub use sets::{FeatureSet, FeatureSetContent, FeatureSetList, FeatureSetsQuery};
pub use statistics::{FeatureStatistics, HourStatistics, Statistics, StatisticsQuery};

use crate::{error::Result, feature::json::from_json};
use serde::{Serialize, de::DeserializeOwned};

/// A shape as JSON text.
pub fn to_json(shape: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(shape).expect("every shape is JSON")
}

/// A body, by the strict reader's rules.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    from_json(body)
}

/// The members that a shape has, for tests that hold it to a reader written by hand.
#[cfg(test)]
pub fn members<T: schemars::JsonSchema>() -> std::collections::BTreeSet<String> {
    let schema = schemars::schema_for!(T);
    schema.get("properties").and_then(|known| known.as_object()).expect("an object").keys().cloned().collect()
}
