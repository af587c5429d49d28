//! Feature sets in both encodings.

use crate::{
    error::Result,
    feature::json::JsonReader,
    serving::{catalogue::Page, page::PageRequest, sets::SetEntry},
    wire::{
        json::{JsonWriter, read_strings},
        proto,
        query::Query,
        value::timestamp_to,
    },
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

/// `{"features": ["country", …]}`
pub fn read_set(body: &[u8]) -> Result<Vec<String>> {
    let mut features = Vec::new();
    JsonReader::read(body, |reader| {
        reader.object(|reader, key| {
            match key {
                "features" => features = read_strings(reader)?,
                _ => return reader.unknown_member(&["features"]),
            }
            Ok(())
        })
    })?;
    Ok(features)
}

/// The query of a list that has no filters.
pub fn read_page(query: Option<&str>) -> Result<PageRequest> {
    let mut query = Query::parse(query)?;
    let page = query.take_page()?;
    query.finish()?;
    Ok(page)
}

pub fn write_set(entry: &SetEntry) -> Vec<u8> {
    let mut out = Vec::new();
    write_members(&mut JsonWriter::new(&mut out), entry);
    out
}

pub fn write_sets(page: &Page<SetEntry>) -> Vec<u8> {
    let mut out = Vec::new();
    JsonWriter::new(&mut out).object(|w| {
        w.key("feature_sets").array(|w| page.entries.iter().for_each(|entry| write_members(w, entry)));
        w.key("next_page_token").string(&page.next_page_token);
    });
    out
}

fn write_members(w: &mut JsonWriter<'_>, entry: &SetEntry) {
    w.object(|w| {
        w.key("name").string(&entry.set.name);
        w.key("version").uint(entry.set.version.into());
        w.key("ref").string(&format!("{}@{}", entry.set.name, entry.set.version));
        w.key("features").strings(&entry.references);
        w.key("names").array(|w| entry.set.features.iter().for_each(|pinned| w.string(&pinned.name)));
        w.key("created_at").timestamp(entry.set.created_at);
    });
}
