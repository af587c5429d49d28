//! The contract, as generated from `proto/larder/v1`, and a reader for messages that come too often to be built first.

pub mod fields;

// What is generated keeps no rules of ours.
#[allow(missing_docs, clippy::all, rustdoc::all)]
mod generated {
    tonic::include_proto!("larder.v1");
}

pub use generated::*;

/// The compiled contract, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/larder.v1.bin"));
