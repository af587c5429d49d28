//! The same as natural JSON.

use super::WindowParts;
use crate::{
    error::{Error, Result},
    feature::{
        Dtype, Window, WindowFunction,
        definition::{Describing, FeatureDefinition, VersionStatus},
        json::{JsonReader, short},
    },
    serving::{
        catalogue::{CatalogueEntry, FeatureFilter, Page},
        page::PageRequest,
        register::{EntityTypeDeclaration, Registered, Registration},
    },
    wire::{
        json::{JsonWriter, read_duration, read_float64, read_string_map, read_strings, read_value},
        query::Query,
    },
};

pub fn read_registration(body: &[u8]) -> Result<Registration> {
    let mut registration = Registration::default();
    JsonReader::read(body, |reader| {
        reader.object(|reader, key| {
            match key {
                "entity_types" => registration.entity_types = read_all(reader, read_entity_type)?,
                "features" => registration.features = read_all(reader, read_definition)?,
                "dry_run" => registration.dry_run = reader.boolean()?,
                _ => return reader.unknown_member(&["entity_types", "features", "dry_run"]),
            }
            Ok(())
        })
    })?;
    Ok(registration)
}

/// `{"status": "active" | "deprecated"}`
pub fn read_status(body: &[u8]) -> Result<VersionStatus> {
    let mut status = None;
    JsonReader::read(body, |reader| {
        reader.object(|reader, key| match key {
            "status" => {
                let name = reader.string()?;
                let known = STATUSES.iter().find(|(_, known)| *known == name);
                let known = known.ok_or_else(|| {
                    Error::refused(format!("{:?} is no status; use active or deprecated", short(&name)))
                });
                status = Some(known?.0);
                Ok(())
            }
            _ => reader.unknown_member(&["status"]),
        })
    })?;
    status.ok_or_else(|| Error::invalid("status", "say which status: active or deprecated"))
}

/// The query of `GET /features`.
pub fn read_filter(query: Option<&str>) -> Result<(FeatureFilter, PageRequest)> {
    let mut query = Query::parse(query)?;
    let page = query.take_page()?;
    let mut take = |name| query.take(name).unwrap_or_default();
    let filter = FeatureFilter {
        entity_type: take("entity_type"),
        group: take("group"),
        tag: take("tag"),
        name_prefix: take("name_prefix"),
    };
    query.finish()?;
    Ok((filter, page))
}

pub fn write_registered(registered: &Registered) -> Vec<u8> {
    write(|w| {
        w.object(|w| {
            w.key("features").array(|w| {
                for (entry, outcome) in &registered.features {
                    w.object(|w| {
                        w.key("outcome").string(outcome.name());
                        write_members(w, entry);
                    });
                }
            });
            w.key("entity_types_created").strings(&registered.entity_types_created);
            w.key("revision").uint(registered.revision);
        });
    })
}

pub fn write_feature(entry: &CatalogueEntry) -> Vec<u8> {
    write(|w| w.object(|w| write_members(w, entry)))
}

pub fn write_features(page: &Page<CatalogueEntry>) -> Vec<u8> {
    write(|w| {
        w.object(|w| {
            w.key("features").array(|w| {
                page.entries.iter().for_each(|entry| w.object(|w| write_members(w, entry)));
            });
            w.key("next_page_token").string(&page.next_page_token);
        });
    })
}

const STATUSES: [(VersionStatus, &str); 3] = [
    (VersionStatus::Draft, "draft"),
    (VersionStatus::Active, "active"),
    (VersionStatus::Deprecated, "deprecated"),
];

