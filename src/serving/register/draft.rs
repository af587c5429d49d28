//! A registration being decided against one snapshot: what it would create and change.
//!
//! Definitions are taken in the order of the request and see what the earlier ones did. Windowed features that are new
//! and share entity type, event type, size and slide form one group, which is closed afterwards.

use super::{EntityTypeDeclaration, Outcome, Registered, Registration, check, conflict};
use crate::{
    error::{Error, Kind, Result},
    feature::{
        Duration, EntityTypeId, FeatureId, RowId, TenantId, Timestamp, Window, WindowStart,
        definition::{EntityType, Feature, FeatureDefinition, Group, VersionStatus},
    },
    random,
    registry::{Catalogue, NewId, RegistrySnapshot, newest_active},
    serving::{Limits, catalogue::CatalogueEntry},
    store::RecordBody,
};
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

pub(super) struct Draft<'a> {
    catalogue: Arc<Catalogue>,
    limits: &'a Limits,
    now: Timestamp,
    revision: u64,
    entity_types: Vec<EntityType>,
    /// New ones by name.
    groups: HashMap<String, NewGroup>,
    /// All versions of the features that this call touches, oldest first, by group and name.
    versions: HashMap<(RowId, String), Vec<Arc<Feature>>>,
    /// Names of groups that bare names belong to since this call.
    bare_names: HashMap<String, String>,
    /// Columns that groups have by now.
    columns: HashMap<RowId, usize>,
    /// The groups of new windowed features by their source.
    windowed: HashMap<WindowSource, String>,
    outcomes: Vec<(Arc<Feature>, Outcome)>,
    seen: HashSet<FeatureId>,
    /// What this call gave its new things.
    new_ids: HashSet<u64>,
}

struct NewGroup {
    group: Group,
    /// Set = a closed group of windowed features.
    source: Option<WindowSource>,
}

/// What windowed features of one group share: entity type, event type, size and slide.
type WindowSource = (String, String, Duration, Duration);

impl<'a> Draft<'a> {
    pub(super) fn new(
        snapshot: &RegistrySnapshot,
        tenant: TenantId,
        limits: &'a Limits,
        now: Timestamp,
    ) -> Self {
        Self {
            catalogue: snapshot.catalogue(tenant),
            limits,
            now,
            revision: snapshot.revision(tenant).number(),
            entity_types: Vec::new(),
            groups: HashMap::new(),
            versions: HashMap::new(),
            bare_names: HashMap::new(),
            columns: HashMap::new(),
            windowed: HashMap::new(),
            outcomes: Vec::new(),
            seen: HashSet::new(),
            new_ids: HashSet::new(),
        }
    }

    /// Takes every declaration and definition, or refuses the whole.
    pub(super) fn decide(mut self, registration: &Registration) -> Result<Self> {
        for (i, declared) in registration.entity_types.iter().enumerate() {
            self.declare(declared).map_err(|error| error.within(format_args!("entity_types[{i}]")))?;
        }
        for (i, definition) in registration.features.iter().enumerate() {
            check::definition(definition, self.limits)
                .map_err(|error| error.within(format_args!("features[{i}]")))?;
        }
        self.name_windowed_groups(&registration.features)?;
        for (i, definition) in registration.features.iter().enumerate() {
            self.define(definition).map_err(|error| error.within(format_args!("features[{i}]")))?;
        }
        Ok(self)
    }

    /// What to put, in an order in which every record finds what it refers to.
    pub(super) fn records(&self) -> Vec<RecordBody> {
        let groups = self.groups.values().map(|new| &new.group);
        let entity_types = self.entity_types.iter().cloned().map(RecordBody::EntityType);
        let groups = groups.cloned().map(RecordBody::Group);
        let features = self
            .outcomes
            .iter()
            .filter(|(_, outcome)| *outcome != Outcome::Unchanged)
            .map(|(feature, _)| RecordBody::Feature(Box::new(Feature::clone(feature))));
        entity_types.chain(groups).chain(features).collect()
    }

    /// The features that were asked for, in their order.
    pub(super) fn features(&self) -> Vec<Arc<Feature>> {
        self.outcomes.iter().map(|(feature, _)| feature.clone()).collect()
    }

