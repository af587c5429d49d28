//! The one integration binary: servers in this process, clients over the loopback.

mod conformance;
mod support;
mod transport;
