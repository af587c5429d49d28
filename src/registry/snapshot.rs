//! Everything registered at one head, for all tenants, and how the next head's is made of it.

use super::catalogue::{Catalogue, Map};
use crate::{
    access::Caller,
    feature::{RowId, TenantId},
    store::{RecordBody, RegistryPage, Revision, log::TenantRef},
};
use hashbrown::{HashMap, HashSet};
use rpds::VectorSync;
use std::sync::Arc;

/// Everything registered at one head. Its maps are persistent: a change costs what its own tenant's records cost.
#[derive(Clone, Default)]
pub struct RegistrySnapshot {
    head: Revision,
    tenants: Map<TenantId, Arc<Tenant>>,
    tenant_names: Map<Arc<str>, TenantId>,
    /// By hash of the key's text.
    keys: Map<[u8; 32], Caller>,
    /// Groups of windowed features of all tenants, in the order of their registration.
    windowed_groups: VectorSync<(TenantId, RowId)>,
    /// How often history was lost before.
    histories_lost: u64,
}

/// What one tenant has registered.
#[derive(Clone, Default)]
pub struct Tenant {
    name: Arc<str>,
    revision: Revision,
    catalogue: Arc<Catalogue>,
}

impl RegistrySnapshot {
    /// The next snapshot: tenants without changes keep their catalogues, plans included.
    pub(super) fn with(&self, page: RegistryPage) -> Self {
        let mut next = Self { head: page.head, ..self.clone() };
        let mut windowed = Vec::new();
        let mut by_tenant: HashMap<TenantId, Vec<RecordBody>> = HashMap::new();
        for record in page.records {
            if let RecordBody::Feature(feature) = &record.body
                && feature.window.is_some()
            {
                windowed.push((record.tenant, feature.group));
            }
            by_tenant.entry(record.tenant).or_default().push(record.body);
        }
        let mut seen = HashSet::new();
        for (tenant, group) in windowed {
            if self.catalogue(tenant).group_by_id(group).is_none() && seen.insert(group) {
                next.windowed_groups.push_back_mut((tenant, group));
            }
        }
        for (id, revision) in page.tenants {
            next.put(id, revision, by_tenant.remove(&id).unwrap_or_default());
        }
        next
    }

    fn put(&mut self, id: TenantId, revision: Revision, records: Vec<RecordBody>) {
        let mut tenant = self.tenants.get(&id).map_or_else(Tenant::default, |known| Tenant::clone(known));
        tenant.revision = revision;
        let (mut keys, mut definitions) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                RecordBody::Tenant(name) => {
                    tenant.name = name.into();
                    self.tenant_names.insert_mut(tenant.name.clone(), id);
                }
                RecordBody::ApiKey(key) => keys.push(key),
                definition => definitions.push(definition),
            }
        }
        for key in keys {
            self.keys.insert_mut(key.hash, Caller::new(id, tenant.name.clone(), Arc::new(key)));
        }
        if !definitions.is_empty() {
            tenant.catalogue = Arc::new(tenant.catalogue.with(definitions));
        }
        self.tenants.insert_mut(id, Arc::new(tenant));
    }

    /// What is registered after this one's history was lost: nothing of it is kept.
    pub(super) fn anew(&self, page: RegistryPage) -> Self {
        Self { histories_lost: self.histories_lost + 1, ..Self::default() }.with(page)
    }

    pub fn head(&self) -> Revision {
        self.head
    }

    /// A tenant's revision.
    pub fn revision(&self, tenant: TenantId) -> Revision {
        self.tenants.get(&tenant).map_or(Revision::NONE, |known| known.revision)
    }

    /// One tenant's catalogue.
    pub fn catalogue(&self, tenant: TenantId) -> Arc<Catalogue> {
        self.tenants.get(&tenant).map(|known| known.catalogue.clone()).unwrap_or_default()
    }

    pub fn tenant_by_name(&self, name: &str) -> Option<TenantId> {
        self.tenant_names.get(name).copied()
    }

    /// The tenant that a record of the event log names.
    pub fn tenant_of(&self, named: &TenantRef) -> Option<TenantId> {
        match named {
            TenantRef::Id(id) => Some(*id),
            TenantRef::Name(name) => self.tenant_by_name(name),
        }
    }

    /// Whether any tenant has a key.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(super) fn caller(&self, key_hash: &[u8; 32]) -> Option<&Caller> {
        self.keys.get(key_hash)
    }

    /// Groups of windowed features of all tenants that were registered since `seen`, in the order of their registration.
    pub fn windowed_groups_since(&self, seen: WindowedGroupsSeen) -> impl Iterator<Item = (TenantId, RowId)> {
        let from = if seen.histories_lost == self.histories_lost { seen.groups } else { 0 };
        (from..self.windowed_groups.len()).filter_map(|at| self.windowed_groups.get(at).copied())
    }

    /// All groups of windowed features, as seen.
    pub fn windowed_groups_seen(&self) -> WindowedGroupsSeen {
        WindowedGroupsSeen { groups: self.windowed_groups.len(), histories_lost: self.histories_lost }
    }
}

/// Which groups of windowed features somebody has looked at; by default none.
#[derive(Clone, Copy, Debug, Default)]
pub struct WindowedGroupsSeen {
    groups: usize,
    histories_lost: u64,
}
