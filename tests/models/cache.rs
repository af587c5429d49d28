//! Two replicas, one durable store and a cache in front of it, for one stored row of one entity.
//!
//! What orders an entry is (deletion stamp, newest row): a deletion makes the newest row go backwards, and raises the
//! stamp. Time goes in ticks: a look at the durable store sees pending rows that are a tick old and is good for a tick, so
//! a reader misses nothing that was committed two ticks before it began.
//!
//! ```text
//! read     look is fresh, no pending key │ get │ lease │ newest │ fill
//! write    commit with a pending row │ write to the cache │ pending row done, under the same generation
//! look     generation, master, pending rows of a tick and more
//! connect  to a master: an unknown one commits a new generation first
//! ```

use super::{breaks, holds, large};
use stateright::{Model, Property};

const FRESH: &str = "no reader gets what is older than the rule, or what was deleted";
const HITS: &str = "a replica is served what the other one wrote, from the cache";

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// A fill does not need its lease.
    LeaseIgnored,
    /// Another master keeps the generation.
    GenerationKept,
    /// A write that replaces an entry leaves the lease.
    LeaseLeft,
    /// A write to the cache is not compared.
    WriteNotCompared,
    /// A commit leaves no pending row.
    NoPendingRow,
    /// A pending row goes whatever the generation is by then.
    DoneUnderAny,
    /// A reader does not mind how old its last look is.
    LookIgnored,
    /// A replica asks the cache for what it has not published yet.
    OwnIgnored,
    /// A deletion does not raise the stamp.
    StampKept,
}

/// What an entry says; 0 = no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Newest {
    stamp: u8,
    row: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lease {
    /// Whose it is: a replica has one read under way.
    token: usize,
    generation: u8,
}

/// A master: the first one, and the copy that takes its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Master {
    entry: Option<(u8, Newest)>,
    lease: Option<Lease>,
}

