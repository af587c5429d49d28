//! Feature sets: a model's list of features under one name, with the versions pinned.

use super::{Service, catalogue::Page, page::PageRequest};
use crate::{
    access::{Caller, Scope},
    error::{Error, Result},
    feature::{
        definition::{FeatureSet, PinnedFeature},
        name,
    },
    registry::Catalogue,
    store::RecordBody,
};
use std::sync::Arc;

/// A feature set as it is shown.
#[derive(Clone, Debug)]
pub struct SetEntry {
    pub set: Arc<FeatureSet>,
    /// Full references, by position.
    pub references: Vec<String>,
}

impl Service {
    /// Pins features under a name. Other content than the newest version makes the next one; `set@1` never changes.
    pub async fn put_feature_set(
        &self,
        caller: &Caller,
        name: &str,
        features: &[String],
    ) -> Result<SetEntry> {
        caller.require(Scope::Register)?;
        name::check(name).map_err(|why| Error::invalid("name", why))?;
        let limit = self.limits.features_max;
        if features.is_empty() || features.len() > limit {
            let message = format!("a feature set has 1 to {limit} features, not {}", features.len());
            return Err(Error::invalid("features", message));
        }
        let created_at = self.clock.now();
        self.registry
            .change(caller.tenant(), |snapshot| {
                let catalogue = snapshot.catalogue(caller.tenant());
                let plan = catalogue.plan(features)?;
                let pinned = plan
                    .features
                    .iter()
                    .map(|feature| PinnedFeature { name: feature.name.clone(), feature: feature.feature.id });
                let pinned: Vec<PinnedFeature> = pinned.collect();
                let newest = catalogue.feature_set(name).ok();
                if let Some(newest) = newest.filter(|newest| newest.features == pinned) {
                    return Ok((SetEntry::new(&catalogue, newest.clone()), Vec::new()));
                }
                let version = newest.map_or(1, |newest| newest.version + 1);
                let set = FeatureSet { name: name.to_owned(), version, features: pinned, created_at };
                let record = RecordBody::FeatureSet(set.clone());
                Ok((SetEntry::new(&catalogue, Arc::new(set)), vec![record]))
            })
            .await
    }

    /// `fraud` (newest) or `fraud@3`.
    pub fn get_feature_set(&self, caller: &Caller, name: &str) -> Result<SetEntry> {
        caller.require(Scope::Read)?;
        let catalogue = self.registry.catalogue(caller);
        let set = catalogue.feature_set(name).map_err(|error| error.at("name"))?;
        Ok(SetEntry::new(&catalogue, set.clone()))
    }

    /// The newest version of every set, by name.
    pub fn list_feature_sets(&self, caller: &Caller, page: &PageRequest) -> Result<Page<SetEntry>> {
        caller.require(Scope::Read)?;
        let pages = page.open(caller, &["feature_sets"])?;
        let catalogue = self.registry.catalogue(caller);
        let mut sets: Vec<&Arc<FeatureSet>> = catalogue
            .feature_sets()
            .filter(|set| pages.after.as_ref().is_none_or(|after| set.name.as_bytes() > after.as_slice()))
            .take(pages.size + 1)
            .collect();
        let next_page_token = pages.cut(&mut sets, |set| set.name.as_bytes());
        let entries = sets.into_iter().map(|set| SetEntry::new(&catalogue, set.clone())).collect();
        Ok(Page { entries, next_page_token })
    }
}

impl SetEntry {
    fn new(catalogue: &Catalogue, set: Arc<FeatureSet>) -> Self {
        let reference = |pinned: &PinnedFeature| {
            let feature =
                catalogue.feature_by_id(pinned.feature).expect("a set pins features of its catalogue");
            feature.full_ref().to_string()
        };
        Self { references: set.features.iter().map(reference).collect(), set }
    }
}
