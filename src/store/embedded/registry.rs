//! The catalogue's records, in the order they were first put, and the history of their changes.

use super::{EmbeddedStore, engine::corrupted};
use crate::{
    feature::TenantId,
    store::{
        RecordBody, RegistryChanges, RegistryPage, RegistryRecord, RegistryStore, Result, Revision,
        StoreError,
    },
};
use async_trait::async_trait;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::sync::watch;

/// Place to record.
const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("registry");
/// A record's identity to its place and its tenant.
const IDENTITIES: TableDefinition<&[u8], (u64, u64)> = TableDefinition::new("registry_identities");
type Change = (u64, u64, [u8; 16]);
/// Every change: its number among all to its tenant, its number within the tenant, and its proof.
const CHANGES: TableDefinition<u64, Change> = TableDefinition::new("registry_changes");
/// (number of the change, place of a record that it put).
const CHANGED: TableDefinition<(u64, u64), ()> = TableDefinition::new("registry_changed");
/// A tenant to the number of its last change.
const TENANTS: TableDefinition<u64, u64> = TableDefinition::new("registry_tenants");

/// Makes the tables.
pub fn prepare(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(RECORDS)?;
    txn.open_table(IDENTITIES)?;
    txn.open_table(CHANGES)?;
    txn.open_table(CHANGED)?;
    txn.open_table(TENANTS)?;
    Ok(())
}

/// Brings the tables of format 2 to those of format 3: they had one revision for all tenants, and no history.
pub fn upgrade(txn: &WriteTransaction) -> Result<(), redb::Error> {
    /// A record's identity to its place.
    const PLACES: TableDefinition<&[u8], u64> = TableDefinition::new("registry_places");
    const REVISION: TableDefinition<(), u64> = TableDefinition::new("registry_revision");
    prepare(txn)?;
    let revision = txn.open_table(REVISION)?.get(())?.map_or(0, |revision| revision.value());
    txn.delete_table(REVISION)?;
    txn.delete_table(PLACES)?;
    let mut of_tenant: BTreeMap<TenantId, Vec<u64>> = BTreeMap::new();
    let mut identities = txn.open_table(IDENTITIES)?;
    for entry in txn.open_table(RECORDS)?.iter()? {
        let (place, bytes) = entry?;
        let record = decode(bytes.value())?;
        let identity = identity(record.tenant, &record.body);
        identities.insert(identity.as_slice(), (place.value(), id_of(record.tenant)))?;
        of_tenant.entry(record.tenant).or_default().push(place.value());
    }
    // One change for each tenant. Its number is not below the one that its features were changed at.
    let mut head = Revision::NONE;
    for (tenant, places) in of_tenant {
        head = head.next();
        note(txn, head, tenant, revision, places)?;
    }
    Ok(())
}

#[async_trait]
impl RegistryStore for EmbeddedStore {
    async fn changes_since(&self, seen: Revision) -> Result<RegistryChanges> {
        self.blocking(move |shared| shared.manifest.read(|txn| changes_since(txn, seen))).await
    }

    async fn change(
        &self,
        tenant: TenantId,
        expected: Revision,
        records: Vec<RecordBody>,
    ) -> Result<Revision> {
        self.blocking(move |shared| {
            let changed = shared.manifest.write(|txn| {
                let found = revision_of(&txn.open_table(TENANTS)?, &txn.open_table(CHANGES)?, tenant)?;
                if found != expected {
                    return Ok(Err(format!(
                        "the tenant's registry is at revision {}, not {}",
                        found.number(),
                        expected.number()
                    )));
                }
                let places = match put(txn, tenant, records)? {
                    Ok(places) => places,
                    Err(taken) => return Ok(Err(taken)),
                };
                let head = last(&txn.open_table(CHANGES)?)?.next();
                note(txn, head, tenant, found.number() + 1, places)?;
                Ok(Ok((head, Revision::from_stored(found.number() + 1, head.proof()))))
            })?;
            let (head, revision) = changed.map_err(|why| StoreError::Conflict { why })?;
            // Of two changes that end at once the later may come here first.
            shared.registry_head.send_if_modified(|known| {
                let is_newer = known.number() < head.number();
                if is_newer {
                    *known = head;
                }
                is_newer
            });
            Ok(revision)
        })
        .await
    }

