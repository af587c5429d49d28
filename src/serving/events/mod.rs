//! Taking events in: judged one by one, appended to the log, answered when its reader has judged them too.

mod head;

pub use head::EventHead;