    /// The answer, with an entry for each of `features`.
    pub(super) fn registered(self, entries: Vec<CatalogueEntry>) -> Registered {
        let changes = !self.entity_types.is_empty()
            || self.outcomes.iter().any(|(_, outcome)| *outcome != Outcome::Unchanged);
        Registered {
            revision: self.revision + u64::from(changes),
            entity_types_created: self.entity_types.into_iter().map(|created| created.name).collect(),
            features: entries
                .into_iter()
                .zip(self.outcomes.into_iter().map(|(_, outcome)| outcome))
                .collect(),
        }
    }

    fn declare(&mut self, declared: &EntityTypeDeclaration) -> Result<()> {
        check::entity_type(declared)?;
        let own = [declared.name.clone()];
        let keys = if declared.keys.is_empty() { &own[..] } else { &declared.keys };
        match self.entity_type(&declared.name) {
            Some(known) if known.keys == keys => Ok(()),
            Some(known) => Err(conflict(
                "keys",
                format!("the entity type {:?} has the keys [{}]", known.name, known.keys.join(", ")),
            )),
            None => {
                self.make_entity_type(&declared.name, keys.to_vec());
                Ok(())
            }
        }
    }

    /// Finds the group of each set of new windowed features: the one given, else the first feature's name.
    fn name_windowed_groups(&mut self, definitions: &[FeatureDefinition]) -> Result<()> {
        let mut given: HashMap<WindowSource, &String> = HashMap::new();
        let mut starts: HashMap<WindowSource, WindowStart> = HashMap::new();
        for (i, definition) in definitions.iter().enumerate() {
            let Some(window) = &definition.window else { continue };
            if self.known_windowed(definition).is_some() {
                continue;
            }
            self.check_counted(definition).map_err(|error| error.within(format_args!("features[{i}]")))?;
            let source = source(definition, window);
            if *starts.entry(source.clone()).or_insert(window.start) != window.start {
                let message = "windowed features of one source and window form one group, which has one start; \
                               register those with another start in a call of their own";
                return Err(Error::invalid(format!("features[{i}].window.start"), message));
            }
            self.windowed.entry(source.clone()).or_insert_with(|| definition.name.clone());
            let Some(group) = &definition.group else { continue };
            let first = *given.entry(source).or_insert(group);
            if first != group {
                let message = format!(
                    "windowed features of one source and window form one group; {first} and {group} are two"
                );
                return Err(Error::invalid(format!("features[{i}].group"), message));
            }
        }
        self.windowed.extend(given.into_iter().map(|(source, group)| (source, group.clone())));
        Ok(())
    }

    /// Events bear one entity id, so they can only feed entity types with one key.
    fn check_counted(&self, definition: &FeatureDefinition) -> Result<()> {
        match self.entity_type(&definition.entity_type) {
            Some(known) if known.keys.len() > 1 => {
                let message = format!(
                    "events bear one entity_id, and the entity type {:?} has {} keys; windowed features need a type with one",
                    known.name,
                    known.keys.len()
                );
                Err(Error::invalid("entity_type", message))
            }
            _ => Ok(()),
        }
    }

    /// The group of a windowed feature that is registered already. Left out, the group is the one its name belongs to.
    fn known_windowed(&self, definition: &FeatureDefinition) -> Option<RowId> {
        let group = match &definition.group {
            Some(group) => self.catalogue.group(group)?.group.id,
            None => self.catalogue.bare_name(&definition.name)?,
        };
        let versions = self.catalogue.versions(group, &definition.name);
        versions.iter().any(|feature| feature.window.is_some()).then_some(group)
    }

