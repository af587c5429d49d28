//! Rows on the wire. Bulk loads come this way, so rows go from the bytes of a request straight into columns: no message
//! and no tree is built first.

mod fingerprint;
mod json;
mod lines;
mod proto;
pub mod shape;

pub use json::{JsonRequest, write_outcome};
pub use lines::write_lines;
pub use proto::{outcome_to, stream_outcome_to, write, write_stream};

/// Requests of one stream that are under way at once: the store merges their transactions into one sync.
const IN_FLIGHT_MAX: usize = 16;