fn write(body: impl FnOnce(&mut JsonWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(1_024);
    body(&mut JsonWriter::new(&mut out));
    out
}

fn read_all<T>(
    reader: &mut JsonReader<'_>,
    read: impl Fn(&mut JsonReader<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    reader.array(|reader, _| {
        all.push(read(reader)?);
        Ok(())
    })?;
    Ok(all)
}

fn read_entity_type(reader: &mut JsonReader<'_>) -> Result<EntityTypeDeclaration> {
    let mut declared = EntityTypeDeclaration { name: String::new(), keys: Vec::new() };
    reader.object(|reader, key| {
        match key {
            "name" => declared.name = reader.string()?.into_owned(),
            "keys" => declared.keys = read_strings(reader)?,
            _ => return reader.unknown_member(&["name", "keys"]),
        }
        Ok(())
    })?;
    Ok(declared)
}

const DEFINITION: [&str; 13] = [
    "name",
    "entity_type",
    "dtype",
    "group",
    "version",
    "ttl",
    "cache_ttl",
    "description",
    "owner",
    "tags",
    "default",
    "allow_non_finite",
    "window",
];

fn read_definition(reader: &mut JsonReader<'_>) -> Result<FeatureDefinition> {
    let (mut name, mut entity_type, mut dtype) = (String::new(), String::new(), None);
    let (mut group, mut version, mut window) = (None, None, None);
    let (mut describing, mut default, mut allow_non_finite) = (Describing::default(), "null", false);
    reader.object(|reader, key| {
        // A field left null is a field left out.
        if key != "default" && DEFINITION.contains(&key) && reader.take_null()? {
            return Ok(());
        }
        match key {
            "name" => name = reader.string()?.into_owned(),
            "entity_type" => entity_type = reader.string()?.into_owned(),
            "dtype" => dtype = Some(reader.string()?.parse::<Dtype>().map_err(Error::refused)?),
            "group" => group = Some(reader.string()?.into_owned()),
            "version" => version = Some(read_version(reader)?),
            "ttl" => describing.ttl = Some(read_duration(reader)?),
            "cache_ttl" => describing.cache_ttl = Some(read_duration(reader)?),
            "description" => describing.description = reader.string()?.into_owned(),
            "owner" => describing.owner = reader.string()?.into_owned(),
            "tags" => describing.tags = read_string_map(reader)?.into_iter().collect(),
            // Its dtype may stand after it.
            "default" => default = reader.with_own_depth(JsonReader::raw)?,
            "allow_non_finite" => allow_non_finite = reader.boolean()?,
            "window" => window = Some(read_window(reader)?),
            _ => return reader.unknown_member(&DEFINITION),
        }
        Ok(())
    })?;
    let dtype = dtype.ok_or_else(|| Error::invalid("dtype", "a feature needs a dtype, such as float64"))?;
    describing.default = JsonReader::read(default.as_bytes(), |reader| read_value(reader, dtype))
        .map_err(|error| error.within("default"))?;
    Ok(FeatureDefinition { name, entity_type, dtype, group, version, describing, allow_non_finite, window })
}

fn read_version(reader: &mut JsonReader<'_>) -> Result<u32> {
    let text = reader.number()?;
    text.parse().map_err(|_| Error::refused(format!("{} is not a version", short(text))))
}

fn read_window(reader: &mut JsonReader<'_>) -> Result<Window> {
    let mut parts = WindowParts::default();
    reader.object(|reader, key| {
        match key {
            "event_type" => parts.event_type = reader.string()?.into_owned(),
            "function" => parts.function = reader.string()?.into_owned(),
            "size" => parts.size = Some(read_duration(reader)?),
            "slide" => parts.slide = Some(read_duration(reader)?),
            "field" => parts.field = Some(reader.string()?.into_owned()),
            "quantile" => parts.quantile = Some(read_float64(reader)?),
            "start" => parts.start = reader.string()?.into_owned(),
            _ => {
                let known = ["event_type", "function", "size", "slide", "field", "quantile", "start"];
                return reader.unknown_member(&known);
            }
        }
        Ok(())
    })?;
    parts.window()
}

fn write_members(w: &mut JsonWriter<'_>, entry: &CatalogueEntry) {
    let feature = &entry.feature;
    let Describing { ttl, cache_ttl, description, owner, tags, default } = &feature.describing;
    let status = STATUSES.iter().find(|(status, _)| *status == feature.status);
    w.key("name").string(&feature.name);
    w.key("ref").string(&feature.full_ref().to_string());
    w.key("id").uint(feature.id.0);
    w.key("version").uint(feature.version.into());
    w.key("revision").uint(feature.revision);
    w.key("status").string(status.expect("every status has a name").1);
    w.key("entity_type").string(&feature.entity_type_name);
    w.key("dtype").string(feature.dtype.name());
    w.key("group").string(&feature.group_name);
    w.key("ttl").option(*ttl, JsonWriter::duration);
    w.key("cache_ttl").option(*cache_ttl, JsonWriter::duration);
    w.key("description").string(description);
    w.key("owner").string(owner);
    w.key("tags").object(|w| tags.iter().for_each(|(key, value)| w.key(key).string(value)));
    w.key("default").value(default.as_ref());
    w.key("allow_non_finite").boolean(feature.allow_non_finite);
    w.key("window").option(feature.window.as_ref(), write_window);
    w.key("created_at").timestamp(feature.created_at);
    w.key("last_written_at").option(entry.last_written_at, JsonWriter::timestamp);
}

fn write_window(w: &mut JsonWriter<'_>, window: &Window) {
    w.object(|w| {
        w.key("event_type").string(&window.event_type);
        w.key("function").string(window.function.name());
        if let WindowFunction::Percentile { quantile } = window.function {
            w.key("quantile").float64(quantile);
        }
        if let Some(field) = &window.field {
            w.key("field").string(field);
        }
        w.key("size").duration(window.size);
        w.key("slide").duration(window.slide);
        w.key("start").string(window.start.name());
    });
}
