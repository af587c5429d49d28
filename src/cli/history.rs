//! `larder history`: the values of one feature over time.

use super::{
    args::{Connection, Moment, OneEntityArgs, from_proto},
    output::table,
    shape, value,
};
use crate::{
    error::Result,
    feature::Value,
    wire::{
        json::JsonWriter,
        proto::{Dtype, FeatureValue, GetFeatureHistoryRequest},
        value::timestamp_to,
    },
};
use clap::Args;

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
#[derive(Default)]
struct History {
    feature: String,
    dtype: Dtype,
    values: Vec<FeatureValue>,
    more: bool,
}

pub(super) async fn history(args: HistoryArgs) -> Result<()> {
    let client = args.connection.client().await?;
    let mut history = History::default();
    let mut page_token = String::new();
    loop {
        let left = args.limit.saturating_sub(history.values.len());
        let request = GetFeatureHistoryRequest {
            feature: args.feature.clone(),
            entity_id: args.entity.id(),
            entities: args.entity.keys(),
            from: args.since.map(|moment| timestamp_to(moment.resolve())),
            to: args.until.map(|moment| timestamp_to(moment.resolve())),
            page_size: left.clamp(1, PAGE_SIZE) as i32,
            page_token,
        };
        let page = client.history(request).await?;
        history.dtype = page.dtype();
        history.feature = page.feature;
        history.values.extend(page.values.into_iter().take(left));
        history.more = !page.next_page_token.is_empty();
        page_token = page.next_page_token;
        if !history.more || history.values.len() >= args.limit {
            break;
        }
    }
    if history.values.is_empty() {
        args.connection.output().note("No value was written in this span of time.");
    }
    args.connection.output().print(|w| json(w, &history), || people(&history))
}

fn json(w: &mut JsonWriter<'_>, history: &History) {
    w.object(|w| {
        w.key("feature").string(&history.feature);
        w.key("dtype").string(shape::dtype(history.dtype));
        w.key("values").array(|w| {
            for value in &history.values {
                w.object(|w| {
                    shape::moment(w.key("event_timestamp"), value.event_timestamp.as_ref());
                    shape::moment(w.key("created_timestamp"), value.created_timestamp.as_ref());
                    w.key("value").value(known(value).as_ref());
                    w.key("status").string(shape::value_status(value.value.as_ref()));
                });
            }
        });
        w.key("more").boolean(history.more);
    });
}

fn people(history: &History) -> String {
    let time = |at: &Option<prost_types::Timestamp>| {
        at.as_ref().map_or_else(String::new, |at| from_proto(at).to_string())
    };
    let rows = history.values.iter().map(|value| {
        let text = known(value).map_or_else(
            || shape::value_status(value.value.as_ref()).to_owned(),
            |value| value::text(&value),
        );
        [time(&value.event_timestamp), text, time(&value.created_timestamp)]
    });
    let table = table(["true since", history.feature.as_str(), "learned"], rows);
    match history.more {
        true => format!("{}\nThere is more: raise --limit, or narrow --since and --until.", table.trim_fmt()),
        false => table.trim_fmt(),
    }
}

fn known(value: &FeatureValue) -> Option<Value> {
    value::from_proto(value.value.as_ref()?)
}
