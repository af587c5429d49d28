//! The ledger: every event judged once.

use super::{DeadReason, Judgement};
use serde::{Deserialize, Serialize};

/// How many events were judged how. Their sum is what was produced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub dead: u64,
    pub duplicate: u64,
    pub late: u64,
    pub unused: u64,
    pub counted: u64,
}

impl Ledger {
    pub fn produced(self) -> u64 {
        self.dead + self.duplicate + self.late + self.unused + self.counted
    }

    pub(super) fn enter(&mut self, judgement: Judgement) {
        *match judgement {
            Judgement::Dead(DeadReason::Future | DeadReason::EntityTypeNeeded) => &mut self.dead,
            Judgement::Duplicate => &mut self.duplicate,
            Judgement::Late => &mut self.late,
            Judgement::Unused => &mut self.unused,
            Judgement::Counted => &mut self.counted,
        } += 1;
    }
}