    fn define(&mut self, definition: &FeatureDefinition) -> Result<()> {
        let group_name = self.group_name(definition)?;
        let group = self.group(&group_name);
        let versions = match &group {
            Some((group, _)) => self.versions(group.id, &definition.name),
            None => Vec::new(),
        };
        let last = versions.last().map_or(0, |feature| feature.version);
        let wanted = definition
            .version
            .unwrap_or_else(|| newest_active(&versions).map_or(1, |feature| feature.version));
        if let Some(known) = versions.iter().find(|feature| feature.version == wanted) {
            return self.redefine(&known.clone(), definition);
        }
        if wanted != last + 1 {
            let message = format!(
                "version {wanted} is beyond the next; {} comes next for {:?}",
                last + 1,
                definition.name
            );
            return Err(Error::new(Kind::FailedPrecondition, message).at("version"));
        }
        let entity_type = match self.entity_type(&definition.entity_type) {
            Some(known) => known.id,
            None => self.make_entity_type(&definition.entity_type, vec![definition.entity_type.clone()]),
        };
        let (group, founding) = match group {
            Some((group, new)) => {
                self.check_joins(&group, definition, entity_type)?;
                let founding = versions.first().map_or(new, |first| first.founding);
                (group, founding)
            }
            None => (self.make_group(&group_name, entity_type, definition), true),
        };
        let column = self.next_column(&group)?;
        let feature = Arc::new(Feature {
            id: self.new_id(|catalogue, id| catalogue.feature_by_id(id).is_some()),
            name: definition.name.clone(),
            version: wanted,
            group: group.id,
            group_name: group.name,
            entity_type,
            entity_type_name: definition.entity_type.clone(),
            dtype: definition.dtype,
            column,
            founding,
            status: if wanted == 1 { VersionStatus::Active } else { VersionStatus::Draft },
            describing: definition.describing.clone(),
            allow_non_finite: definition.allow_non_finite,
            window: definition.window.clone(),
            revision: self.revision + 1,
            created_at: self.now,
        });
        self.bare_names.entry(feature.name.clone()).or_insert_with(|| feature.group_name.clone());
        self.keep(feature, Outcome::Created)
    }

    /// Registers a version again: what describes it may change, what it is may not.
    fn redefine(&mut self, known: &Arc<Feature>, definition: &FeatureDefinition) -> Result<()> {
        let reference = known.full_ref();
        let differs = |field: &str, is: &dyn std::fmt::Display, asked: &dyn std::fmt::Display| {
            // The group of a windowed feature is closed, to versions too.
            let way = if known.window.is_some() { "name" } else { "version or name" };
            let message =
                format!("{reference} is registered with {field} {is}, not {asked}; register another {way}");
            Err(conflict(field, message))
        };
        if known.dtype != definition.dtype {
            return differs("dtype", &known.dtype, &definition.dtype);
        }
        if known.entity_type_name != definition.entity_type {
            return differs("entity_type", &known.entity_type_name, &definition.entity_type);
        }
        if known.allow_non_finite != definition.allow_non_finite {
            return differs("allow_non_finite", &known.allow_non_finite, &definition.allow_non_finite);
        }
        if known.window != definition.window {
            return differs("window", &shown(known.window.as_ref()), &shown(definition.window.as_ref()));
        }
        if known.describing == definition.describing {
            return self.keep(known.clone(), Outcome::Unchanged);
        }
        let describing = definition.describing.clone();
        let changed = Feature { describing, revision: self.revision + 1, ..Feature::clone(known) };
        self.keep(Arc::new(changed), Outcome::Changed)
    }

    fn keep(&mut self, feature: Arc<Feature>, outcome: Outcome) -> Result<()> {
        if !self.seen.insert(feature.id) {
            let message = format!("{} stands twice in this registration", feature.full_ref());
            return Err(Error::invalid("name", message));
        }
        let catalogue = &self.catalogue;
        let versions = self
            .versions
            .entry((feature.group, feature.name.clone()))
            .or_insert_with(|| catalogue.versions(feature.group, &feature.name).to_vec());
        match versions.iter_mut().find(|known| known.id == feature.id) {
            Some(known) => *known = feature.clone(),
            None => versions.push(feature.clone()),
        }
        self.outcomes.push((feature, outcome));
        Ok(())
    }

    /// The name of the group that a definition means.
    fn group_name(&self, definition: &FeatureDefinition) -> Result<String> {
        let name = &definition.name;
        let known = || self.catalogue.group_by_id(self.catalogue.bare_name(name)?);
        let owner = self.bare_names.get(name).or_else(|| known().map(|entry| &entry.group.name)).cloned();
        let group = match (&definition.window, &definition.group) {
            (Some(window), _) if self.known_windowed(definition).is_none() => {
                self.windowed[&source(definition, window)].clone()
            }
            (_, Some(group)) => group.clone(),
            (Some(_), None) => owner.clone().unwrap_or_else(|| name.clone()),
            (None, None) => name.clone(),
        };
        if group != *name {
            return Ok(group);
        }
        // The feature of a group that bears its name is known by its bare name, which belongs to one group for ever.
        match owner {
            Some(owner) if owner != group => Err(conflict(
                "name",
                format!("{name:?} is registered in the group {owner:?}; give that group or another name"),
            )),
            None if definition.group.is_none()
                && definition.window.is_none()
                && self.group(name).is_some() =>
            {
                let message =
                    format!("{name:?} is a group already; give the feature a group or another name");
                Err(conflict("name", message))
            }
            _ => Ok(group),
        }
    }

