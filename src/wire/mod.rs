//! The wire: the only place that turns proto or JSON into vocabulary and back.

pub mod admin;
pub mod codec;
pub mod events;
pub mod explain;
mod fields;
pub mod historical;
pub mod history;
pub mod json;
mod lines;
pub mod online;
pub mod query;
pub mod register;
pub mod statistics;
pub mod value;
pub mod write;

/// The contract, as generated from `proto/larder/v1`.
pub mod proto {
    #![allow(missing_docs, clippy::all, rustdoc::all)]
    tonic::include_proto!("larder.v1");

    /// The compiled contract, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/larder.v1.bin"));
}
