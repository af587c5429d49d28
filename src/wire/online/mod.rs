//! The online answer on the wire: protobuf and JSON.
//!
//! It is asked more often than everything else together, so its two messages are written by hand. They are the
//! contract's own messages byte for byte (a property test compares them with the generated ones):
//!
//! - [`Request`] keeps the message as it came and walks it once. The names of the features stay bytes: they find the
//!   plan that was resolved when the same list was first asked for.
//! - [`Reply`] writes the rows of the store straight into the reply's buffer, whose length it knows before. The schema
//!   is written once for each plan.
//!
//! JSON does the same with texts: the array of features finds the plan, and all that a plan knows of an answer is text
//! already.

mod array;
mod json;
mod json_layout;
mod layout;
mod list;
mod packed;
mod reply;
mod request;
pub mod shape;
#[cfg(test)]
mod tests;

pub use array::{get, push};
pub use json::{JsonRequest, write_json};
pub use layout::schema_message;
pub use packed::write_packed;
pub use reply::Reply;
pub use request::{Request, RequestParts};

/// What stands around an answer in either encoding.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    pub request_id: &'a str,
    /// When the request came; the answer says how long it took.
    pub started: std::time::Instant,
    /// Greatest answer, in bytes.
    pub bytes_max: usize,
}
