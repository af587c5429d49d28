//! `larder explain`: why one value is what it is.

use super::{
    args::{Connection, KeyId, Moment},
    output::table,
    shape, value,
};
use crate::{
    error::{Error, Result},
    feature::Duration,
    wire::{
        control::Explanation,
        json::Int64Form,
        proto::{self, ExplainFeatureRequest, ExplainFeatureResponse},
        value::timestamp_to,
    },
};
use clap::Args;
use std::str::FromStr;

#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The entity's id, unless --entity names it; then the feature, by any of its references
    #[arg(value_names = ["ENTITY", "NAME"], num_args = 1..=2, required = true)]
    names: Vec<String>,
    /// The id of each key, where a composite key names it: --entity user=u1 --entity merchant=m7
    #[arg(long = "entity", value_name = "KEY=ID", value_parser = KeyId::from_str)]
    keys: Vec<KeyId>,
    /// As things were at this moment, or this long ago (1h) [default: now]
    #[arg(long, value_name = "TIME")]
    as_of: Option<Moment>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn explain(args: ExplainArgs) -> Result<()> {
    let (entity_id, feature) = match (args.names.as_slice(), args.keys.is_empty()) {
        ([id, name], true) => (id.clone(), name.clone()),
        ([name], false) => (String::new(), name.clone()),
        ([name], true) => {
            let message = format!("say whose {name:?} to explain: larder explain ENTITY {name}");
            return Err(Error::invalid("ENTITY", message));
        }
        _ => {
            return Err(Error::invalid("ENTITY", "ENTITY and --entity exclude each other; give one of them"));
        }
    };
    let request = ExplainFeatureRequest {
        feature,
        entity_id,
        entities: args.keys.into_iter().map(|KeyId { key, id }| (key, id)).collect(),
        as_of: args.as_of.map(|moment| timestamp_to(moment.resolve())),
    };
    let answer = args.connection.client().await?.explain(request).await?;
    let shape = Explanation::of(answer.clone(), Int64Form::Number);
    args.connection.output().print(&shape, || people(&answer))
}

/// A line for each fact that there is, and the sentence under it.
pub(super) fn people(answer: &ExplainFeatureResponse) -> String {
    let mut facts = vec![
        ("status", answer.status().as_str_name().to_owned()),
        ("value", shown(answer.value.as_ref())),
        ("as of", shape::moment_text(answer.as_of.as_ref())),
        ("age", answer.age.as_ref().map_or_else(|| "–".to_owned(), rough)),
        ("ttl", answer.ttl.as_ref().map_or_else(|| "never expires".to_owned(), shape::duration)),
    ];
    if let Some(row) = &answer.row {
        facts.extend([
            ("row: true since", shape::moment_text(row.event_timestamp.as_ref())),
            ("row: learned", shape::moment_text(row.created_timestamp.as_ref())),
            ("row: sequence", row.sequence.to_string()),
            ("row: holds", shown(row.value.as_ref())),
            ("row: corrects", row.corrections.to_string()),
        ]);
    }
    if let Some(window) = &answer.window {
        let field = if window.field.is_empty() { String::new() } else { format!(" of {}", window.field) };
        let whole = if window.complete { "" } else { " (of what could be read)" };
        facts.extend([
            ("window: computes", format!("{}{field} over {}", window.function, window.event_type)),
            ("window: from", shape::moment_text(window.start.as_ref())),
            ("window: to", format!("{}, exclusive", shape::moment_text(window.end.as_ref()))),
            ("events: counted", format!("{}{whole}", window.events_counted)),
            ("events: late", window.events_late.to_string()),
            ("events: duplicate", window.events_duplicate.to_string()),
            ("events: unused", window.events_unused.to_string()),
            ("events: pending", window.events_pending.to_string()),
            ("events: first", shape::moment_text(window.first_event.as_ref())),
            ("events: last", shape::moment_text(window.last_event.as_ref())),
        ]);
    }
    let table =
        table([answer.feature.as_str(), ""], facts.into_iter().map(|(name, text)| [name.to_owned(), text]));
    format!("{}\n\n{}.", table.trim_fmt(), answer.reason)
}

/// Null where null was written, a dash where nothing was.
fn shown(value: Option<&proto::Value>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) => {
            value::from_proto(value).map_or_else(|| "null".to_owned(), |value| value::text(&value))
        }
    }
}

fn rough(span: &prost_types::Duration) -> String {
    Duration::from_micros(span.seconds.saturating_mul(1_000_000))
        .map_or_else(|| shape::duration(span), Duration::rough)
}
