//! What Larder promises, asked through gRPC and REST alike.

mod history;
mod register;
mod values;
mod via;
mod write;
mod write_lines;
