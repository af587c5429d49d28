//! What is registered: one feature, and the list of all.

use super::{Service, page::PageRequest};
use crate::{
    access::{Caller, Scope},
    error::Result,
    feature::{RowId, Timestamp, definition::Feature},
};
use std::sync::Arc;

/// A feature as the catalogue shows it.
#[derive(Clone, Debug)]
pub struct CatalogueEntry {
    pub feature: Arc<Feature>,
    /// When a row of its group was last written; None = never.
    pub last_written_at: Option<Timestamp>,
}

/// Which features to list; empty parts match everything, the others are joined with AND.
#[derive(Clone, Debug, Default)]
pub struct FeatureFilter {
    pub entity_type: String,
    pub group: String,
    /// `key` or `key=value`.
    pub tag: String,
    pub name_prefix: String,
}

/// A page of a list, and the token of the next one; empty = this was the last.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub entries: Vec<T>,
    pub next_page_token: String,
}

impl Service {
    /// One feature by name, `group.name`, or either with `@version`.
    pub async fn get_feature(&self, caller: &Caller, name: &str) -> Result<CatalogueEntry> {
        caller.require(Scope::Read)?;
        let catalogue = self.registry.catalogue(caller);
        let feature = catalogue.feature(name).map_err(|error| error.at("feature"))?;
        let mut entries = self.entries(vec![feature.clone()]).await?;
        Ok(entries.remove(0))
    }

    /// Every version of every feature that passes the filter, ordered by group, name and version.
    pub async fn list_features(
        &self,
        caller: &Caller,
        filter: &FeatureFilter,
        page: &PageRequest,
    ) -> Result<Page<CatalogueEntry>> {
        caller.require(Scope::Read)?;
        let question = ["features", &filter.entity_type, &filter.group, &filter.tag, &filter.name_prefix];
        let pages = page.open(caller, &question)?;
        let catalogue = self.registry.catalogue(caller);
        let mut features: Vec<&Arc<Feature>> = catalogue
            .features()
            .filter(|feature| filter.passes(feature))
            .filter(|feature| pages.after.as_ref().is_none_or(|after| position(feature) > *after))
            .collect();
        features.sort_by_cached_key(|feature| position(feature));
        let next_page_token = pages.cut(&mut features, |feature| position(feature));
        let entries = self.entries(features.into_iter().cloned().collect()).await?;
        Ok(Page { entries, next_page_token })
    }

    pub(super) async fn entries(&self, features: Vec<Arc<Feature>>) -> Result<Vec<CatalogueEntry>> {
        let groups: Vec<RowId> = features.iter().map(|feature| feature.group).collect();
        let written = self.store.last_written(&groups).await?;
        let entry = |(feature, last_written_at)| CatalogueEntry { feature, last_written_at };
        Ok(features.into_iter().zip(written).map(entry).collect())
    }
}

impl FeatureFilter {
    fn passes(&self, feature: &Feature) -> bool {
        let is = |wanted: &str, given: &str| wanted.is_empty() || wanted == given;
        let tagged = || match self.tag.split_once('=') {
            Some((key, value)) => feature.describing.tags.get(key).is_some_and(|given| given == value),
            None => feature.describing.tags.contains_key(&self.tag),
        };
        is(&self.entity_type, &feature.entity_type_name)
            && is(&self.group, &feature.group_name)
            && feature.name.starts_with(&self.name_prefix)
            && (self.tag.is_empty() || tagged())
    }
}

/// Bytes in the order of the list: names hold no byte below `0`.
fn position(feature: &Feature) -> Vec<u8> {
    let mut position = Vec::with_capacity(feature.group_name.len() + feature.name.len() + 6);
    position.extend_from_slice(feature.group_name.as_bytes());
    position.push(0);
    position.extend_from_slice(feature.name.as_bytes());
    position.push(0);
    position.extend_from_slice(&feature.version.to_be_bytes());
    position
}
