//! From format 2 to format 3: ids in keys have 64 bits instead of 32.
//!
//! Everything moves in the one transaction that also changes the format's number, so a start that dies here begins again.
//! What is kept in records (JSON, msgpack) has numbers of any width and stays as it is; so do segments and volumes.

use super::{
    manifest::{GROUPS, IDEMPOTENCY, IDEMPOTENCY_BY_AGE, Replay, TAIL},
    readers::{READERS, SAVES},
    registry,
    sides::{DEAD, LATE},
};
use redb::{ReadableTable, TableDefinition, TableHandle, WriteTransaction};

type Bytes = &'static [u8];

/// Moves a table to wider keys under its own name: its old key's type, its values' type, and the wide key of an old one.
/// (No function: its key would have to be a type with a lifetime as parameter.)
macro_rules! widen {
    ($txn:ident, $wide:expr, $narrow:ty, $value:ty, $key:pat => $wide_key:expr) => {{
        let name = format!("{} of format 2", $wide.name());
        let narrow = TableDefinition::<$narrow, $value>::new(&name);
        let own = TableDefinition::<$narrow, $value>::new($wide.name());
        // Directories from before the table was thought of do not have it.
        drop($txn.open_table(own)?);
        $txn.rename_table(own, narrow)?;
        let old = $txn.open_table(narrow)?;
        let mut new = $txn.open_table($wide)?;
        for entry in old.iter()? {
            let (key, value) = entry?;
            let $key = key.value();
            new.insert($wide_key, value.value())?;
        }
        drop(old);
        $txn.delete_table(narrow)?;
    }};
}

/// Widens every key that holds an id.
pub fn to_3(txn: &WriteTransaction) -> Result<(), redb::Error> {
    widen!(txn, GROUPS, u32, Bytes, group => u64::from(group));
    widen!(txn, TAIL, (u32, u64), Bytes, (group, commit) => (group.into(), commit));
    widen!(txn, IDEMPOTENCY, (u32, &str), Replay, (tenant, key) => (tenant.into(), key));
    widen!(txn, IDEMPOTENCY_BY_AGE, (i64, u32, &str), (), (at, tenant, key) => (at, tenant.into(), key));
    type Reader = (u32, u8, u32);
    widen!(txn, READERS, Reader, (u64, Bytes), (partition, what, group) => (partition, what, group.into()));
    type Save = (u32, u8, u32, u64);
    widen!(txn, SAVES, Save, Bytes, (partition, what, group, number) => (partition, what, group.into(), number));
    for side in [LATE, DEAD] {
        type Chunk = (u32, u32, u8, u32, u64);
        widen!(txn, side, Chunk, Bytes, (tenant, partition, what, group, last) => {
            (tenant.into(), partition, what, group.into(), last)
        });
    }
    registry::upgrade(txn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feature::{Dtype, RowId, TenantId},
        store::{
            embedded::{engine::Engine, manifest::Manifest, tail},
            readers::{Purpose, ReaderId},
        },
    };

    /// What a directory of format 2 holds is found under the same ids.
    #[test]
    fn ids_of_32_bits_stay_what_they_are() {
        let engine = Engine::in_memory().unwrap();
        let schema = rmp_serde::to_vec(&(3u32, false, vec![("age@1", Dtype::Int64)])).unwrap();
        let tail = tail::encode(&[]);
        engine
            .write(|txn| {
                txn.open_table(TableDefinition::<&str, i64>::new("meta"))?.insert("format", 2)?;
                let groups = TableDefinition::<u32, Bytes>::new("groups");
                txn.open_table(groups)?.insert(7, schema.as_slice())?;
                let tails = TableDefinition::<(u32, u64), Bytes>::new("tail");
                txn.open_table(tails)?.insert((7, 9), tail.as_slice())?;
                let answers = TableDefinition::<(u32, &str), Replay>::new("idempotency");
                txn.open_table(answers)?.insert((1, "key"), (&[5; 32], 10, &b"answer"[..]))?;
                let readers = TableDefinition::<(u32, u8, u32), (u64, Bytes)>::new("readers");
                txn.open_table(readers)?.insert((2, 1, 7), (4, &[][..]))?;
                Ok(())
            })
            .unwrap();
        let manifest = Manifest::prepare(engine).unwrap();
        let recovered = manifest.recover().unwrap();
        let row = RowId::from_stored(7);
        assert_eq!(recovered.groups.iter().map(|schema| schema.id).collect::<Vec<_>>(), [row]);
        assert_eq!(recovered.groups[0].columns[0].name, "age@1");
        assert!(matches!(recovered.tail[..], [(id, 9, _)] if id == row));
        let answer = manifest.answer(TenantId::from_stored(1), "key", 11).unwrap().unwrap();
        assert_eq!((answer.answer.as_slice(), answer.fingerprint), (&b"answer"[..], [5; 32]));
        let reader = ReaderId { partition: 2, purpose: Purpose::Backfill(row) };
        assert_eq!(manifest.epoch(reader).unwrap(), 4);
    }
}
