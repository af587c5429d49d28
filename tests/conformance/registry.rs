//! The registry's store against a list of records and a list of changes.

use super::{Backend, TestTime};
use larder::{
    access::ApiKey,
    feature::{
        EntityTypeId, TenantId, Timestamp,
        definition::{EntityType, FeatureSet},
    },
    store::{RecordBody, RegistryChanges, RegistryPage, RegistryRecord, RegistryStore, Revision, StoreError},
};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use std::collections::BTreeMap;

/// Tenants of the random runs.
const TENANTS: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A change of a tenant, decided at one of its revisions: how many changes ago.
    Change {
        tenant: u64,
        behind: usize,
        records: Vec<Body>,
    },
    /// What came after one of the heads, the newest last.
    Ask(usize),
    Disturb(u8),
}

/// A record by its kind and a number that names it, with something that changes.
#[derive(Clone, Debug)]
enum Body {
    Name(u8),
    Key(u8, i64),
    EntityType(u8, u8),
    Set(u8, i64),
}

impl Body {
    fn record(&self) -> RecordBody {
        let created_at = Timestamp::from_stored;
        match self {
            Body::Name(name) => RecordBody::Tenant(format!("tenant {name}")),
            Body::Key(id, at) => RecordBody::ApiKey(ApiKey {
                id: format!("{id:08x}"),
                hash: [*id; 32],
                scopes: Vec::new(),
                created_at: created_at(*at),
                expires_at: None,
                revoked_at: None,
            }),
            Body::EntityType(id, name) => entity_type(u64::from(*id), &format!("name_{name}")),
            Body::Set(version, at) => RecordBody::FeatureSet(FeatureSet {
                name: "fraud".into(),
                version: u32::from(*version),
                features: Vec::new(),
                created_at: created_at(*at),
            }),
        }
    }

    /// What names the record; whether it is of all tenants.
    fn identity(&self, tenant: u64) -> String {
        match self {
            Body::Name(name) => format!("name {name}"),
            Body::Key(id, _) => format!("key {tenant} {id}"),
            Body::EntityType(id, _) => format!("entity type {id}"),
            Body::Set(version, _) => format!("set {tenant} {version}"),
        }
    }
}

