//! The catalogue's records, in the order they were first put.

use super::{EmbeddedStore, engine::corrupted};
use crate::store::{RecordBody, RegistryRecord, RegistryState, RegistryStore, Result, StoreError};
use async_trait::async_trait;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

/// Place to record.
const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("registry");
/// A record's identity to its place.
const PLACES: TableDefinition<&[u8], u64> = TableDefinition::new("registry_places");
const REVISION: TableDefinition<(), u64> = TableDefinition::new("registry_revision");

pub fn prepare(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(RECORDS)?;
    txn.open_table(PLACES)?;
    txn.open_table(REVISION)?;
    Ok(())
}

#[async_trait]
impl RegistryStore for EmbeddedStore {
    async fn load(&self) -> Result<RegistryState> {
        self.blocking(|shared| {
            shared.manifest.read(|txn| {
                let revision = txn.open_table(REVISION)?.get(())?.map_or(0, |revision| revision.value());
                let records = txn.open_table(RECORDS)?;
                let records = records.iter()?.map(|entry| decode(entry?.1.value()));
                Ok(RegistryState { revision, records: records.collect::<Result<_, _>>()? })
            })
        })
        .await
    }

    async fn change(&self, expected: u64, records: Vec<RegistryRecord>) -> Result<u64> {
        self.blocking(move |shared| {
            let changed = shared.manifest.write(|txn| {
                let mut revision = txn.open_table(REVISION)?;
                let found = revision.get(())?.map_or(0, |revision| revision.value());
                if found != expected {
                    return Ok(Err(found));
                }
                put(txn, &records)?;
                revision.insert((), expected + 1)?;
                Ok(Ok(expected + 1))
            })?;
            changed.map_err(|found| StoreError::Conflict { what: "the registry", found, expected })
        })
        .await
    }
}

fn put(txn: &WriteTransaction, records: &[RegistryRecord]) -> Result<(), redb::Error> {
    let mut places = txn.open_table(PLACES)?;
    let mut stored = txn.open_table(RECORDS)?;
    for record in records {
        let identity = identity(record);
        let known = places.get(identity.as_slice())?.map(|place| place.value());
        let place = match known {
            Some(place) => place,
            None => {
                let place = stored.last()?.map_or(0, |(last, _)| last.value() + 1);
                places.insert(identity.as_slice(), place)?;
                place
            }
        };
        // JSON, so that a later version of a record may add fields.
        let bytes = serde_json::to_vec(record).map_err(corrupted)?;
        stored.insert(place, bytes.as_slice())?;
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Result<RegistryRecord, redb::Error> {
    serde_json::from_slice(bytes).map_err(|error| corrupted(format!("a record of the registry: {error}")))
}

/// Tenant, kind and what names the record within the kind.
fn identity(record: &RegistryRecord) -> Vec<u8> {
    let mut out = record.tenant.0.to_be_bytes().to_vec();
    match &record.body {
        RecordBody::Tenant(_) => out.push(0),
        RecordBody::ApiKey(key) => {
            out.push(1);
            out.extend_from_slice(key.id.as_bytes());
        }
        RecordBody::EntityType(entity_type) => {
            out.push(2);
            out.extend_from_slice(&entity_type.id.0.to_be_bytes());
        }
        RecordBody::Group(group) => {
            out.push(3);
            out.extend_from_slice(&group.id.0.to_be_bytes());
        }
        RecordBody::Feature(feature) => {
            out.push(4);
            out.extend_from_slice(&feature.id.0.to_be_bytes());
        }
        RecordBody::FeatureSet(set) => {
            out.push(5);
            out.extend_from_slice(&set.version.to_be_bytes());
            out.extend_from_slice(set.name.as_bytes());
        }
    }
    out
}
