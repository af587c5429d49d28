//! Larder: a feature store that serves.
//!
//! Imports run one way: `error → proto → feature → event → window → access → store → registry → serving → wire → api → app`; `stream`
//! stands beside `api`, and neither knows the other. `config` and `telemetry` are leaves. See `ARCHITECTURE.md` for the map
//! and the walks.

pub mod access;
pub mod api;
pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod error;
pub mod event;
pub mod feature;
pub mod proto;
pub mod random;
pub mod registry;
pub mod serve;
pub mod serving;
pub mod store;
pub mod stream;
pub mod telemetry;
pub mod window;
pub mod wire;