fn entity_type(id: u64, name: &str) -> RecordBody {
    RecordBody::EntityType(EntityType {
        id: EntityTypeId::from_stored(id),
        name: name.to_owned(),
        keys: vec![name.to_owned()],
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let body = prop_oneof![
        1 => (0..6u8).prop_map(Body::Name),
        2 => (0..3u8, 0..9i64).prop_map(|(id, at)| Body::Key(id, at)),
        4 => (0..12u8, 0..9u8).prop_map(|(id, name)| Body::EntityType(id, name)),
        2 => (1..4u8, 0..9i64).prop_map(|(version, at)| Body::Set(version, at)),
    ];
    let behind = prop_oneof![6 => Just(0usize), 1 => 1..3usize];
    let step = prop_oneof![
        6 => (1..=TENANTS, behind, vec(body, 1..5))
            .prop_map(|(tenant, behind, records)| Step::Change { tenant, behind, records }),
        3 => any::<usize>().prop_map(Step::Ask),
        1 => any::<u8>().prop_map(Step::Disturb),
    ];
    vec(step, 1..40)
}

pub fn run<B: Backend>() {
    let cases = std::env::var("LARDER_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40);
    let config = Config { cases, max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    proptest!(config, |(steps in steps())| {
        runtime.block_on(Run::<B>::all(&steps))
    });
}

struct Run<B: Backend> {
    backend: B,
    /// In the order they were first put, with the number of the change that last put them.
    records: Vec<(String, RegistryRecord, usize)>,
    /// By tenant, oldest first, beginning with [`Revision::NONE`].
    revisions: BTreeMap<u64, Vec<Revision>>,
    /// The head after each change, and whose it was, beginning with [`Revision::NONE`].
    heads: Vec<(Revision, u64)>,
}

impl<B: Backend> Run<B> {
    async fn all(steps: &[Step]) {
        let mut run = Self {
            backend: B::start(TestTime::default(), None).await,
            records: Vec::new(),
            revisions: (1..=TENANTS).map(|tenant| (tenant, vec![Revision::NONE])).collect(),
            heads: vec![(Revision::NONE, 0)],
        };
        for step in steps {
            match step {
                Step::Change { tenant, behind, records } => run.change(*tenant, *behind, records).await,
                Step::Ask(at) => run.ask(at % run.heads.len()).await,
                Step::Disturb(how) => run.backend.disturb(*how).await,
            }
        }
        run.backend.restart().await;
        for at in 0..run.heads.len() {
            run.ask(at).await;
        }
    }

    async fn change(&mut self, tenant: u64, behind: usize, records: &[Body]) {
        let revisions = &self.revisions[&tenant];
        let expected = revisions[revisions.len().saturating_sub(behind + 1)];
        let is_taken = |body: &Body| {
            let identity = body.identity(tenant);
            self.records.iter().any(|(known, record, _)| *known == identity && record.tenant.get() != tenant)
        };
        let is_refused = Some(&expected) != revisions.last() || records.iter().any(is_taken);
        let bodies = records.iter().map(Body::record).collect();
        let changed = self.backend.store().change(TenantId::from_stored(tenant), expected, bodies).await;
        let head = *self.backend.store().head().borrow();
        if is_refused {
            assert!(matches!(changed, Err(StoreError::Conflict { .. })), "{changed:?}");
            assert_eq!(head, self.heads.last().unwrap().0);
            return;
        }
        let revision = changed.unwrap();
        assert_eq!(revision.number(), expected.number() + 1);
        assert_eq!(revision.proof(), head.proof());
        assert!(self.heads.iter().all(|(known, _)| known.proof() != head.proof()));
        self.revisions.get_mut(&tenant).unwrap().push(revision);
        self.heads.push((head, tenant));
        for body in records {
            let (identity, changed_at) = (body.identity(tenant), self.heads.len() - 1);
            let record = RegistryRecord { tenant: TenantId::from_stored(tenant), body: body.record() };
            match self.records.iter_mut().find(|(known, ..)| *known == identity) {
                Some(known) => (known.1, known.2) = (record, changed_at),
                None => self.records.push((identity, record, changed_at)),
            }
        }
    }

    /// Asks for what came after a head.
    async fn ask(&self, at: usize) {
        let store = self.backend.store();
        let page = since(store, self.heads[at].0).await;
        assert_eq!(page.head, self.heads.last().unwrap().0);
        assert_eq!(*store.head().borrow(), page.head);
        let newer = self.records.iter().filter(|(.., changed_at)| *changed_at > at);
        assert_eq!(page.records, newer.map(|(_, record, _)| record.clone()).collect::<Vec<_>>());
        let mut tenants: Vec<u64> = self.heads[at + 1..].iter().map(|(_, tenant)| *tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let revision = |tenant: u64| *self.revisions[&tenant].last().unwrap();
        let expected: Vec<_> =
            tenants.iter().map(|tenant| (TenantId::from_stored(*tenant), revision(*tenant))).collect();
        assert_eq!(page.tenants, expected);
        for tenant in 1..=TENANTS {
            assert_eq!(store.tenant_at(TenantId::from_stored(tenant)).await.unwrap(), revision(tenant));
        }
    }
}

async fn since(store: &impl RegistryStore, seen: Revision) -> RegistryPage {
    match store.changes_since(seen).await.unwrap() {
        RegistryChanges::Since(page) => page,
        RegistryChanges::HistoryLost => panic!("the history of {seen:?} is lost"),
    }
}

/// A head of a history that was lost is known as such, though another change has taken its number.
pub async fn a_lost_history_is_seen<B: Backend>() {
    let (kept, lost) = (B::start(TestTime::default(), None).await, B::start(TestTime::default(), None).await);
    for backend in [&kept, &lost] {
        let name = vec![RecordBody::Tenant("one".into())];
        backend.store().change(TenantId::from_stored(1), Revision::NONE, name).await.unwrap();
    }
    let mut head = *lost.store().head().borrow();
    assert_eq!(head.number(), kept.store().head().borrow().number());
    // With the same number, then with one that does not exist yet.
    for _ in 0..2 {
        let changes = kept.store().changes_since(head).await.unwrap();
        assert!(matches!(changes, RegistryChanges::HistoryLost));
        let revision = lost.store().tenant_at(TenantId::from_stored(1)).await.unwrap();
        lost.store().change(TenantId::from_stored(1), revision, vec![entity_type(1, "user")]).await.unwrap();
        head = *lost.store().head().borrow();
    }
}

/// Of changes decided at one revision of a tenant exactly one is made, and other tenants' are not in the way.
pub async fn tenants_do_not_wait_for_each_other<B: Backend>() {
    let backend = B::start(TestTime::default(), None).await;
    let store = backend.store();
    let mut heard = store.head();
    for round in 0..20 {
        let changes = (1..=4).map(|tenant| async move {
            let expected = store.tenant_at(TenantId::from_stored(tenant)).await.unwrap();
            let rivals = (0..3).map(|rival| {
                let record = entity_type(tenant * 10 + rival, &format!("of_{round}"));
                store.change(TenantId::from_stored(tenant), expected, vec![record])
            });
            let made: Vec<_> = futures_util::future::join_all(rivals).await;
            let refused = |made: &&Result<_, _>| matches!(made, Err(StoreError::Conflict { .. }));
            assert_eq!(made.iter().filter(refused).count(), 2);
            let revision = made.into_iter().find_map(Result::ok).unwrap();
            assert_eq!(revision.number(), expected.number() + 1);
        });
        futures_util::future::join_all(changes).await;
        assert!(heard.has_changed().unwrap());
        assert_eq!(heard.borrow_and_update().number(), (round + 1) * 4);
    }
}
