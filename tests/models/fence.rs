//! Two processes that want one partition, a commit whose answer is lost, and an erasure.
//!
//! The database holds one row of progress: epoch, next offset, erasure revision. A commit compares all three as its last
//! statement. Who does not know what became of a commit claims the reader, which raises the epoch, before it looks.

use super::{breaks, holds, large};
use stateright::{Model, Property};

const ONCE: &str = "each record before the next offset is counted once, no other is";
const SAID: &str = "what was called not stored is never stored";
const ERASED: &str = "after a mark nothing of the erased entity is stored";
const MOVED: &str = "a reader can take over and reach the end";

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// The fence does not compare the epoch.
    AnyEpoch,
    /// The fence compares neither the next offset nor the epoch.
    AnyOffset,
    /// The fence does not compare the erasure revision.
    AnyErasure,
    /// After a lost answer the reader looks without claiming first.
    LooksBeforeClaim,
}

/// The row of progress, as it is or as a commit expects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    epoch: u8,
    next: u8,
    erasures: u8,
}

/// A transaction that the database has, and has not decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flight {
    expected: Row,
    to: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// It has read what its commits build on.
    Reading(Row),
    /// Its commit is under way.
    Waiting(Flight),
    /// The answer of its commit is lost.
    InDoubt(Flight),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    row: Row,
    /// How often each record is counted.
    counted: Vec<u8>,
    readers: [Phase; 2],
    /// By reader; outlives the reader's interest in the answer.
    flights: [Option<Flight>; 2],
    /// Commits that somebody called not stored.
    called_absent: Vec<Flight>,
    claims_left: u8,
    was_stored: bool,
    erased_stored: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Claim(usize),
    /// Sends a commit up to this offset.
    Send(usize, u8),
    /// The database decides about a commit, and its answer arrives.
    Decide(usize),
    /// The database decides about a commit that nobody waits for any more.
    DecideUnseen(usize),
    LoseAnswer(usize),
    Look(usize),
    Mark,
}

struct Fence {
    records: u8,
    claims: u8,
    bug: Option<Bug>,
}

/// The record whose entity is erased.
const OF_THE_ERASED: usize = 1;

impl Fence {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The last statement of a commit.
    fn decide(&self, world: &mut World, flight: Flight) -> bool {
        let (row, expected) = (world.row, flight.expected);
        let epoch = row.epoch == expected.epoch || self.has(Bug::AnyEpoch) || self.has(Bug::AnyOffset);
        let next = row.next == expected.next || self.has(Bug::AnyOffset);
        let erasures = row.erasures == expected.erasures || self.has(Bug::AnyErasure);
        if !(epoch && next && erasures) {
            return false;
        }
        for record in expected.next..flight.to {
            // Who knows of the mark reads the record as a ghost: it is judged, and nothing of it is stored.
            world.counted[usize::from(record)] += 1;
            let is_ghost = expected.erasures > 0;
            let is_erased = usize::from(record) == OF_THE_ERASED && world.row.erasures > 0;
            world.erased_stored |= is_erased && !is_ghost;
        }
        world.row.next = flight.to;
        world.was_stored |= world.called_absent.contains(&flight);
        true
    }
}

impl Model for Fence {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            row: Row { epoch: 0, next: 0, erasures: 0 },
            counted: vec![0; self.records.into()],
            readers: [Phase::Idle; 2],
            flights: [None; 2],
            called_absent: Vec::new(),
            claims_left: self.claims,
            was_stored: false,
            erased_stored: false,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for reader in 0..2 {
            // A process that was taken over may wake with what it knew, and may claim again.
            if world.claims_left > 0 && !matches!(world.readers[reader], Phase::Waiting(_)) {
                steps.push(Step::Claim(reader));
            }
            match world.readers[reader] {
                Phase::Reading(row) if world.flights[reader].is_none() => {
                    steps.extend((row.next + 1..=self.records).map(|to| Step::Send(reader, to)));
                }
                Phase::Waiting(_) => steps.extend([Step::Decide(reader), Step::LoseAnswer(reader)]),
                Phase::InDoubt(_) if self.has(Bug::LooksBeforeClaim) => steps.push(Step::Look(reader)),
                Phase::Idle | Phase::Reading(_) | Phase::InDoubt(_) => {}
            }
            if world.flights[reader].is_some() && !matches!(world.readers[reader], Phase::Waiting(_)) {
                steps.push(Step::DecideUnseen(reader));
            }
        }
        if world.row.erasures == 0 {
            steps.push(Step::Mark);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Claim(reader) => {
                world.claims_left -= 1;
                world.row.epoch += 1;
                self.look(&mut world, reader);
            }
            Step::Send(reader, to) => {
                let Phase::Reading(expected) = world.readers[reader] else { return None };
                let flight = Flight { expected, to };
                (world.flights[reader], world.readers[reader]) = (Some(flight), Phase::Waiting(flight));
            }
            Step::Decide(reader) => {
                let flight = world.flights[reader].take()?;
                let stored = self.decide(&mut world, flight);
                world.readers[reader] = match stored {
                    true => Phase::Reading(Row { next: flight.to, ..flight.expected }),
                    // Fenced ends a reader; a mark makes it load the marks and judge the batch again.
                    false if world.row.epoch == flight.expected.epoch => Phase::Reading(world.row),
                    false => Phase::Idle,
                };
            }
            Step::DecideUnseen(reader) => {
                let flight = world.flights[reader].take()?;
                self.decide(&mut world, flight);
            }
            Step::LoseAnswer(reader) => {
                let Phase::Waiting(flight) = world.readers[reader] else { return None };
                // The database decides about it whether anybody waits or not.
                world.readers[reader] = Phase::InDoubt(flight);
            }
            Step::Look(reader) => self.look(&mut world, reader),
            Step::Mark => world.row.erasures += 1,
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONCE, |_, world: &World| {
                let mut counted = world.counted.iter().enumerate();
                counted.all(|(at, times)| *times == u8::from(at < usize::from(world.row.next)))
            }),
            Property::always(SAID, |_, world: &World| !world.was_stored),
            Property::always(ERASED, |_, world: &World| !world.erased_stored),
            Property::sometimes(MOVED, |model: &Fence, world: &World| {
                world.row.next == model.records && world.row.epoch > 1
            }),
        ]
    }
}

impl Fence {
    /// Reads the row, and says of a commit in doubt whether it was stored.
    fn look(&self, world: &mut World, reader: usize) {
        if let Phase::InDoubt(flight) = world.readers[reader]
            && world.row.next < flight.to
        {
            world.called_absent.push(flight);
        }
        world.readers[reader] = Phase::Reading(world.row);
    }
}

fn fence(bug: Option<Bug>) -> Fence {
    let (records, claims) = if large() { (4, 4) } else { (3, 3) };
    Fence { records, claims, bug }
}

#[test]
fn two_readers_count_once_whatever_is_lost() {
    holds(fence(None));
}

#[test]
fn a_fence_without_one_of_its_parts_is_found_out() {
    breaks(fence(Some(Bug::AnyOffset)), ONCE);
    breaks(fence(Some(Bug::AnyErasure)), ERASED);
    breaks(fence(Some(Bug::LooksBeforeClaim)), SAID);
    breaks(fence(Some(Bug::AnyEpoch)), SAID);
}
