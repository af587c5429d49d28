//! What is registered: records of all tenants, put one tenant at a time, each change under a revision.
//!
//! Every change has a place in one history over all tenants, whose newest point is the *head*: a process that holds what
//! was registered at one head asks for what came since. A change is decided against its own tenant's revision alone, so
//! tenants never wait for each other, and the numbers that a tenant sees tell nothing of others.

use super::Result;
use crate::{
    access::ApiKey,
    feature::{
        TenantId,
        definition::{EntityType, Feature, FeatureSet, Group},
    },
    random,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The catalogue of all tenants: small enough to be held in memory, changed in transactions.
#[async_trait]
pub trait RegistryStore: Send + Sync + 'static {
    /// What was put after `seen`, a head of this store; after [`Revision::NONE`] everything. One consistent view.
    async fn changes_since(&self, seen: Revision) -> Result<RegistryChanges>;

    /// Puts records of one tenant in one transaction if the tenant is still at `expected`, and returns its next revision.
    /// [`StoreError::Conflict`](super::StoreError) where it is not, or where an id or a tenant's name is taken.
    async fn change(
        &self,
        tenant: TenantId,
        expected: Revision,
        records: Vec<RecordBody>,
    ) -> Result<Revision>;

    /// The newest head that this process has heard of.
    fn head(&self) -> watch::Receiver<Revision>;

    /// Whether `head` has always heard of every change that was acknowledged. Only where one process owns the store.
    fn hears_all(&self) -> bool;

    /// A tenant's revision as it is durable now.
    async fn tenant_at(&self, tenant: TenantId) -> Result<Revision>;
}

/// A point in a history: that of one tenant, or the head of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Revision {
    number: u64,
    proof: [u8; 16],
}

impl Revision {
    /// Before the first change.
    pub const NONE: Revision = Revision { number: 0, proof: [0; 16] };

    /// What follows, with a proof of its own.
    pub(crate) fn next(self) -> Self {
        Self { number: self.number + 1, proof: random::bytes() }
    }

    pub(crate) fn from_stored(number: u64, proof: [u8; 16]) -> Self {
        Self { number, proof }
    }

    /// Counts changes; what callers see.
    pub fn number(self) -> u64 {
        self.number
    }

    /// Random, one for each change. Where a failover loses changes and others take their numbers, it tells them apart.
    pub fn proof(self) -> [u8; 16] {
        self.proof
    }
}

/// What came after a head.
#[derive(Clone, Debug)]
pub enum RegistryChanges {
    Since(RegistryPage),
    /// The store has no such head: what was read from it may be lost. Everything must be read again.
    HistoryLost,
}

/// Records as they are at one head.
#[derive(Clone, Debug, Default)]
pub struct RegistryPage {
    pub head: Revision,
    /// Whose records were put, each with its revision.
    pub tenants: Vec<(TenantId, Revision)>,
    /// In the order they were first put.
    pub records: Vec<RegistryRecord>,
}

/// One registered thing of one tenant. Putting one with the same identity replaces it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegistryRecord {
    pub tenant: TenantId,
    pub body: RecordBody,
}

/// The kinds of record, each with its identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RecordBody {
    /// Identity: the name, which a tenant keeps and no other has.
    Tenant(String),
    /// Identity: tenant and `id`.
    ApiKey(ApiKey),
    /// Identity: `id`, unique over all tenants.
    EntityType(EntityType),
    /// Identity: `id`, unique over all tenants.
    Group(Group),
    /// Identity: `id`, unique over all tenants.
    Feature(Box<Feature>),
    /// Identity: tenant, name and version.
    FeatureSet(FeatureSet),
}