/// A change of the newest row that the durable store has. Its number in `World::changes` is its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Change {
    newest: Newest,
    is_deletion: bool,
    by: usize,
    age: u8,
    is_pending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Read {
    Idle,
    /// It may ask the cache; it owes its caller what was known when it began.
    Began {
        owed: usize,
    },
    Missed,
    Leased {
        generation: u8,
    },
    Filling {
        generation: u8,
        newest: Newest,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Publish {
    Idle,
    Taken { change: usize },
    Sent { change: usize, generation: u8 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Replica {
    master: usize,
    generation: u8,
    look_age: u8,
    /// The last look saw the generation and the master that this replica uses.
    is_current: bool,
    saw_pending: bool,
    /// Its own changes that it does not know to be published, a bit each.
    own: u8,
    read: Read,
    publish: Publish,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// Rows that are not deleted, a bit each; the newest is the greatest.
    rows: u8,
    stamp: u8,
    changes: Vec<Change>,
    writes_left: u8,
    deletions_left: u8,
    generation: u8,
    master: usize,
    masters: [Master; 2],
    was_lost: bool,
    replicas: [Replica; 2],
    served_stale: bool,
    served_news: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Write(usize),
    Delete(usize),
    Take(usize, usize),
    Send(usize),
    Done(usize),
    Look(usize),
    Begin(usize),
    Get(usize),
    Lease(usize),
    Newest(usize),
    Fill(usize),
    GiveUp(usize),
    Connect(usize),
    Evict(usize),
    ExpireLease(usize),
    /// The second server copies the first one.
    Replicate,
    /// The second server is master now; who is connected to the first one still reaches it.
    LoseMaster,
}

struct Cache {
    writes: u8,
    deletions: u8,
    /// Whether the master may be lost.
    loses: bool,
    /// How many replicas read; the others only write and publish.
    readers: usize,
    bug: Option<Bug>,
}

const LOOK_GOOD_FOR: u8 = 1;
const PENDING_SEEN_FROM: u8 = 1;
const KNOWN_EVERYWHERE_FROM: u8 = 2;

impl Cache {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn commit(&self, world: &mut World, by: usize, is_deletion: bool) {
        let newest = world.newest();
        let change = Change { newest, is_deletion, by, age: 0, is_pending: !self.has(Bug::NoPendingRow) };
        let id = world.changes.len();
        world.changes.push(change);
        let replica = &mut world.replicas[by];
        if by < self.readers {
            replica.own |= 1 << id;
        }
        if replica.publish == Publish::Idle {
            replica.publish = Publish::Taken { change: id };
        }
    }

    /// One script: voids the lease, compares, replaces an older entry, and creates nothing.
    fn send(&self, world: &mut World, at: usize) {
        let replica = &mut world.replicas[at];
        let Publish::Taken { change: id } = replica.publish else { return };
        let change = world.changes[id];
        let master = &mut world.masters[replica.master];
        match master.entry {
            Some((generation, there)) if generation == replica.generation => {
                let is_newer = change.newest > there || self.has(Bug::WriteNotCompared);
                if !self.has(Bug::LeaseLeft) {
                    master.lease = None;
                }
                match change.is_deletion {
                    true if is_newer => *master = Master::default(),
                    false if is_newer => master.entry = Some((generation, change.newest)),
                    true | false => {}
                }
            }
            _ => *master = Master::default(),
        }
        replica.publish = Publish::Sent { change: id, generation: replica.generation };
    }

    fn fill(&self, world: &mut World, at: usize) {
        let replica = &mut world.replicas[at];
        let Read::Filling { generation, newest } = replica.read else { return };
        replica.read = Read::Idle;
        let master = &mut world.masters[replica.master];
        let lease = Lease { token: at, generation };
        if master.lease != Some(lease) && !self.has(Bug::LeaseIgnored) {
            return;
        }
        master.entry = Some((generation, newest));
        if master.lease == Some(lease) {
            master.lease = None;
        }
    }

    fn look(&self, world: &mut World, at: usize) {
        let pending = |(id, change): (usize, &Change)| u8::from(change.is_pending) << id;
        let pending = world.changes.iter().enumerate().map(pending).sum::<u8>();
        let replica = &mut world.replicas[at];
        replica.look_age = 0;
        replica.is_current = replica.master == world.master && replica.generation == world.generation;
        replica.saw_pending =
            world.changes.iter().any(|change| change.is_pending && change.age >= PENDING_SEEN_FROM);
        replica.own &= pending;
    }

    fn may_ask(&self, replica: &Replica) -> bool {
        let is_fresh = replica.look_age <= LOOK_GOOD_FOR || self.has(Bug::LookIgnored);
        let knows_own = replica.own == 0 || self.has(Bug::OwnIgnored);
        is_fresh && replica.is_current && !replica.saw_pending && knows_own
    }
}

impl World {
    fn newest(&self) -> Newest {
        Newest { stamp: self.stamp, row: (8 - self.rows.leading_zeros()) as u8 }
    }

    /// How many changes a read that begins now must have seen.
    fn owed(&self, at: usize) -> usize {
        let is_owed = |change: &Change| change.by == at || change.age >= KNOWN_EVERYWHERE_FROM;
        self.changes.iter().rposition(is_owed).map_or(0, |last| last + 1)
    }
}

impl Model for Cache {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let replica = Replica {
            master: 0,
            generation: 1,
            look_age: 0,
            is_current: true,
            saw_pending: false,
            own: 0,
            read: Read::Idle,
            publish: Publish::Idle,
        };
        vec![World {
            rows: 0,
            stamp: 0,
            changes: Vec::new(),
            writes_left: self.writes,
            deletions_left: self.deletions,
            generation: 1,
            master: 0,
            masters: [Master::default(); 2],
            was_lost: false,
            replicas: [replica; 2],
            served_stale: false,
            served_news: false,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        let grows = world.changes.iter().any(|change| change.age < KNOWN_EVERYWHERE_FROM);
        let ages = |replica: &Replica| replica.look_age <= LOOK_GOOD_FOR;
        if grows || world.replicas[..self.readers].iter().any(ages) {
            steps.push(Step::Tick);
        }
        for (at, replica) in world.replicas.iter().enumerate() {
            if world.writes_left > 0 {
                steps.push(Step::Write(at));
            }
            if world.deletions_left > 0 && world.rows > 0 {
                steps.push(Step::Delete(at));
            }
            match replica.publish {
                Publish::Idle => {
                    let pending = world.changes.iter().enumerate().filter(|(_, change)| change.is_pending);
                    steps.extend(pending.map(|(id, _)| Step::Take(at, id)));
                }
                Publish::Taken { .. } => steps.push(Step::Send(at)),
                Publish::Sent { .. } => steps.push(Step::Done(at)),
            }
            if world.was_lost && replica.master == 0 {
                steps.push(Step::Connect(at));
            }
            if at >= self.readers {
                continue;
            }
            steps.push(Step::Look(at));
            match replica.read {
                // Past it, the read takes the newest row of the durable store, which is always right.
                Read::Idle if self.may_ask(replica) => steps.push(Step::Begin(at)),
                Read::Idle => {}
                Read::Began { .. } => steps.push(Step::Get(at)),
                Read::Missed => steps.push(Step::Lease(at)),
                Read::Leased { .. } => steps.extend([Step::Newest(at), Step::GiveUp(at)]),
                Read::Filling { .. } => steps.extend([Step::Fill(at), Step::GiveUp(at)]),
            }
        }
        for (at, master) in world.masters.iter().enumerate() {
            if master.entry.is_some() && (at == 0 || world.was_lost) {
                steps.push(Step::Evict(at));
            }
            if master.lease.is_some() && (at == 0 || world.was_lost) {
                steps.push(Step::ExpireLease(at));
            }
        }
        if self.loses && !world.was_lost {
            steps.extend([Step::Replicate, Step::LoseMaster]);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Tick => {
                world.changes.iter_mut().for_each(|it| it.age = (it.age + 1).min(KNOWN_EVERYWHERE_FROM));
                let readers = world.replicas[..self.readers].iter_mut();
                readers.for_each(|it| it.look_age = (it.look_age + 1).min(LOOK_GOOD_FOR + 1));
            }
            Step::Write(by) => {
                let number = self.writes - world.writes_left;
                world.writes_left -= 1;
                world.rows |= 1 << number;
                self.commit(&mut world, by, false);
            }
            Step::Delete(by) => {
                world.deletions_left -= 1;
                world.rows &= !(1 << (world.newest().row - 1));
                world.stamp += u8::from(!self.has(Bug::StampKept));
                self.commit(&mut world, by, true);
            }
            Step::Take(at, change) => world.replicas[at].publish = Publish::Taken { change },
            Step::Send(at) => self.send(&mut world, at),
            Step::Done(at) => {
                let Publish::Sent { change, generation } = world.replicas[at].publish else { return None };
                if world.generation == generation || self.has(Bug::DoneUnderAny) {
                    world.changes[change].is_pending = false;
                    world.replicas[at].own &= !(1 << change);
                }
                world.replicas[at].publish = Publish::Idle;
            }
            Step::Look(at) => self.look(&mut world, at),
            Step::Begin(at) => world.replicas[at].read = Read::Began { owed: world.owed(at) },
            Step::Get(at) => {
                let replica = &mut world.replicas[at];
                let Read::Began { owed } = replica.read else { return None };
                match world.masters[replica.master].entry {
                    Some((generation, served)) if generation == replica.generation => {
                        replica.read = Read::Idle;
                        let served = world.changes.iter().rposition(|change| change.newest == served);
                        let served = served.map_or(0, |last| last + 1);
                        world.served_stale |= served < owed;
                        world.served_news |= served > 0 && world.changes[served - 1].by != at;
                    }
                    _ => replica.read = Read::Missed,
                }
            }
            Step::Lease(at) => {
                let replica = &mut world.replicas[at];
                let generation = replica.generation;
                let lease = &mut world.masters[replica.master].lease;
                replica.read = match lease {
                    Some(held) if held.generation == generation => Read::Idle,
                    _ => {
                        *lease = Some(Lease { token: at, generation });
                        Read::Leased { generation }
                    }
                };
            }
            Step::Newest(at) => {
                let Read::Leased { generation } = world.replicas[at].read else { return None };
                world.replicas[at].read = Read::Filling { generation, newest: world.newest() };
            }
            Step::Fill(at) => self.fill(&mut world, at),
            Step::GiveUp(at) => world.replicas[at].read = Read::Idle,
            Step::Connect(at) => {
                let replica = &mut world.replicas[at];
                replica.master = 1;
                if world.master != 1 {
                    world.master = 1;
                    world.generation += u8::from(!self.has(Bug::GenerationKept));
                }
                (replica.generation, replica.is_current) = (world.generation, true);
                if let Read::Began { .. } | Read::Missed = replica.read {
                    replica.read = Read::Idle;
                }
            }
            Step::Evict(at) => world.masters[at].entry = None,
            Step::ExpireLease(at) => world.masters[at].lease = None,
            Step::Replicate => world.masters[1] = world.masters[0],
            Step::LoseMaster => world.was_lost = true,
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FRESH, |_, world: &World| !world.served_stale),
            Property::sometimes(HITS, |_, world: &World| world.served_news),
        ]
    }
}

fn world(writes: u8, deletions: u8, loses: bool, readers: usize) -> Cache {
    Cache { writes, deletions, loses, readers, bug: None }
}

#[test]
fn two_replicas_never_serve_what_is_older_than_the_rule() {
    holds(world(2, 0, false, 1));
    holds(world(1, 1, false, 1));
    holds(world(1, 0, true, 1));
    // Both read, so one can miss what the other one fills.
    holds(world(1, 0, false, 2));
    if large() {
        holds(world(2, 1, false, 1));
        holds(world(3, 0, false, 1));
        holds(world(1, 1, true, 1));
    }
}

#[test]
fn a_cache_without_one_of_its_rules_is_found_out() {
    let broken = |bug, of: Cache| breaks(Cache { bug: Some(bug), ..of }, FRESH);
    broken(Bug::LeaseIgnored, world(1, 0, false, 1));
    broken(Bug::GenerationKept, world(1, 0, true, 1));
    broken(Bug::LeaseLeft, world(1, 0, false, 2));
    broken(Bug::WriteNotCompared, world(2, 0, false, 1));
    broken(Bug::NoPendingRow, world(1, 0, false, 1));
    broken(Bug::DoneUnderAny, world(1, 0, true, 1));
    broken(Bug::LookIgnored, world(1, 0, false, 1));
    broken(Bug::OwnIgnored, world(1, 0, false, 1));
    broken(Bug::StampKept, world(1, 1, false, 1));
}
