//! Who reads a partition: one reader at a time, whoever else tries, and whatever becomes of its answers.

use super::{MINUTE, SECOND, START, World, event, feature};
use crate::support::until;
use async_trait::async_trait;
use larder::{
    serving::{Events, Service},
    store::{
        Result, StoreError,
        log::{
            Assignment, Assignments, Batch, Body, EventIndex, EventLog, EventSource, Extent, LogIdentity,
            PartitionReader, Promises, TenantRef,
        },
        readers::{Claim, DeadLetter, LateEvent, Progress, ReaderId, ReaderState, SideQuery, StreamCommit},
    },
    stream::Aggregation,
    window::Options,
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::{Mutex, mpsc, oneshot};

/// The same store and log as a process of its own has them.
fn other_process(world: &World, log: EventLog, progress: Arc<dyn Progress>) -> Service {
    let mine = &world.service;
    let (registry, store) = (mine.registry.clone(), mine.store.clone());
    Service::new(registry, store, Events::new(log, progress), mine.limits.clone(), mine.clock.clone())
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    until(async || if is_so().await { Ok(()) } else { Err(what.to_owned()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_readers_of_a_partition_exactly_one_goes_on() {
    let world = World::new().await;
    world.register(json!([feature("count", "count", "1m", "1m")])).await;
    let first = world.service.clone();
    let second = other_process(&world, first.events.log.clone(), first.events.progress.clone());
    let readings = [
        Aggregation::start(&first, Options::default()).await.unwrap(),
        Aggregation::start(&second, Options::default()).await.unwrap(),
    ];
    let streams = [&first.events.streams, &second.events.streams];
    for round in 1..=40 {
        world.append(&[event("ann", START + round * SECOND, 1.0), event("ben", START, 1.0)]).await;
        let counted = 2 * round as u64;
        eventually("the events are counted and committed", async || {
            streams.iter().for_each(|streams| {
                streams.statuses().iter().for_each(|status| assert_eq!(status.stalled, None))
            });
            let state = world.store.readers().await.unwrap().pop();
            state.is_some_and(|state| state.summary.ledger.counted == counted)
        })
        .await;
        let ledger = world.store.readers().await.unwrap()[0].summary.ledger;
        assert_eq!(ledger.produced(), ledger.counted, "each once");
    }
    let fenced = |at: usize| streams[at].statuses()[0].is_fenced;
    assert_ne!(fenced(0), fenced(1), "one ended, and one goes on");
    let (ended, goes_on) = if fenced(0) { (0, 1) } else { (1, 0) };
    assert!(streams[ended].trouble().unwrap().contains("another process reads partition 0"));
    assert_eq!(streams[goes_on].trouble(), None);
    assert!(streams[ended].samples()[0].is_fenced && !streams[goes_on].samples()[0].is_fenced);
    // Producers of the process whose reader ended do not wait for it.
    let service = [&first, &second][ended];
    let counts = streams[ended].subscribe([0]).unwrap();
    let places = world.append(&[event("ann", START + MINUTE, 1.0)]).await;
    assert_eq!(counts.judged(&places).await.unwrap(), Default::default());
    let shown = service.streams(&world.caller).await.unwrap();
    assert_eq!(shown[0].stalled, None);
    for reading in readings {
        reading.stop().await.unwrap();
    }
}

/// A store whose commits are made, and whose answers are lost now and then.
struct LosesAnswers {
    inner: Arc<dyn Progress>,
    commits: AtomicU64,
    lost: AtomicU64,
}

#[async_trait]
impl Progress for LosesAnswers {
    async fn claim(&self, reader: ReaderId) -> Result<Claim> {
        self.inner.claim(reader).await
    }

    async fn commit_stream(&self, commit: StreamCommit) -> Result<()> {
        let number = self.commits.fetch_add(1, SeqCst);
        // Every third is not even made.
        if number % 3 != 2 {
            self.inner.commit_stream(commit).await?;
        }
        if number.is_multiple_of(3) {
            return Ok(());
        }
        self.lost.fetch_add(1, SeqCst);
        Err(StoreError::unavailable("hear from the store", std::io::Error::other("the connection was lost")))
    }

    async fn readers(&self) -> Result<Vec<ReaderState>> {
        self.inner.readers().await
    }

    async fn note_stalled(&self, reader: ReaderId, epoch: u64, why: &str) -> Result<()> {
        self.inner.note_stalled(reader, epoch, why).await
    }

    async fn late_events(&self, query: SideQuery) -> Result<Vec<LateEvent>> {
        self.inner.late_events(query).await
    }

    async fn dead_letters(&self, query: SideQuery) -> Result<Vec<DeadLetter>> {
        self.inner.dead_letters(query).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_counts_once() {
    let world = World::new().await;
    world.register(json!([feature("count", "count", "1m", "1m"), feature("sum", "sum", "1m", "1m")])).await;
    let inner = world.service.events.progress.clone();
    let progress = Arc::new(LosesAnswers { inner, commits: AtomicU64::new(0), lost: AtomicU64::new(0) });
    let service = other_process(&world, world.service.events.log.clone(), progress.clone());
    let reading = Aggregation::start(&service, Options::default()).await.unwrap();
    for minute in 0..8 {
        world.time.set(START + minute * MINUTE);
        world.append(&[event("ann", START + minute * MINUTE, 1.0), event("ben", START, 1.0)]).await;
        eventually("it goes on after each lost answer", async || {
            let state = world.store.readers().await.unwrap().pop();
            state.is_some_and(|state| {
                state.summary.ledger.counted == 2 * (minute as u64 + 1) && state.stalled.is_none()
            })
        })
        .await;
    }
    assert!(progress.lost.load(SeqCst) > 3);
    drop(reading);
    let reading = world.aggregate().await;
    world.time.set(START + 20 * MINUTE);
    world.append(&[event("clock", START + 20 * MINUTE, 0.0)]).await;
    world.caught_up().await;
    let history = world.history("count", &["ann".to_owned()]).await;
    let newest: std::collections::BTreeMap<i64, Vec<u8>> =
        history["ann"].iter().map(|(end, _, _, packed)| (*end, packed.clone())).collect();
    for minute in 1..=8 {
        let (count, sum) = world.count_and_sum("count", &newest[&(START + minute * MINUTE)]);
        assert_eq!((count, sum), (1, 1.0), "minute {minute}");
    }
    reading.stop().await.unwrap();
}

/// A log that assigns what the test says, and whose records are changed on their way.
struct Directed {
    inner: Arc<dyn EventSource>,
    assignments: Mutex<Option<mpsc::Receiver<Assignment>>>,
    changes: bool,
}

struct DirectedAssignments(mpsc::Receiver<Assignment>);

#[async_trait]
impl Assignments for DirectedAssignments {
    async fn next(&mut self) -> Result<Assignment> {
        match self.0.recv().await {
            Some(assignment) => Ok(assignment),
            None => std::future::pending().await,
        }
    }
}

/// Every third record is unreadable, every fourth has another key, every fifth is of nobody's tenant.
struct Changed(Box<dyn PartitionReader>);

#[async_trait]
impl PartitionReader for Changed {
    async fn seek(&mut self, offset: u64) -> Result<()> {
        self.0.seek(offset).await
    }

    async fn read(&mut self, bytes_max: usize, wait: Duration) -> Result<Batch> {
        let mut batch = self.0.read(bytes_max, wait).await?;
        for record in &mut batch.records {
            let Body::Event { payload, .. } = &record.body else { continue };
            let (tenant, payload) = (TenantRef::Name("default".into()), payload.clone());
            let entity_id = if record.offset % 2 == 0 { "ann" } else { "ben" };
            record.key = Some(entity_id.into());
            record.body = match record.offset {
                offset if offset % 3 == 2 => {
                    Body::Invalid { tenant, reason: "no header".into(), bytes: payload.bytes().clone() }
                }
                offset if offset % 5 == 4 => {
                    Body::Event { tenant: TenantRef::Name("nobody".into()), payload }
                }
                _ => Body::Event { tenant, payload },
            };
            if record.offset % 4 == 3 {
                record.key = Some("dan".into());
            }
        }
        Ok(batch)
    }
}

#[async_trait]
impl EventSource for Directed {
    async fn identity(&self) -> Result<LogIdentity> {
        self.inner.identity().await
    }

    async fn assignments(&self) -> Result<Box<dyn Assignments>> {
        Ok(Box::new(DirectedAssignments(self.assignments.lock().await.take().unwrap())))
    }

    async fn reader(&self, partition: u32) -> Result<Box<dyn PartitionReader>> {
        let reader = self.inner.reader(partition).await?;
        Ok(if self.changes { Box::new(Changed(reader)) } else { reader })
    }

    async fn extent(&self, partition: u32) -> Result<Extent> {
        self.inner.extent(partition).await
    }

    fn committed(&self, partition: u32, next_offset: u64) {
        self.inner.committed(partition, next_offset);
    }

    fn index(&self) -> Option<&dyn EventIndex> {
        None
    }

    fn promises(&self) -> Option<&dyn Promises> {
        None
    }
}

/// A process that reads what it is told to.
async fn directed(world: &World, changes: bool) -> (Service, Arc<Directed>, mpsc::Sender<Assignment>) {
    let (assign, assignments) = mpsc::channel(8);
    let inner = world.service.events.log.source.clone();
    let source = Arc::new(Directed { inner, assignments: Mutex::new(Some(assignments)), changes });
    let log = EventLog { source: source.clone(), ..world.service.events.log.clone() };
    (other_process(world, log, world.service.events.progress.clone()), source, assign)
}

async fn assigned(source: &Directed) -> Assignment {
    Assignment::Assigned { partition: 0, reader: source.reader(0).await.unwrap() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_partition_is_committed_before_it_is_handed_over() {
    let world = World::new().await;
    world.register(json!([feature("count", "count", "1h", "1h")])).await;
    let (service, source, assign) = directed(&world, false).await;
    let reading = Aggregation::start(&service, Options::default()).await.unwrap();
    let streams = &service.events.streams;
    // Nobody reads it: nobody waits.
    let places = world.append(&[event("ann", START, 1.0)]).await;
    assert_eq!(streams.subscribe([0]).unwrap().judged(&places).await.unwrap(), Default::default());
    for round in 1..10u64 {
        assign.send(assigned(&source).await).await.unwrap();
        eventually("it is read", async || !streams.statuses().is_empty()).await;
        let counts = streams.subscribe([0]).unwrap();
        let places = world.append(&[event("ann", START, 1.0)]).await;
        counts.judged(&places).await.unwrap();
        let (done, handed_over) = oneshot::channel();
        assign.send(Assignment::Revoked { partition: 0, done }).await.unwrap();
        handed_over.await.unwrap();
        // What was judged is there for whoever reads next.
        let state = world.store.readers().await.unwrap().remove(0);
        assert_eq!((state.next_offset, state.summary.ledger.counted), (1 + round, 1 + round));
        assert!(streams.statuses().is_empty());
    }
    assign.send(assigned(&source).await).await.unwrap();
    eventually("it is read", async || !streams.statuses().is_empty()).await;
    assign.send(Assignment::Lost { partition: 0 }).await.unwrap();
    eventually("it is not read any more", async || streams.statuses().is_empty()).await;
    reading.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_no_events_of_ours_are_dead_letters_once() {
    let world = World::new().await;
    world.register(json!([feature("count", "count", "1h", "1h")])).await;
    let (service, source, assign) = directed(&world, true).await;
    let reading = Aggregation::start(&service, Options::default()).await.unwrap();
    assign.send(assigned(&source).await).await.unwrap();
    let names = ["ann", "ben"];
    let events: Vec<_> = (0..60).map(|offset| event(names[offset % 2], START, 1.0)).collect();
    world.append(&events).await;
    eventually("all are judged and committed", async || {
        world.store.readers().await.unwrap().first().is_some_and(|state| state.next_offset == 60)
    })
    .await;
    let (invalid, nobodys): (Vec<u64>, Vec<u64>) = (
        (0..60).filter(|at| at % 3 == 2).collect(),
        (0..60).filter(|at| at % 3 != 2 && at % 5 == 4).collect(),
    );
    let is_other = |at: &u64| at % 3 != 2 && at % 5 != 4 && at % 4 == 3;
    let other_key: Vec<u64> = (0..60).filter(is_other).collect();
    let ledger = world.store.readers().await.unwrap()[0].summary.ledger;
    let dead = (invalid.len() + nobodys.len() + other_key.len()) as u64;
    assert_eq!((ledger.dead, ledger.counted), (dead, 60 - dead));
    let query = SideQuery {
        tenant: world.caller.tenant(),
        after: None,
        limit: 100,
        event_type: String::new(),
        entity_id: String::new(),
    };
    let letters = world.store.dead_letters(query).await.unwrap();
    let because = |part: &str| -> Vec<u64> {
        let of = letters.iter().filter(|letter| letter.reason.contains(part));
        of.map(|letter| letter.place.offset).collect()
    };
    assert_eq!(because("no header"), invalid);
    assert_eq!(because("key"), other_key);
    assert_eq!(letters.len(), invalid.len() + other_key.len(), "what nobody may see is not kept");
    reading.stop().await.unwrap();
}
