//! Larder: a feature store that serves.
//!
//! Imports run one way: `error → feature → access → store → registry → serving → wire → api → app`. `config` and
//! `telemetry` are leaves. See `ARCHITECTURE.md` for the map and the walks.

pub mod access;
pub mod error;
pub mod feature;
pub mod store;
