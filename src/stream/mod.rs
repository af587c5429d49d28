//! Drives one aggregator per partition over any event log.
