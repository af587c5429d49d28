//! What both transports owe whatever the verb: keys, errors, request ids, deadlines, bounds, health, metrics, drain.

mod connections;
mod deadlines;
mod drain;
mod errors;
mod health;
mod keys;
mod limits;
mod openapi;
mod program;
mod request_ids;
