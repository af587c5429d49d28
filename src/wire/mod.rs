//! The wire: the only place that turns proto or JSON into vocabulary and back.

pub mod admin;
pub mod codec;
pub mod control;
pub mod events;
pub mod explain;
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

pub use crate::proto;