    fn head(&self) -> watch::Receiver<Revision> {
        self.shared.registry_head.subscribe()
    }

    fn hears_all(&self) -> bool {
        true
    }

    async fn tenant_at(&self, tenant: TenantId) -> Result<Revision> {
        self.blocking(move |shared| {
            shared
                .manifest
                .read(|txn| revision_of(&txn.open_table(TENANTS)?, &txn.open_table(CHANGES)?, tenant))
        })
        .await
    }
}

/// The newest head.
pub fn head(txn: &ReadTransaction) -> Result<Revision, redb::Error> {
    last(&txn.open_table(CHANGES)?)
}

fn last(changes: &impl ReadableTable<u64, Change>) -> Result<Revision, redb::Error> {
    Ok(changes.last()?.map_or(Revision::NONE, |(number, change)| {
        let (_, _, proof) = change.value();
        Revision::from_stored(number.value(), proof)
    }))
}

fn revision_of(
    tenants: &impl ReadableTable<u64, u64>,
    changes: &impl ReadableTable<u64, Change>,
    tenant: TenantId,
) -> Result<Revision, redb::Error> {
    let Some(last) = tenants.get(id_of(tenant))? else { return Ok(Revision::NONE) };
    let change =
        changes.get(last.value())?.ok_or_else(|| corrupted("the last change of a tenant is not there"))?;
    let (_, number, proof) = change.value();
    Ok(Revision::from_stored(number, proof))
}

fn changes_since(txn: &ReadTransaction, seen: Revision) -> Result<RegistryChanges, redb::Error> {
    let changes = txn.open_table(CHANGES)?;
    let is_known = match changes.get(seen.number())? {
        Some(change) => change.value().2 == seen.proof(),
        None => seen == Revision::NONE,
    };
    if !is_known {
        return Ok(RegistryChanges::HistoryLost);
    }
    let mut tenants = BTreeMap::new();
    for change in changes.range(seen.number() + 1..)? {
        let (tenant, number, proof) = change?.1.value();
        tenants.insert(TenantId::from_stored(tenant), Revision::from_stored(number, proof));
    }
    let places: BTreeSet<u64> = txn
        .open_table(CHANGED)?
        .range((seen.number() + 1, 0)..)?
        .map(|entry| Ok(entry?.0.value().1))
        .collect::<Result<_, redb::Error>>()?;
    let stored = txn.open_table(RECORDS)?;
    let record = |place| {
        let bytes = stored.get(place)?.ok_or_else(|| corrupted("a record of the registry is not there"))?;
        decode(bytes.value())
    };
    Ok(RegistryChanges::Since(RegistryPage {
        head: last(&changes)?,
        tenants: tenants.into_iter().collect(),
        records: places.into_iter().map(record).collect::<Result<_, redb::Error>>()?,
    }))
}

/// Puts records and returns their places; nothing is put where an identity is another tenant's.
fn put(
    txn: &WriteTransaction,
    tenant: TenantId,
    records: Vec<RecordBody>,
) -> Result<Result<Vec<u64>, String>, redb::Error> {
    let mut identities = txn.open_table(IDENTITIES)?;
    let mut stored = txn.open_table(RECORDS)?;
    let mut next = stored.last()?.map_or(0, |(last, _)| last.value() + 1);
    let mut new = HashMap::new();
    let mut places = Vec::with_capacity(records.len());
    for body in &records {
        let identity = identity(tenant, body);
        let known = identities.get(identity.as_slice())?.map(|known| known.value());
        places.push(match known {
            Some((_, owner)) if owner != id_of(tenant) => {
                return Ok(Err("an id or name of this change is another tenant's".to_owned()));
            }
            Some((place, _)) => place,
            None => *new.entry(identity).or_insert_with(|| {
                next += 1;
                next - 1
            }),
        });
    }
    for (identity, place) in new {
        identities.insert(identity.as_slice(), (place, id_of(tenant)))?;
    }
    for (body, place) in records.into_iter().zip(&places) {
        // JSON, so that a later version of a record may add fields.
        let bytes = serde_json::to_vec(&RegistryRecord { tenant, body }).map_err(corrupted)?;
        stored.insert(place, bytes.as_slice())?;
    }
    Ok(Ok(places))
}

