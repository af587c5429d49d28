//! Catalogues without a store.

use super::Catalogue;
use crate::{
    feature::{
        Dtype, EntityTypeId, FeatureId, RowId, Timestamp,
        definition::{Describing, EntityType, Feature, Group, VersionStatus},
    },
    store::RecordBody,
};

/// A feature as `(name, group, entity type, dtype, describing)`; types have one key of their own name, or those
/// that their name lists with `__` between them.
pub(crate) type Definition<'a> = (&'a str, &'a str, &'a str, Dtype, Describing);

pub(crate) fn catalogue(definitions: &[Definition<'_>]) -> Catalogue {
    let (mut types, mut groups): (Vec<EntityType>, Vec<(Group, u32)>) = (Vec::new(), Vec::new());
    let mut features = Vec::new();
    for (name, group, of_type, dtype, describing) in definitions {
        if !types.iter().any(|known| known.name == *of_type) {
            let keys = of_type.split("__").map(str::to_owned).collect();
            types.push(EntityType {
                id: EntityTypeId::from_stored(types.len() as u64 + 1),
                name: (*of_type).into(),
                keys,
            });
        }
        let entity_type = types.iter().find(|known| known.name == *of_type).unwrap();
        if !groups.iter().any(|(known, _)| known.name == *group) {
            let id = RowId::from_stored(groups.len() as u64 + 1);
            groups.push((Group { id, name: (*group).into(), entity_type: entity_type.id }, 0));
        }
        let (of_group, columns) = groups.iter_mut().find(|(known, _)| known.name == *group).unwrap();
        features.push(RecordBody::Feature(Box::new(Feature {
            id: FeatureId::from_stored(features.len() as u64 + 1),
            name: (*name).into(),
            version: 1,
            group: of_group.id,
            group_name: (*group).into(),
            entity_type: entity_type.id,
            entity_type_name: (*of_type).into(),
            dtype: *dtype,
            column: *columns,
            founding: true,
            status: VersionStatus::Active,
            describing: describing.clone(),
            allow_non_finite: false,
            window: None,
            revision: 1,
            created_at: Timestamp::from_stored(0),
        })));
        *columns += 1;
    }
    let types = types.into_iter().map(RecordBody::EntityType);
    let groups = groups.into_iter().map(|(group, _)| RecordBody::Group(group));
    let records: Vec<RecordBody> = types.chain(groups).chain(features).collect();
    Catalogue::default().with(records)
}
