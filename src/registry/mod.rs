//! The registry: what is registered, held in memory as one snapshot, which may be behind the store.
//!
//! ```text
//!   change ── decide on the snapshot ── store: compare-and-set by tenant ──┐
//!   head of the store moves (other processes) ── follow ────────────────────┼─ read what came since ── next snapshot
//!   a name or key that is not known ── read once more, then say so ─────────┘
//! ```
//!
//! Readers never wait: they take the snapshot that is there. The next one shares all that did not change, so a change
//! costs what its own records cost, and other tenants keep their catalogues and plans.

mod catalogue;
mod new_id;
mod plan;
mod snapshot;
#[cfg(test)]
pub(crate) mod testing;

pub use catalogue::{Catalogue, GroupEntry, newest_active};
pub use new_id::NewId;
pub use plan::{Derived, FeatureList, ListEncoding, Plan, PlanEntityType, PlanFeature, PlanGroup};
pub use snapshot::{RegistrySnapshot, WindowedGroupsSeen};

use crate::{
    access::{ApiKey, ApiKeySecret, Caller, Scope},
    error::{Error, Kind, Result},
    feature::{TenantId, Timestamp},
    random,
    store::{RecordBody, RegistryChanges, RegistryStore, Revision, StoreError},
};
use arc_swap::ArcSwap;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// How often a change is decided again when others come first.
const CHANGE_ATTEMPTS_MAX: u32 = 16;

/// All tenants' catalogues and keys.
pub struct Registry {
    store: Arc<dyn RegistryStore>,
    snapshot: ArcSwap<RegistrySnapshot>,
    /// Held while the store is read, so that each snapshot follows from the one before.
    reading: Mutex<()>,
    /// The head of the snapshot in use.
    head: watch::Sender<Revision>,
}

impl Registry {
    /// Reads everything registered.
    pub async fn open(store: Arc<dyn RegistryStore>) -> Result<Self> {
        let registry = Self {
            store,
            snapshot: ArcSwap::default(),
            reading: Mutex::default(),
            head: watch::Sender::new(Revision::NONE),
        };
        registry.catch_up().await?;
        Ok(registry)
    }

    /// The caller that a key's text stands for.
    pub fn authenticate(&self, key: &str, now: Timestamp) -> Result<Caller> {
        let refused =
            |why: &str| Error::new(Kind::Unauthenticated, format!("{why}; send a valid key as x-api-key"));
        let hash =
            ApiKeySecret::hash_of(key).ok_or_else(|| refused("the API key is malformed or mistyped"))?;
        let snapshot = self.snapshot.load();
        let caller = snapshot.caller(&hash).ok_or_else(|| refused("the API key is not known"))?;
        if caller.key().revoked_at.is_some() {
            return Err(refused("the API key was revoked"));
        }
        if caller.key().expires_at.is_some_and(|at| at <= now) {
            return Err(refused("the API key has expired"));
        }
        Ok(caller.clone())
    }

    /// What the caller's tenant has registered.
    pub fn catalogue(&self, caller: &Caller) -> Arc<Catalogue> {
        self.snapshot.load().catalogue(caller.tenant())
    }

    /// The snapshot in use: every tenant's catalogue at one head.
    pub fn snapshot(&self) -> Arc<RegistrySnapshot> {
        self.snapshot.load_full()
    }

    /// Tells when another snapshot is in use, by its head.
    pub fn changes(&self) -> watch::Receiver<Revision> {
        self.head.subscribe()
    }

    /// Makes a tenant, or returns the one that already has the name.
    pub async fn create_tenant(&self, name: &str) -> Result<TenantId> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let snapshot = self.snapshot.load_full();
            if let Some(tenant) = snapshot.tenant_by_name(name) {
                return Ok(tenant);
            }
            let tenant = TenantId::from_stored(random::id());
            let record = RecordBody::Tenant(name.to_owned());
            match self.put(tenant, Revision::NONE, vec![record]).await? {
                Put::Done => return Ok(tenant),
                Put::DecideAgain => {}
            }
        }
        Err(too_many_changes())
    }

    /// Stores the hash of a key for a tenant.
    pub async fn create_key(
        &self,
        tenant: TenantId,
        secret: &ApiKeySecret,
        scopes: &[Scope],
        now: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<()> {
        let key = ApiKey {
            id: secret.id(),
            hash: secret.hash(),
            scopes: scopes.to_vec(),
            created_at: now,
            expires_at,
            revoked_at: None,
        };
        self.change(tenant, |_| Ok(((), vec![RecordBody::ApiKey(key.clone())]))).await
    }

    /// Decides a change of one tenant against the newest snapshot and puts it, again if another change of that tenant came
    /// first. `decide` returns its answer and the records to put; none = nothing changes.
    pub async fn change<T>(
        &self,
        tenant: TenantId,
        mut decide: impl FnMut(&RegistrySnapshot) -> Result<(T, Vec<RecordBody>)>,
    ) -> Result<T> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let snapshot = self.snapshot.load_full();
            let (answer, records) = decide(&snapshot)?;
            if records.is_empty() {
                return Ok(answer);
            }
            match self.put(tenant, snapshot.revision(tenant), records).await? {
                Put::Done => return Ok(answer),
                Put::DecideAgain => {}
            }
        }
        Err(too_many_changes())
    }

    async fn put(&self, tenant: TenantId, expected: Revision, records: Vec<RecordBody>) -> Result<Put> {
        let put = match self.store.change(tenant, expected, records).await {
            Err(StoreError::Conflict { .. }) => Put::DecideAgain,
            Err(error) => return Err(error.into()),
            Ok(_) => Put::Done,
        };
        self.catch_up().await?;
        Ok(put)
    }

    /// Reads what came since the snapshot in use, and puts the next one in its place.
    pub async fn catch_up(&self) -> Result<()> {
        let _reading = self.reading.lock().await;
        let snapshot = self.snapshot.load_full();
        let next = match self.store.changes_since(snapshot.head()).await? {
            RegistryChanges::Since(page) if page.head == snapshot.head() => return Ok(()),
            RegistryChanges::Since(page) => snapshot.with(page),
            RegistryChanges::HistoryLost => {
                tracing::error!(
                    "the store has lost changes of the registry; everything registered is read again"
                );
                match self.store.changes_since(Revision::NONE).await? {
                    RegistryChanges::Since(page) => snapshot.anew(page),
                    RegistryChanges::HistoryLost => {
                        return Err(Error::internal("a registry has no beginning"));
                    }
                }
            }
        };
        let head = next.head();
        self.snapshot.store(Arc::new(next));
        self.head.send_replace(head);
        Ok(())
    }
}

/// What became of records.
enum Put {
    Done,
    /// Another change came first; it is in the snapshot now.
    DecideAgain,
}

fn too_many_changes() -> Error {
    Error::unavailable("the registry is being changed by too many at once; try again")
}
