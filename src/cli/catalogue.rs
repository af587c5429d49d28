//! `larder features`, `larder feature`: what is registered, and how its values are spread.

use super::{
    args::{Connection, Moment, from_proto},
    output::table,
    shape, statistics, value,
};
use crate::{
    error::Result,
    wire::{
        control,
        proto::{self, FeatureVersionStatus, GetFeatureStatisticsRequest, ListFeaturesRequest},
        value::timestamp_to,
    },
};
use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
pub(super) struct FeaturesArgs {
    /// Only features of this entity type
    #[arg(long)]
    entity_type: Option<String>,
    /// Only features of this group
    #[arg(long)]
    group: Option<String>,
    /// Only features with this tag: `pii`, or `pii=no`
    #[arg(long)]
    tag: Option<String>,
    /// Only features whose name begins so
    #[arg(long)]
    prefix: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args, Debug)]
pub(super) struct FeatureArgs {
    /// `name`, `group.name`, or either with `@version`
    name: String,
    /// Make this version active, or deprecate it (needs `name@version`)
    #[arg(long, value_name = "STATUS")]
    status: Option<Status>,
    /// Show how its values are spread, by hour of event time
    #[arg(long, conflicts_with = "status")]
    statistics: bool,
    /// Statistics from this moment or this long ago (7d) on [default: 24 hours before the end]
    #[arg(long, visible_alias = "from", value_name = "TIME", requires = "statistics")]
    since: Option<Moment>,
    /// Statistics up to this moment, exclusive [default: now]
    #[arg(long, visible_alias = "to", value_name = "TIME", requires = "statistics")]
    until: Option<Moment>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    Active,
    Deprecated,
}

/// Lists the catalogue.
pub(super) async fn features(args: FeaturesArgs) -> Result<()> {
    let filter = ListFeaturesRequest {
        entity_type: args.entity_type.unwrap_or_default(),
        group: args.group.unwrap_or_default(),
        tag: args.tag.unwrap_or_default(),
        name_prefix: args.prefix.unwrap_or_default(),
        ..Default::default()
    };
    let features = args.connection.client().await?.features(filter).await?;
    if features.is_empty() {
        args.connection.output().note("No feature matches; `larder apply FILE.yaml` registers some.");
    }
    args.connection
        .output()
        .print(&control::list::<_, control::Feature>(features.clone()), || listing(&features).trim_fmt())
}

/// Shows one feature, after changing its status if asked to.
pub(super) async fn feature(args: FeatureArgs) -> Result<()> {
    let client = args.connection.client().await?;
    if args.statistics {
        let request = GetFeatureStatisticsRequest {
            feature: args.name,
            from: args.since.map(|moment| timestamp_to(moment.resolve())),
            to: args.until.map(|moment| timestamp_to(moment.resolve())),
        };
        return statistics::print(args.connection.output(), &client.statistics(request).await?);
    }
    let feature = match args.status {
        None => client.feature(&args.name).await?,
        Some(status) => {
            let status = match status {
                Status::Active => FeatureVersionStatus::Active,
                Status::Deprecated => FeatureVersionStatus::Deprecated,
            };
            client.set_feature_status(&args.name, status).await?
        }
    };
    let shape = control::Feature::from(feature.clone());
    args.connection.output().print(&shape, || details(&feature).trim_fmt())
}

/// One line for each feature.
fn listing(features: &[proto::Feature]) -> comfy_table::Table {
    let rows = features.iter().map(|feature| {
        let definition = feature.definition.clone().unwrap_or_default();
        [
            feature.r#ref.clone(),
            definition.entity_type.clone(),
            shape::dtype(&definition),
            definition.ttl.as_ref().map_or_else(|| "–".into(), shape::duration),
            shape::status(feature.status()).to_owned(),
            feature.last_written_at.as_ref().map_or_else(|| "–".into(), |at| from_proto(at).to_string()),
            definition.description,
        ]
    });
    table(["feature", "entity type", "dtype", "ttl", "status", "last written", "description"], rows)
}

/// One line for each property.
fn details(feature: &proto::Feature) -> comfy_table::Table {
    let definition = feature.definition.clone().unwrap_or_default();
    let time = |at: &Option<prost_types::Timestamp>| at.as_ref().map(|at| from_proto(at).to_string());
    let mut tags: Vec<_> = definition.tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
    tags.sort();
    let default = definition.default_value.as_ref().and_then(value::from_proto);
    let rows = [
        ("entity type", Some(definition.entity_type.clone())),
        ("dtype", Some(shape::dtype(&definition))),
        ("group", Some(definition.group.clone())),
        ("status", Some(shape::status(feature.status()).to_owned())),
        ("ttl", Some(definition.ttl.as_ref().map_or_else(|| "never expires".into(), shape::duration))),
        ("cache ttl", definition.cache_ttl.as_ref().map(shape::duration)),
        ("default", default.as_ref().map(value::text)),
        ("description", Some(definition.description)),
        ("owner", Some(definition.owner)),
        ("tags", Some(tags.join(", "))),
        ("created", time(&feature.created_at)),
        ("last written", Some(time(&feature.last_written_at).unwrap_or_else(|| "never".into()))),
        ("revision", Some(feature.revision.to_string())),
    ];
    let given =
        rows.into_iter().filter_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?)));
    table([feature.r#ref.as_str(), ""], given.map(|(name, text)| [name.to_owned(), text]))
}