    fn check_joins(
        &self,
        group: &Group,
        definition: &FeatureDefinition,
        entity_type: EntityTypeId,
    ) -> Result<()> {
        if group.entity_type != entity_type {
            let message =
                format!("the group {:?} is not of the entity type {:?}", group.name, definition.entity_type);
            return Err(conflict("entity_type", message));
        }
        let wanted = definition.window.as_ref().map(|window| source(definition, window));
        let closed = match self.groups.get(&group.name) {
            Some(new) => new.source != wanted,
            None => {
                let features = self.catalogue.group(&group.name).map_or(&[][..], |entry| &entry.features);
                wanted.is_some() || features.iter().any(|feature| feature.window.is_some())
            }
        };
        if closed {
            let message = format!(
                "the group {:?} is closed: windowed features share a group only with those of one source and window \
                 registered in the same call; give another group or name",
                group.name
            );
            return Err(conflict("group", message));
        }
        Ok(())
    }

    /// A group by name, and whether this call makes it.
    fn group(&self, name: &str) -> Option<(Group, bool)> {
        let known = self.catalogue.group(name).map(|entry| (entry.group.clone(), false));
        known.or_else(|| self.groups.get(name).map(|new| (new.group.clone(), true)))
    }

    fn make_group(&mut self, name: &str, entity_type: EntityTypeId, definition: &FeatureDefinition) -> Group {
        let id = self.new_id(|catalogue, id| catalogue.group_by_id(id).is_some());
        let group = Group { id, name: name.to_owned(), entity_type };
        let source = definition.window.as_ref().map(|window| source(definition, window));
        self.groups.insert(name.to_owned(), NewGroup { group: group.clone(), source });
        group
    }

    fn next_column(&mut self, group: &Group) -> Result<u32> {
        let known = || self.catalogue.group(&group.name).map_or(0, |entry| entry.features.len());
        let columns = self.columns.entry(group.id).or_insert_with(known);
        if *columns >= self.limits.group_columns_max {
            let message =
                format!("the group {:?} is full: it has {columns} features; use another group", group.name);
            return Err(Error::invalid("group", message));
        }
        *columns += 1;
        Ok(*columns as u32 - 1)
    }

    fn versions(&self, group: RowId, name: &str) -> Vec<Arc<Feature>> {
        let touched = self.versions.get(&(group, name.to_owned()));
        touched.map_or_else(|| self.catalogue.versions(group, name).to_vec(), Clone::clone)
    }

    fn entity_type(&self, name: &str) -> Option<&EntityType> {
        let new = self.entity_types.iter().find(|created| created.name == name);
        new.or_else(|| self.catalogue.entity_type(name).map(Arc::as_ref))
    }

    fn make_entity_type(&mut self, name: &str, keys: Vec<String>) -> EntityTypeId {
        let taken = |catalogue: &Catalogue, id| catalogue.entity_type_by_id(id).is_some();
        let id = self.new_id(taken);
        self.entity_types.push(EntityType { id, name: name.to_owned(), keys });
        id
    }

    /// An id that nothing of this tenant has; the store refuses one that another tenant has.
    fn new_id<T: NewId>(&mut self, is_taken: impl Fn(&Catalogue, T) -> bool) -> T {
        loop {
            let random = random::id();
            let id = T::of(random);
            if !is_taken(&self.catalogue, id) && self.new_ids.insert(random) {
                return id;
            }
        }
    }
}

fn source(definition: &FeatureDefinition, window: &Window) -> WindowSource {
    (definition.entity_type.clone(), window.event_type.clone(), window.size, window.slide)
}

/// A window in a message.
fn shown(window: Option<&Window>) -> String {
    let Some(window) = window else { return "none".to_owned() };
    let Window { event_type, function, field, size, slide, start } = window;
    let field = field.as_deref().unwrap_or("all");
    let parameters = function.parameters();
    format!("{function}({field}{parameters}) of {event_type} over {size} every {slide} from {}", start.name())
}