/// Adds a change to the history.
fn note(
    txn: &WriteTransaction,
    head: Revision,
    tenant: TenantId,
    number: u64,
    places: impl IntoIterator<Item = u64>,
) -> Result<(), redb::Error> {
    txn.open_table(CHANGES)?.insert(head.number(), (id_of(tenant), number, head.proof()))?;
    txn.open_table(TENANTS)?.insert(id_of(tenant), head.number())?;
    let mut changed = txn.open_table(CHANGED)?;
    for place in places {
        changed.insert((head.number(), place), ())?;
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Result<RegistryRecord, redb::Error> {
    serde_json::from_slice(bytes).map_err(|error| corrupted(format!("a record of the registry: {error}")))
}

fn id_of(tenant: TenantId) -> u64 {
    tenant.get()
}

/// What names a record: see [`RecordBody`].
fn identity(tenant: TenantId, body: &RecordBody) -> Vec<u8> {
    fn of(kind: u8, id: u64, name: &[u8]) -> Vec<u8> {
        [&[kind][..], &id.to_be_bytes(), name].concat()
    }
    match body {
        RecordBody::Tenant(name) => [&[0][..], name.as_bytes()].concat(),
        RecordBody::ApiKey(key) => of(1, id_of(tenant), key.id.as_bytes()),
        RecordBody::EntityType(entity_type) => of(2, entity_type.id.get(), &[]),
        RecordBody::Group(group) => of(3, group.id.get(), &[]),
        RecordBody::Feature(feature) => of(4, feature.id.get(), &[]),
        RecordBody::FeatureSet(set) => {
            of(5, id_of(tenant), &[&set.version.to_be_bytes(), set.name.as_bytes()].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feature::{
            EntityTypeId, Timestamp,
            definition::{EntityType, FeatureSet},
        },
        store::embedded::{engine::Engine, manifest::Manifest},
    };

    /// What format 2 kept: places by identity, and one revision for all tenants.
    #[test]
    fn a_registry_of_format_2_is_brought_to_this_one() {
        let record = |tenant, body| RegistryRecord { tenant: TenantId::from_stored(tenant), body };
        let user = |name: &str| {
            let id = EntityTypeId::from_stored(1);
            RecordBody::EntityType(EntityType { id, name: name.into(), keys: vec![name.into()] })
        };
        let created_at = Timestamp::from_stored(7);
        let set = FeatureSet { name: "fraud".into(), version: 1, features: Vec::new(), created_at };
        let records = [
            record(1, RecordBody::Tenant("one".into())),
            record(2, RecordBody::Tenant("two".into())),
            record(1, user("user")),
            record(1, RecordBody::FeatureSet(set)),
        ];
        let engine = Engine::in_memory().unwrap();
        engine
            .write(|txn| {
                let mut stored = txn.open_table(RECORDS)?;
                for (place, record) in records.iter().enumerate() {
                    stored.insert(place as u64, serde_json::to_vec(record).unwrap().as_slice())?;
                }
                let places = TableDefinition::<&[u8], u64>::new("registry_places");
                txn.open_table(places)?.insert(&[0, 0, 0, 1, 0][..], 0)?;
                txn.open_table(TableDefinition::<(), u64>::new("registry_revision"))?.insert((), 12)?;
                txn.open_table(TableDefinition::<&str, i64>::new("meta"))?.insert("format", 2)?;
                Ok(())
            })
            .unwrap();
        let manifest = Manifest::prepare(engine).unwrap();
        let read = |seen| manifest.read(|txn| changes_since(txn, seen)).unwrap();
        let RegistryChanges::Since(page) = read(Revision::NONE) else { panic!("lost") };
        assert_eq!(page.records, records);
        let revisions: Vec<_> =
            page.tenants.iter().map(|(id, revision)| (id.get(), revision.number())).collect();
        assert_eq!(revisions, [(1, 12), (2, 12)]);
        // A record that is put again keeps its place, and only it has changed.
        let changed = manifest.write(|txn| {
            let places = put(txn, TenantId::from_stored(1), vec![user("customer")])?.unwrap();
            note(txn, page.head.next(), TenantId::from_stored(1), 13, places)
        });
        changed.unwrap();
        let RegistryChanges::Since(page) = read(page.head) else { panic!("lost") };
        assert_eq!(page.records, [record(1, user("customer"))]);
    }
}
