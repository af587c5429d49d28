//! Events on the wire: bodies cut into events, which go to the log as they came; `event` decodes them.

mod body;
mod lines;
mod requests;
pub mod shape;

pub use body::{JsonRequest, publish_outcome};
pub use lines::publish_lines;
pub use requests::{outcome_to, publish, publish_stream, stream_outcome_to};
