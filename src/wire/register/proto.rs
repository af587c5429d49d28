//! The contract's messages.

use super::WindowParts;
use crate::{
    error::{Error, Result},
    feature::{
        Window,
        definition::{Describing, FeatureDefinition, VersionStatus},
        window::Parameters,
    },
    serving::{
        catalogue::{CatalogueEntry, FeatureFilter, Page},
        page::PageRequest,
        register::{EntityTypeDeclaration, Outcome, Registered, Registration},
    },
    wire::{
        proto,
        value::{
            decimal_to, dtype_from, dtype_to, duration_from, duration_to, timestamp_to, value_from, value_to,
        },
    },
};

pub fn registration_from(request: proto::RegisterFeaturesRequest) -> Result<Registration> {
    let entity_types = request.entity_types.into_iter();
    let features = request.features.into_iter().enumerate().map(|(i, definition)| {
        definition_from(definition).map_err(|error| error.within(format_args!("features[{i}]")))
    });
    Ok(Registration {
        entity_types: entity_types.map(|t| EntityTypeDeclaration { name: t.name, keys: t.keys }).collect(),
        features: features.collect::<Result<_>>()?,
        dry_run: request.dry_run,
    })
}

pub fn registered_to(registered: &Registered) -> proto::RegisterFeaturesResponse {
    let features = registered.features.iter().map(|(entry, outcome)| proto::RegisteredFeature {
        feature: Some(feature_to(entry)),
        outcome: match outcome {
            Outcome::Created => proto::RegistrationOutcome::Created,
            Outcome::Changed => proto::RegistrationOutcome::Changed,
            Outcome::Unchanged => proto::RegistrationOutcome::Unchanged,
        } as i32,
    });
    proto::RegisterFeaturesResponse {
        features: features.collect(),
        entity_types_created: registered.entity_types_created.clone(),
        revision: registered.revision,
    }
}

pub fn status_from(status: i32) -> Result<VersionStatus> {
    match proto::FeatureVersionStatus::try_from(status) {
        Ok(proto::FeatureVersionStatus::Draft) => Ok(VersionStatus::Draft),
        Ok(proto::FeatureVersionStatus::Active) => Ok(VersionStatus::Active),
        Ok(proto::FeatureVersionStatus::Deprecated) => Ok(VersionStatus::Deprecated),
        _ => Err(Error::invalid("status", "say which status: ACTIVE or DEPRECATED")),
    }
}

pub fn filter_from(request: proto::ListFeaturesRequest) -> (FeatureFilter, PageRequest) {
    let proto::ListFeaturesRequest { entity_type, group, tag, name_prefix, page_size, page_token } = request;
    let page = PageRequest { size: page_size.into(), token: page_token };
    (FeatureFilter { entity_type, group, tag, name_prefix }, page)
}

pub fn features_to(page: Page<CatalogueEntry>) -> proto::ListFeaturesResponse {
    proto::ListFeaturesResponse {
        features: page.entries.iter().map(feature_to).collect(),
        next_page_token: page.next_page_token,
    }
}

pub fn feature_to(entry: &CatalogueEntry) -> proto::Feature {
    let feature = &entry.feature;
    let Describing { ttl, cache_ttl, description, owner, tags, default } = &feature.describing;
    let definition = proto::FeatureDefinition {
        name: feature.name.clone(),
        entity_type: feature.entity_type_name.clone(),
        dtype: dtype_to(feature.dtype) as i32,
        decimal_type: decimal_to(feature.dtype),
        group: feature.group_name.clone(),
        version: feature.version,
        ttl: ttl.map(duration_to),
        cache_ttl: cache_ttl.map(duration_to),
        description: description.clone(),
        owner: owner.clone(),
        tags: tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        default_value: default.as_ref().map(|value| value_to(Some(value))),
        allow_non_finite: feature.allow_non_finite,
        window: feature.window.as_ref().map(window_to),
    };
    proto::Feature {
        definition: Some(definition),
        r#ref: feature.full_ref().to_string(),
        id: feature.id.get(),
        status: match feature.status {
            VersionStatus::Draft => proto::FeatureVersionStatus::Draft,
            VersionStatus::Active => proto::FeatureVersionStatus::Active,
            VersionStatus::Deprecated => proto::FeatureVersionStatus::Deprecated,
        } as i32,
        revision: feature.revision,
        created_at: Some(timestamp_to(feature.created_at)),
        last_written_at: entry.last_written_at.map(timestamp_to),
    }
}

fn definition_from(definition: proto::FeatureDefinition) -> Result<FeatureDefinition> {
    let dtype = dtype_from(definition.dtype, definition.decimal_type)?;
    let default = definition.default_value.map(|value| value_from(value, dtype)).transpose();
    let window = definition.window.map(|window| window_from(window).map_err(|error| error.within("window")));
    let describing = Describing {
        ttl: definition.ttl.map(|span| duration_from(span, "ttl")).transpose()?,
        cache_ttl: definition.cache_ttl.map(|span| duration_from(span, "cache_ttl")).transpose()?,
        description: definition.description,
        owner: definition.owner,
        tags: definition.tags.into_iter().collect(),
        default: default.map_err(|why| Error::invalid("default_value", why))?.flatten(),
    };
    Ok(FeatureDefinition {
        name: definition.name,
        entity_type: definition.entity_type,
        dtype,
        group: Some(definition.group).filter(|group| !group.is_empty()),
        version: Some(definition.version).filter(|version| *version != 0),
        describing,
        allow_non_finite: definition.allow_non_finite,
        window: window.transpose()?,
    })
}

fn window_from(window: proto::WindowDefinition) -> Result<Window> {
    WindowParts {
        parameters: Parameters::from(&window),
        event_type: window.event_type,
        function: window.function,
        size: window.size.map(|span| duration_from(span, "size")).transpose()?,
        slide: window.slide.map(|span| duration_from(span, "slide")).transpose()?,
        field: Some(window.field).filter(|field| !field.is_empty()),
        start: window.start,
    }
    .window()
}

fn window_to(window: &Window) -> proto::WindowDefinition {
    proto::WindowDefinition {
        event_type: window.event_type.clone(),
        function: window.function.name().to_owned(),
        size: Some(duration_to(window.size)),
        slide: Some(duration_to(window.slide)),
        field: window.field.clone().unwrap_or_default(),
        start: window.start.name().to_owned(),
        ..window.function.parameters().into()
    }
}
