//! The registry: what is registered, held in memory as one snapshot that is swapped whole.
//!
//! Reads never wait: they take the snapshot that is there. A change is decided against it, put into the store under its
//! revision, and swapped in; when another change came first it is decided again.

mod catalogue;
mod plan;

pub use catalogue::{Catalogue, GroupEntry, newest_active};
pub use plan::{Derived, FeatureList, ListEncoding, Plan, PlanEntityType, PlanFeature, PlanGroup};

use crate::{
    access::{ApiKey, ApiKeySecret, Caller, Scope},
    error::{Error, Kind, Result},
    feature::{TenantId, Timestamp},
    store::{RecordBody, RegistryRecord, RegistryState, RegistryStore, StoreError},
};
use arc_swap::ArcSwap;
use hashbrown::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// How often a change is decided again when others come first.
const CHANGE_ATTEMPTS_MAX: u32 = 16;

/// All tenants' catalogues and keys.
pub struct Registry {
    store: Arc<dyn RegistryStore>,
    snapshot: ArcSwap<RegistrySnapshot>,
    /// The revision of the snapshot in use.
    revision: watch::Sender<u64>,
}

/// Everything registered at one revision.
pub struct RegistrySnapshot {
    pub state: RegistryState,
    /// By hash of the key's text.
    keys: HashMap<[u8; 32], Caller>,
    catalogues: HashMap<TenantId, Arc<Catalogue>>,
}

impl Registry {
    /// Loads everything registered.
    pub async fn open(store: Arc<dyn RegistryStore>) -> Result<Self> {
        let snapshot = RegistrySnapshot::new(store.load().await?);
        let revision = watch::Sender::new(snapshot.state.revision);
        Ok(Self { store, snapshot: ArcSwap::from_pointee(snapshot), revision })
    }

    /// The caller that a key's text stands for.
    pub fn authenticate(&self, key: &str, now: Timestamp) -> Result<Caller> {
        let refused =
            |why: &str| Error::new(Kind::Unauthenticated, format!("{why}; send a valid key as x-api-key"));
        let hash =
            ApiKeySecret::hash_of(key).ok_or_else(|| refused("the API key is malformed or mistyped"))?;
        let snapshot = self.snapshot.load();
        let caller = snapshot.keys.get(&hash).ok_or_else(|| refused("the API key is not known"))?;
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
        self.snapshot.load().catalogues.get(&caller.tenant()).cloned().unwrap_or_default()
    }

    /// The snapshot in use: every tenant's catalogue at one revision.
    pub fn snapshot(&self) -> Arc<RegistrySnapshot> {
        self.snapshot.load_full()
    }

    /// The revision of the snapshot in use.
    pub fn revision(&self) -> u64 {
        self.snapshot.load().state.revision
    }

    /// Tells when another snapshot is in use, by its revision.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Whether nobody was ever here.
    pub fn is_empty(&self) -> bool {
        self.snapshot.load().state.records.is_empty()
    }

    /// Makes a tenant, or returns the one that already bears the name.
    pub async fn create_tenant(&self, name: &str) -> Result<TenantId> {
        self.change(|snapshot| {
            let tenants = || {
                snapshot.state.records.iter().filter_map(|record| match &record.body {
                    RecordBody::Tenant(name) => Some((record.tenant, name)),
                    _ => None,
                })
            };
            if let Some((tenant, _)) = tenants().find(|(_, taken)| *taken == name) {
                return Ok((tenant, Vec::new()));
            }
            let tenant = TenantId(tenants().map(|(tenant, _)| tenant.0 + 1).max().unwrap_or(1));
            Ok((tenant, vec![RegistryRecord { tenant, body: RecordBody::Tenant(name.to_owned()) }]))
        })
        .await
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
        let record = RegistryRecord { tenant, body: RecordBody::ApiKey(key) };
        self.change(|_| Ok(((), vec![record.clone()]))).await
    }

