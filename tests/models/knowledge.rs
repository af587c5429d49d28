//! Settled time of direct writes: two writers, the beat, an import, a caller, and a clock that steps back.
//!
//! ```text
//! writer  read the clock: L │ lock L │ read `proposed`: created = max(clock, L, proposed + 1) │ visible │ unlock
//! beat    proposed = max(clock, proposed), commit │ read `proposed` │ settled = min(of it, least L - 1), commit
//! caller  read `settled` │ state it, commit │ take the snapshot
//! import  write │ lock the stated bound and compare │ visible, unlock
//! ```

use super::{breaks, holds, large};
use stateright::{Model, Property};

const STAYS: &str = "what a caller saw up to its settled time never changes";
const MOVES: &str = "settled time passes a row";

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// The beat settles in the transaction that proposes.
    OneTransaction,
    /// A writer reads `proposed` before it has its lock.
    ReadsThenLocks,
    /// A writer takes the clock's word alone.
    ClockAlone,
    /// A writer's lock ends before its row is visible.
    UnlocksFirst,
    /// A caller takes its snapshot before what it states is durable.
    StatesLater,
    /// An import compares the stated bound and does not keep it locked.
    ComparesUnlocked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Writer {
    Idle,
    Read {
        lock: u8,
        proposed: u8,
    },
    Locked {
        lock: u8,
        proposed: u8,
    },
    Stamped {
        lock: u8,
        created: u8,
    },
    Visible {
        lock: u8,
    },
    /// Only where the rule is broken: no lock, and not visible yet.
    Unlocked {
        created: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Beat {
    Idle,
    Proposed,
    Read {
        proposed: u8,
    },
    /// Only where the rule is broken: nothing of it is committed.
    Open {
        proposed: u8,
        settled: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Import {
    NotBegun,
    Writing { created: u8 },
    Compared { created: u8 },
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Idle,
    Read {
        settled: u8,
    },
    Stated {
        settled: u8,
    },
    /// How many rows of each moment up to its settled time it saw.
    Saw {
        settled: u8,
        rows: Vec<u8>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    clock: u8,
    steps_back: u8,
    proposed: u8,
    settled: u8,
    stated: u8,
    /// How many rows are visible, by `created`.
    visible: Vec<u8>,
    writers: [Writer; 2],
    writes_left: u8,
    beat: Beat,
    import: Import,
    caller: Caller,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    ClockBack,
    Write(usize),
    Beat,
    /// With this `created`.
    Import(u8),
    Call,
}

struct Knowledge {
    clock_max: u8,
    writes: u8,
    bug: Option<Bug>,
}

impl Knowledge {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn write(&self, world: &mut World, at: usize) {
        world.writers[at] = match world.writers[at] {
            Writer::Idle => {
                world.writes_left -= 1;
                Writer::Read { lock: world.clock, proposed: world.proposed }
            }
            Writer::Read { lock, proposed } => Writer::Locked { lock, proposed },
            Writer::Locked { lock, proposed } => {
                let proposed = if self.has(Bug::ReadsThenLocks) { proposed } else { world.proposed };
                let created = match self.has(Bug::ClockAlone) {
                    true => world.clock,
                    false => world.clock.max(lock).max(proposed + 1),
                };
                Writer::Stamped { lock, created }
            }
            Writer::Stamped { created, .. } if self.has(Bug::UnlocksFirst) => Writer::Unlocked { created },
            Writer::Stamped { lock, created } => {
                world.visible[usize::from(created)] += 1;
                Writer::Visible { lock }
            }
            Writer::Unlocked { created } => {
                world.visible[usize::from(created)] += 1;
                Writer::Idle
            }
            Writer::Visible { .. } => Writer::Idle,
        };
    }

    fn beat(&self, world: &mut World) {
        let least_lock = world.writers.iter().filter_map(|writer| match writer {
            Writer::Locked { lock, .. } | Writer::Stamped { lock, .. } | Writer::Visible { lock } => {
                Some(*lock)
            }
            Writer::Idle | Writer::Read { .. } | Writer::Unlocked { .. } => None,
        });
        let before_locks = least_lock.min().map_or(u8::MAX, |lock| lock.saturating_sub(1));
        world.beat = match world.beat {
            Beat::Idle if self.has(Bug::OneTransaction) => {
                let proposed = world.clock.max(world.proposed);
                Beat::Open { proposed, settled: proposed.min(before_locks) }
            }
            Beat::Idle => {
                world.proposed = world.clock.max(world.proposed);
                Beat::Proposed
            }
            Beat::Proposed => Beat::Read { proposed: world.proposed },
            Beat::Read { proposed } => {
                world.settled = world.settled.max(proposed.min(before_locks));
                Beat::Idle
            }
            Beat::Open { proposed, settled } => {
                world.proposed = world.proposed.max(proposed);
                world.settled = world.settled.max(settled);
                Beat::Idle
            }
        };
    }

    /// None = the caller's statement waits for the import's lock.
    fn call(&self, world: &mut World) -> Option<()> {
        let snapshot = |world: &World, settled: u8| Caller::Saw {
            settled,
            rows: world.visible[..=usize::from(settled)].to_vec(),
        };
        let is_locked = matches!(world.import, Import::Compared { .. }) && !self.has(Bug::ComparesUnlocked);
        world.caller = match &world.caller {
            Caller::Idle if self.has(Bug::StatesLater) => snapshot(world, world.settled),
            Caller::Idle => Caller::Read { settled: world.settled },
            Caller::Read { .. } if is_locked => return None,
            Caller::Read { settled } => {
                world.stated = world.stated.max(*settled);
                Caller::Stated { settled: *settled }
            }
            Caller::Stated { settled } => snapshot(world, *settled),
            // Only where the rule is broken is anything left to do.
            Caller::Saw { settled, .. } if self.has(Bug::StatesLater) && world.stated < *settled => {
                if is_locked {
                    return None;
                }
                world.stated = *settled;
                world.caller.clone()
            }
            Caller::Saw { .. } => return None,
        };
        Some(())
    }

    fn import(&self, world: &mut World, created: u8) {
        world.import = match world.import {
            Import::NotBegun => Import::Writing { created },
            Import::Writing { created } if created <= world.stated => Import::Ended,
            Import::Writing { created } => Import::Compared { created },
            Import::Compared { created } => {
                world.visible[usize::from(created)] += 1;
                Import::Ended
            }
            Import::Ended => Import::Ended,
        };
    }
}

impl Model for Knowledge {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            clock: 1,
            steps_back: 1,
            proposed: 0,
            settled: 0,
            stated: 0,
            // A row lies at most one after what was proposed, and what was proposed never passes the clock's greatest.
            visible: vec![0; usize::from(self.clock_max) + 2],
            writers: [Writer::Idle; 2],
            writes_left: self.writes,
            beat: Beat::Idle,
            import: Import::NotBegun,
            caller: Caller::Idle,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.clock < self.clock_max {
            steps.push(Step::Tick);
        }
        if world.steps_back > 0 && world.clock > 1 {
            steps.push(Step::ClockBack);
        }
        for (at, writer) in world.writers.iter().enumerate() {
            if *writer != Writer::Idle || world.writes_left > 0 {
                steps.push(Step::Write(at));
            }
        }
        match world.import {
            // Never later than now.
            Import::NotBegun => steps.extend((1..=world.clock).map(Step::Import)),
            Import::Writing { created } | Import::Compared { created } => steps.push(Step::Import(created)),
            Import::Ended => {}
        }
        steps.extend([Step::Beat, Step::Call]);
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Tick => world.clock += 1,
            Step::ClockBack => (world.clock, world.steps_back) = (1, world.steps_back - 1),
            Step::Write(at) => self.write(&mut world, at),
            Step::Beat => self.beat(&mut world),
            Step::Import(created) => self.import(&mut world, created),
            Step::Call => self.call(&mut world)?,
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(STAYS, |_, world: &World| match &world.caller {
                Caller::Saw { settled, rows } => world.visible[..=usize::from(*settled)] == rows[..],
                Caller::Idle | Caller::Read { .. } | Caller::Stated { .. } => true,
            }),
            Property::sometimes(MOVES, |_, world: &World| {
                world.visible[..=usize::from(world.settled)].iter().any(|rows| *rows > 0)
            }),
        ]
    }
}

fn knowledge(bug: Option<Bug>) -> Knowledge {
    let (clock_max, writes) = if large() { (3, 2) } else { (2, 2) };
    Knowledge { clock_max, writes, bug }
}

#[test]
fn settled_time_never_passes_what_can_still_appear() {
    holds(knowledge(None));
}

#[test]
fn settled_time_without_one_of_its_rules_is_found_out() {
    for bug in [
        Bug::OneTransaction,
        Bug::ReadsThenLocks,
        Bug::ClockAlone,
        Bug::UnlocksFirst,
        Bug::StatesLater,
        Bug::ComparesUnlocked,
    ] {
        breaks(knowledge(Some(bug)), STAYS);
    }
}
