//! `larder history`: the values of one feature over time.

use super::{
    args::{Connection, Moment, OneEntityArgs, from_proto},
    output::table,
    value,
};
use crate::{
    error::Result,
    feature::Value,
    wire::{
        control::{History, HistoryValue, status_of},
        json::Int64Form,
        proto::{FeatureValue, GetFeatureHistoryRequest, GetFeatureHistoryResponse},
        value::timestamp_to,
    },
};
use clap::Args;
use serde::Serialize;

/// Values that one page holds.
const PAGE_SIZE: usize = 1_000;

#[derive(Args, Debug)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    entity: OneEntityArgs,
    /// The feature, by any of its references
    #[arg(short, long, value_name = "NAME")]
    feature: String,
    /// From this moment or this long ago (7d) on [default: from the beginning]
    #[arg(long, visible_alias = "from", value_name = "TIME")]
    since: Option<Moment>,
    /// Up to this moment, exclusive [default: without end]
    #[arg(long, visible_alias = "to", value_name = "TIME")]
    until: Option<Moment>,
    /// Print at most this many values, oldest first
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    connection: Connection,
}

/// Some values, and whether more lie behind the last one.
#[derive(Serialize)]
struct Shape {
    feature: String,
    dtype: String,
    values: Vec<HistoryValue>,
    more: bool,
}

pub(super) async fn history(args: HistoryArgs) -> Result<()> {
    let client = args.connection.client().await?;
    let mut history = GetFeatureHistoryResponse::default();
    loop {
        let left = args.limit.saturating_sub(history.values.len());
        let request = GetFeatureHistoryRequest {
            feature: args.feature.clone(),
            entity_id: args.entity.id(),
            entities: args.entity.keys(),
            from: args.since.map(|moment| timestamp_to(moment.resolve())),
            to: args.until.map(|moment| timestamp_to(moment.resolve())),
            page_size: left.clamp(1, PAGE_SIZE) as i32,
            page_token: history.next_page_token,
        };
        let mut page = client.history(request).await?;
        page.values.truncate(left);
        history.values.append(&mut page.values);
        history = GetFeatureHistoryResponse { values: history.values, ..page };
        if history.next_page_token.is_empty() || history.values.len() >= args.limit {
            break;
        }
    }
    if history.values.is_empty() {
        args.connection.output().note("No value was written in this span of time.");
    }
    let more = !history.next_page_token.is_empty();
    let History { feature, dtype, values, .. } = History::of(history.clone(), Int64Form::Number);
    args.connection.output().print(&Shape { feature, dtype, values, more }, || people(&history))
}

fn people(history: &GetFeatureHistoryResponse) -> String {
    let time = |at: &Option<prost_types::Timestamp>| {
        at.as_ref().map_or_else(String::new, |at| from_proto(at).to_string())
    };
    let rows = history.values.iter().map(|value| {
        let text = known(value)
            .map_or_else(|| status_of(value.value.as_ref()).to_owned(), |value| value::text(&value));
        [time(&value.event_timestamp), text, time(&value.created_timestamp)]
    });
    let table = table(["true since", history.feature.as_str(), "learned"], rows);
    match history.next_page_token.as_str() {
        "" => table.trim_fmt(),
        _ => format!("{}\nThere is more: raise --limit, or narrow --since and --until.", table.trim_fmt()),
    }
}

fn known(value: &FeatureValue) -> Option<Value> {
    value::from_proto(value.value.as_ref()?)
}
