//! Registering features: all or nothing, and applying the same twice changes nothing.

mod check;
mod draft;

use self::draft::Draft;
use super::{Service, catalogue::CatalogueEntry};
use crate::{
    access::{Caller, Scope},
    error::{Error, Kind, Result},
    feature::{
        definition::{Feature, FeatureDefinition, VersionStatus},
        name::FeatureRef,
    },
    store::RecordBody,
};
use std::sync::Arc;

/// What to register.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    pub entity_types: Vec<EntityTypeDeclaration>,
    pub features: Vec<FeatureDefinition>,
    /// Judges and answers as if, and changes nothing.
    pub dry_run: bool,
}

/// An entity type as it is declared.
#[derive(Clone, Debug)]
pub struct EntityTypeDeclaration {
    pub name: String,
    /// In order; empty = one key of the type's own name.
    pub keys: Vec<String>,
}

/// What a registration did.
#[derive(Clone, Debug)]
pub struct Registered {
    /// In the order of the request.
    pub features: Vec<(CatalogueEntry, Outcome)>,
    pub entity_types_created: Vec<String>,
    /// The tenant's revision after the call.
    pub revision: u64,
}

/// What a registration did to a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Changed,
    Unchanged,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Changed => "changed",
            Outcome::Unchanged => "unchanged",
        }
    }
}

impl Service {
    /// Registers features and the entity types they need, or nothing of it.
    pub async fn register_features(&self, caller: &Caller, registration: Registration) -> Result<Registered> {
        caller.require(Scope::Register)?;
        if registration.features.is_empty() && registration.entity_types.is_empty() {
            return Err(Error::invalid(
                "features",
                "there is nothing to register; send at least one feature",
            ));
        }
        let now = self.clock.now();
        let decided = self.registry.change(caller.tenant(), |snapshot| {
            let draft = Draft::new(snapshot, caller.tenant(), &self.limits, now).decide(&registration)?;
            let records = if registration.dry_run { Vec::new() } else { draft.records() };
            Ok((draft, records))
        });
        let draft = decided.await?;
        let entries = self.entries(draft.features()).await?;
        Ok(draft.registered(entries))
    }

    /// Makes a version (`name@2`) active, or deprecates it.
    pub async fn set_feature_status(
        &self,
        caller: &Caller,
        name: &str,
        status: VersionStatus,
    ) -> Result<CatalogueEntry> {
        caller.require(Scope::Register)?;
        if status == VersionStatus::Draft {
            let message = "a version cannot become a draft again; use active or deprecated";
            return Err(Error::invalid("status", message));
        }
        if FeatureRef::parse(name).is_ok_and(|reference| reference.version.is_none()) {
            let message = format!("say which version, such as {name}@1");
            return Err(Error::invalid("feature", message));
        }
        let change = self.registry.change(caller.tenant(), |snapshot| {
            let catalogue = snapshot.catalogue(caller.tenant());
            let feature = catalogue.feature(name).map_err(|error| error.at("feature"))?;
            if feature.status == status {
                return Ok((feature.clone(), Vec::new()));
            }
            let feature = Feature {
                status,
                revision: snapshot.revision(caller.tenant()).number() + 1,
                ..Feature::clone(feature)
            };
            let body = RecordBody::Feature(Box::new(feature.clone()));
            Ok((Arc::new(feature), vec![body]))
        });
        let mut entries = self.entries(vec![change.await?]).await?;
        Ok(entries.remove(0))
    }
}

/// A registration that contradicts what is there.
fn conflict(field: impl Into<String>, message: impl Into<String>) -> Error {
    Error::new(Kind::AlreadyExists, message).at(field)
}
