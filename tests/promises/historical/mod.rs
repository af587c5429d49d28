//! Training sets: what they promise, asked through every form of both transports.

mod brute;
mod convert;
mod forms;
mod knowledge;
mod refusals;
mod rules;
mod streams;
mod topk;
mod ways;

pub use rules::at;
pub use ways::ask_all;
