//! What Larder promises, asked through gRPC and REST alike.

mod admin;
mod decimals;
mod events;
mod explain;
mod historical;
mod history;
mod looks;
mod online;
mod records;
mod register;
mod shapes;
mod statistics;
mod values;
mod via;
mod write;
mod write_lines;
