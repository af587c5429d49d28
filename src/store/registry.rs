//! What is registered: records of all tenants, put in transactions under one revision.

use super::Result;
use crate::{
    access::ApiKey,
    feature::{
        TenantId,
        definition::{EntityType, Feature, FeatureSet, Group},
    },
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The catalogue of all tenants: small, loaded whole, changed in transactions.
#[async_trait]
pub trait RegistryStore: Send + Sync + 'static {
    /// Everything registered, and the revision it stands at.
    async fn load(&self) -> Result<RegistryState>;

    /// Puts records in one transaction if the revision is still `expected`, and returns the new one. Otherwise
    /// [`StoreError::Conflict`](super::StoreError): load again and decide again.
    async fn change(&self, expected: u64, records: Vec<RegistryRecord>) -> Result<u64>;
}

/// Everything registered. Records stand in the order they were first put.
#[derive(Clone, Debug, Default)]
pub struct RegistryState {
    pub revision: u64,
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
    /// Identity: the tenant. Holds its name.
    Tenant(String),
    /// Identity: `id`.
    ApiKey(ApiKey),
    /// Identity: `id`.
    EntityType(EntityType),
    /// Identity: `id`.
    Group(Group),
    /// Identity: `id`.
    Feature(Box<Feature>),
    /// Identity: name and version.
    FeatureSet(FeatureSet),
}
