//! What both transports owe whatever the verb: keys, errors, request ids, bounds, health, metrics, drain.

mod keys;
