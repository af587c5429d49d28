//! What the server tells its operators: metrics for Prometheus, and one JSON object a line in its log.
//!
//! Labels are bounded: no tenant's name and no id of an entity ever is one. Keys and values are never logged.

mod logs;
mod metrics;

pub use logs::{LogControl, LogFormat, LogSettings, init_logs};
pub use metrics::{Connection, Labels, Metrics, StreamSample};
