//! The one integration binary: servers in this process, clients over the loopback.

mod architecture;
mod cli;
mod conformance;
mod crash;
mod models;
mod promises;
mod streams;
mod support;
mod transport;
