//! The example shop, compiled in, and the questions that are asked of it.

use crate::{
    cli::{apply::apply_planned, events::events_of, feature_file::FeatureFile, file::Format, write::rows_of},
    client::Client,
    error::{Error, Result},
    wire::proto::{
        self, Event, FeatureRow, PublishEventsRequest, PublishEventsResponse, WriteFeaturesRequest,
    },
};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use std::sync::Arc;

const FEATURES: &str = include_str!("../../../examples/shop/features.yaml");
const EVENTS: &str = include_str!("../../../examples/shop/events.ndjson");
const PURCHASES: &str = include_str!("../../../examples/shop/purchases.csv");

/// The files of rows.
const ROWS: [(&str, Format); 4] = [
    (include_str!("../../../examples/shop/profiles.csv"), Format::Csv),
    (include_str!("../../../examples/shop/baskets.ndjson"), Format::Ndjson),
    (include_str!("../../../examples/shop/products.csv"), Format::Csv),
    (include_str!("../../../examples/shop/views.csv"), Format::Csv),
];

/// The customers that the online answer is about; nobody ever wrote about the last.
pub(super) const CUSTOMERS: [&str; 4] = ["ann", "ben", "cleo", "dan"];
/// The features that it shows.
pub(super) const ASKED: [&str; 4] = ["country", "tier", "newsletter", "basket_value"];
/// The moment that it is asked for.
pub(super) const AS_OF: &str = "2025-11-28T15:00:00Z";
/// The windowed features, what they are asked for before all events have come, and about whom.
pub(super) const COUNTED: [&str; 3] = ["spent_1h", "orders_1h", "products_1h"];
pub(super) const EARLIER: &str = "2025-11-28T14:30:00Z";
pub(super) const BUYERS: [&str; 2] = ["ann", "ben"];
/// Events that come in before the first answer.
const FIRST_EVENTS: usize = 8;
/// The set that the training set is made of.
pub(super) const FEATURE_SET: &str = "checkout";

pub(super) async fn register(client: &Client) -> Result<Vec<proto::Feature>> {
    let file = FeatureFile::parse(FEATURES)?;
    apply_planned(client, &file, file.registration()?).await?;
    client.features(proto::ListFeaturesRequest::default()).await
}

/// Writes every file, and returns how many rows were new.
pub(super) async fn write(client: &Client) -> Result<u64> {
    let mut accepted = 0;
    for (text, format) in ROWS {
        let rows = rows_of(client, text, format).await?;
        accepted += client.write(WriteFeaturesRequest { rows, ..Default::default() }).await?.accepted;
    }
    Ok(accepted)
}

/// The events of the afternoon: those up to half past two, and those after.
pub(super) fn events() -> Result<(Vec<Event>, Vec<Event>)> {
    let mut first = events_of(EVENTS)?;
    let rest = first.split_off(FIRST_EVENTS.min(first.len()));
    Ok((first, rest))
}

pub(super) async fn publish(client: &Client, events: Vec<Event>) -> Result<PublishEventsResponse> {
    client.publish(PublishEventsRequest { events, ..Default::default() }).await
}

/// What the shop learns too late: ann's account was Irish all along.
pub(super) async fn correct(client: &Client) -> Result<()> {
    let text = "event_timestamp,user,country,tier,newsletter\n2025-11-03T08:15:00Z,ann,IE,bronze,true\n";
    let rows: Vec<FeatureRow> = rows_of(client, text, Format::Csv).await?;
    client.write(WriteFeaturesRequest { rows, ..Default::default() }).await.map(drop)
}

/// The spine: every purchase, with what became of it as the label.
pub(super) fn purchases() -> Result<RecordBatch> {
    let mut lines = PURCHASES.lines();
    let header = lines.next().unwrap_or_default();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let columns = header.split(',').enumerate().map(|(position, name)| {
        let fields: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row[position])));
        (name, fields)
    });
    RecordBatch::try_from_iter(columns).map_err(Error::internal)
}
