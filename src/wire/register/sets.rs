//! Feature sets, as the contract has them.

use crate::{
    serving::{catalogue::Page, sets::SetEntry},
    wire::{proto, value::timestamp_to},
};

pub fn set_to(entry: &SetEntry) -> proto::FeatureSet {
    proto::FeatureSet {
        name: entry.set.name.clone(),
        version: entry.set.version,
        features: entry.references.clone(),
        created_at: Some(timestamp_to(entry.set.created_at)),
        names: entry.set.features.iter().map(|pinned| pinned.name.clone()).collect(),
    }
}

pub fn sets_to(page: Page<SetEntry>) -> proto::ListFeatureSetsResponse {
    proto::ListFeatureSetsResponse {
        feature_sets: page.entries.iter().map(set_to).collect(),
        next_page_token: page.next_page_token,
    }
}
