//! Who calls: API keys, tenants and scopes.
//!
//! Only [`Registry::authenticate`](crate::registry) makes a [`Caller`], and every use case takes one: a call without a
//! tenant has no spelling.

mod key;

pub use key::{ApiKey, ApiKeySecret};

use crate::{
    error::{Error, Kind, Result},
    feature::TenantId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Online answers, training sets, history, the catalogue.
    Read,
    /// Rows and cache invalidation.
    Write,
    /// Features, groups and sets.
    Register,
    /// Keys of its own tenant.
    Admin,
    /// Tenants, and `/metrics` from afar.
    Operator,
}

impl Scope {
    pub const ALL: [Scope; 5] = [Scope::Read, Scope::Write, Scope::Register, Scope::Admin, Scope::Operator];

    pub fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Register => "register",
            Scope::Admin => "admin",
            Scope::Operator => "operator",
        }
    }
}

/// An authenticated caller. The tenant comes from the key alone.
#[derive(Clone, Debug)]
pub struct Caller {
    tenant: TenantId,
    tenant_name: Arc<str>,
    key: Arc<ApiKey>,
}

impl Caller {
    pub(crate) fn new(tenant: TenantId, tenant_name: Arc<str>, key: Arc<ApiKey>) -> Self {
        Self { tenant, tenant_name, key }
    }

    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub fn tenant_name(&self) -> &str {
        &self.tenant_name
    }

    pub fn key_id(&self) -> &str {
        &self.key.id
    }

    pub(crate) fn key(&self) -> &ApiKey {
        &self.key
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.key.scopes.contains(&scope)
    }

    /// Refuses callers whose key lacks `scope`.
    pub fn require(&self, scope: Scope) -> Result<()> {
        if self.may(scope) {
            return Ok(());
        }
        let name = scope.name();
        Err(Error::new(
            Kind::PermissionDenied,
            format!("this key lacks the scope {name:?}; use a key that has it"),
        ))
    }
}