    /// Decides a change against the newest snapshot and puts it, again if another change came first. `decide` returns
    /// its answer and the records to put; none = nothing changes.
    pub async fn change<T>(
        &self,
        mut decide: impl FnMut(&RegistrySnapshot) -> Result<(T, Vec<RegistryRecord>)>,
    ) -> Result<T> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let snapshot = self.snapshot.load_full();
            let (answer, records) = decide(&snapshot)?;
            if records.is_empty() {
                return Ok(answer);
            }
            match self.store.change(snapshot.state.revision, records).await {
                Err(StoreError::Conflict { .. }) => self.refresh().await?,
                Err(error) => return Err(error.into()),
                Ok(_) => return self.refresh().await.map(|()| answer),
            }
        }
        Err(Error::unavailable("the registry is being changed by too many at once; try again"))
    }

    /// Reads the store again and swaps the snapshot, unless a newer one is there already.
    pub async fn refresh(&self) -> Result<()> {
        let fresh = Arc::new(RegistrySnapshot::new(self.store.load().await?));
        self.snapshot.rcu(|current| {
            if fresh.state.revision > current.state.revision { fresh.clone() } else { current.clone() }
        });
        self.revision.send_replace(self.revision());
        Ok(())
    }
}

impl RegistrySnapshot {
    fn new(state: RegistryState) -> Self {
        let mut tenants: HashMap<TenantId, (Arc<str>, Vec<&RecordBody>)> = HashMap::new();
        for record in &state.records {
            let (name, bodies) = tenants.entry(record.tenant).or_insert_with(|| ("".into(), Vec::new()));
            match &record.body {
                RecordBody::Tenant(tenant) => *name = tenant.as_str().into(),
                body => bodies.push(body),
            }
        }
        let mut keys = HashMap::new();
        let mut catalogues = HashMap::new();
        for (tenant, (name, bodies)) in tenants {
            for body in &bodies {
                if let RecordBody::ApiKey(key) = body {
                    keys.insert(key.hash, Caller::new(tenant, name.clone(), Arc::new(key.clone())));
                }
            }
            catalogues.insert(tenant, Arc::new(Catalogue::new(&bodies)));
        }
        Self { state, keys, catalogues }
    }

    /// One tenant's catalogue.
    pub fn catalogue(&self, tenant: TenantId) -> Arc<Catalogue> {
        self.catalogues.get(&tenant).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Catalogues without a store.

    use super::Catalogue;
    use crate::{
        feature::{
            Dtype, EntityTypeId, FeatureId, GroupId, Timestamp,
            definition::{Describing, EntityType, Feature, Group, VersionStatus},
        },
        store::RecordBody,
    };

    /// A feature as `(name, group, entity type, dtype, describing)`; types have one key of their own name, or those
    /// that their name lists with `__` between them.
    pub(crate) type Definition<'a> = (&'a str, &'a str, &'a str, Dtype, Describing);

    pub(crate) fn catalogue(definitions: &[Definition<'_>]) -> Catalogue {
        let (mut types, mut groups): (Vec<EntityType>, Vec<(Group, u32)>) = (Vec::new(), Vec::new());
        let mut features = Vec::new();
        for (name, group, of_type, dtype, describing) in definitions {
            if !types.iter().any(|known| known.name == *of_type) {
                let keys = of_type.split("__").map(str::to_owned).collect();
                types.push(EntityType {
                    id: EntityTypeId(types.len() as u32 + 1),
                    name: (*of_type).into(),
                    keys,
                });
            }
            let entity_type = types.iter().find(|known| known.name == *of_type).unwrap();
            if !groups.iter().any(|(known, _)| known.name == *group) {
                let id = GroupId(groups.len() as u32 + 1);
                groups.push((Group { id, name: (*group).into(), entity_type: entity_type.id }, 0));
            }
            let (of_group, columns) = groups.iter_mut().find(|(known, _)| known.name == *group).unwrap();
            features.push(RecordBody::Feature(Box::new(Feature {
                id: FeatureId(features.len() as u64 + 1),
                name: (*name).into(),
                version: 1,
                group: of_group.id,
                group_name: (*group).into(),
                entity_type: entity_type.id,
                entity_type_name: (*of_type).into(),
                dtype: *dtype,
                column: *columns,
                founding: true,
                status: VersionStatus::Active,
                describing: describing.clone(),
                allow_non_finite: false,
                window: None,
                revision: 1,
                created_at: Timestamp::from_stored(0),
            })));
            *columns += 1;
        }
        let types = types.into_iter().map(RecordBody::EntityType);
        let groups = groups.into_iter().map(|(group, _)| RecordBody::Group(group));
        let records: Vec<RecordBody> = types.chain(groups).chain(features).collect();
        Catalogue::new(&records.iter().collect::<Vec<_>>())
    }
}
