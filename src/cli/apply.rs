//! `larder apply`: shows what a file changes, then registers it. Applying the same file twice changes nothing.

use super::{
    args::Connection,
    feature_file::FeatureFile,
    output::{count, table},
    shape, value,
};
use crate::{
    client::Client,
    error::{Kind, Result},
    wire::{
        control::{Outcome, RegisteredFeature, list},
        proto::{
            FeatureDefinition, FeatureSet, RegisterFeaturesRequest, RegisterFeaturesResponse,
            RegistrationOutcome,
        },
    },
};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct ApplyArgs {
    /// YAML with `entity_types:`, `features:` and `feature_sets:`
    #[arg(value_name = "FILE.yaml")]
    file: PathBuf,
    /// Only show what would change
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What a file does to what is registered.
struct Plan {
    registration: RegisterFeaturesResponse,
    /// For each feature of the registration: its properties that change, as `ttl: 1h → 2h`.
    changes: Vec<Vec<String>>,
    sets: Vec<SetPlan>,
}

/// What becomes of one feature set.
struct SetPlan {
    reference: String,
    outcome: RegistrationOutcome,
    /// Why it is listed although the file does not put it.
    note: Option<String>,
}

pub(super) async fn apply(args: ApplyArgs) -> Result<()> {
    let file = FeatureFile::read(&args.file)?;
    let request = file.registration()?;
    let client = args.connection.client().await?;
    let output = args.connection.output();
    let plan = plan(&client, &file, &request).await?;
    if args.plan || plan.changes_nothing() {
        return output
            .print(&plan.shape(false), || format!("{}\n{}", plan.people(), plan.closing(args.plan)));
    }
    apply_planned(&client, &file, request).await?;
    output.print(&plan.shape(true), || format!("{}\n{}", plan.people(), plan.closing(false)))
}

/// Registers all that a file holds.
pub(super) async fn apply_planned(
    client: &Client,
    file: &FeatureFile,
    request: RegisterFeaturesRequest,
) -> Result<()> {
    if !(request.features.is_empty() && request.entity_types.is_empty()) {
        client.register(request).await?;
    }
    for set in &file.feature_sets {
        client
            .put_feature_set(&set.name, &set.features)
            .await
            .map_err(|error| error.within(format!("feature_sets ({})", set.name)))?;
    }
    Ok(())
}

async fn plan(client: &Client, file: &FeatureFile, request: &RegisterFeaturesRequest) -> Result<Plan> {
    let registration = match request.features.is_empty() && request.entity_types.is_empty() {
        true => RegisterFeaturesResponse::default(),
        false => client.register(RegisterFeaturesRequest { dry_run: true, ..request.clone() }).await?,
    };
    let mut changes = Vec::new();
    for registered in &registration.features {
        let after = registered.feature.clone().unwrap_or_default();
        changes.push(match registered.outcome() {
            RegistrationOutcome::Changed => {
                let before = client.feature(&after.r#ref).await?.definition.unwrap_or_default();
                differences(&before, &after.definition.unwrap_or_default())
            }
            _ => Vec::new(),
        });
    }
    let sets = plan_sets(client, file, &registration).await?;
    Ok(Plan { registration, changes, sets })
}

async fn plan_sets(
    client: &Client,
    file: &FeatureFile,
    registration: &RegisterFeaturesResponse,
) -> Result<Vec<SetPlan>> {
    let existing = client.feature_sets().await?;
    let mut sets = Vec::new();
    for entry in &file.feature_sets {
        let newest = existing.iter().find(|set| set.name == entry.name);
        let outcome = match newest {
            None => RegistrationOutcome::Created,
            Some(set) if pins_the_same(client, set, &entry.features).await? => RegistrationOutcome::Unchanged,
            Some(_) => RegistrationOutcome::Changed,
        };
        let version =
            newest.map_or(0, |set| set.version) + u32::from(outcome != RegistrationOutcome::Unchanged);
        sets.push(SetPlan { reference: format!("{}@{version}", entry.name), outcome, note: None });
    }
    let changed: Vec<&str> = registration
        .features
        .iter()
        .filter(|registered| registered.outcome() == RegistrationOutcome::Changed)
        .filter_map(|registered| Some(registered.feature.as_ref()?.r#ref.as_str()))
        .collect();
    for set in existing.iter().filter(|set| file.feature_sets.iter().all(|entry| entry.name != set.name)) {
        let touched: Vec<_> = set
            .features
            .iter()
            .filter(|member| changed.contains(&member.as_str()))
            .map(String::as_str)
            .collect();
        if !touched.is_empty() {
            sets.push(SetPlan {
                reference: format!("{}@{}", set.name, set.version),
                outcome: RegistrationOutcome::Unchanged,
                note: Some(format!("holds {}", touched.join(", "))),
            });
        }
    }
    Ok(sets)
}

/// Whether putting `names` again would pin what the set pins already.
async fn pins_the_same(client: &Client, set: &FeatureSet, names: &[String]) -> Result<bool> {
    if set.names != names {
        return Ok(false);
    }
    for (name, pinned) in names.iter().zip(&set.features) {
        match client.feature(name).await {
            Ok(feature) if feature.r#ref == *pinned => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind == Kind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The properties that may change in place, where they differ.
fn differences(before: &FeatureDefinition, after: &FeatureDefinition) -> Vec<String> {
    let span =
        |span: &Option<prost_types::Duration>| span.as_ref().map_or_else(|| "none".into(), shape::duration);
    let default = |definition: &FeatureDefinition| {
        definition
            .default_value
            .as_ref()
            .and_then(value::from_proto)
            .map_or_else(|| "none".into(), |v| value::text(&v))
    };
    let tags = |definition: &FeatureDefinition| {
        let mut tags: Vec<_> = definition.tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
        tags.sort();
        tags.join(",")
    };
    let properties = [
        ("ttl", span(&before.ttl), span(&after.ttl)),
        ("cache_ttl", span(&before.cache_ttl), span(&after.cache_ttl)),
        ("description", before.description.clone(), after.description.clone()),
        ("owner", before.owner.clone(), after.owner.clone()),
        ("tags", tags(before), tags(after)),
        ("default", default(before), default(after)),
        ("allow_non_finite", before.allow_non_finite.to_string(), after.allow_non_finite.to_string()),
    ];
    let changed = properties.into_iter().filter(|(_, before, after)| before != after);
    changed.map(|(name, before, after)| format!("{name}: {before} → {after}")).collect()
}

impl Plan {
    fn changes_nothing(&self) -> bool {
        self.registration.entity_types_created.is_empty()
            && self
                .registration
                .features
                .iter()
                .all(|feature| feature.outcome() == RegistrationOutcome::Unchanged)
            && self.sets.iter().all(|set| set.outcome == RegistrationOutcome::Unchanged)
    }

    fn people(&self) -> String {
        let types = self.registration.entity_types_created.iter();
        let types = types.map(|name| ["created".to_owned(), format!("entity type {name}"), String::new()]);
        let features = self.registration.features.iter().zip(&self.changes).map(|(registered, changes)| {
            let reference = registered.feature.as_ref().map_or("", |feature| &feature.r#ref);
            [
                shape::outcome(registered.outcome()).to_owned(),
                format!("feature {reference}"),
                changes.join("\n"),
            ]
        });
        let sets = self.sets.iter().map(|set| {
            let outcome = if set.note.is_some() { "touched" } else { shape::outcome(set.outcome) };
            [
                outcome.to_owned(),
                format!("feature set {}", set.reference),
                set.note.clone().unwrap_or_default(),
            ]
        });
        table(["", "what", "how"], types.chain(features).chain(sets)).trim_fmt()
    }

    fn closing(&self, plan_only: bool) -> String {
        let features = self.registration.features.len() as u64;
        match (self.changes_nothing(), plan_only) {
            (true, _) => format!("Nothing to change: {} as the file has them.", count(features, "feature")),
            (false, true) => "Nothing was changed: leave out --plan to apply this.".into(),
            (false, false) => format!("Applied: {}.", count(features, "feature")),
        }
    }

    fn shape(&self, applied: bool) -> PlanShape {
        let put = self.sets.iter().filter(|set| set.note.is_none());
        PlanShape {
            applied,
            entity_types_created: self.registration.entity_types_created.clone(),
            features: list(self.registration.features.clone()),
            feature_sets: put
                .map(|set| SetShape { r#ref: set.reference.clone(), outcome: set.outcome.into() })
                .collect(),
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct PlanShape {
    applied: bool,
    entity_types_created: Vec<String>,
    features: Vec<RegisteredFeature>,
    feature_sets: Vec<SetShape>,
}

#[derive(Serialize)]
struct SetShape {
    r#ref: String,
    outcome: Outcome,
}
