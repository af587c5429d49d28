//! What Larder promises, asked through gRPC and REST alike.

mod events;
mod historical;
mod history;
mod online;
mod register;
mod shapes;
mod values;
mod via;
mod write;
mod write_lines;
