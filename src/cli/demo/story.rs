//! What the demo tells: seven short chapters, and the calls to repeat them.

use super::shop;
use crate::{
    cli::{
        batch::texts,
        explain,
        get::answer_table,
        output::{count, say, table},
        shape,
    },
    client::Client,
    error::{Error, Result},
    feature::{Round, Timestamp},
    wire::{
        proto::{
            Event, ExplainFeatureRequest, GetOnlineFeaturesRequest, HistoricalHeader, HistoricalOptions,
            historical_options::Knowledge,
        },
        value::timestamp_to,
    },
};
use arrow::array::RecordBatch;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    net::SocketAddr,
    time::Duration,
};

/// How long to wait for rows of windows, which are committed just after their events are acknowledged.
const LOOKS_MAX: usize = 500;
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(super) async fn tell(client: &Client, address: SocketAddr, key: &str, exits: bool) -> Result<()> {
    say(format_args!("{} on http://{address}, in memory, in this process.", bold("A feature store")))?;
    registration(client).await?;
    rows(client).await?;
    online(client).await?;
    events(client).await?;
    explanation(client).await?;
    let (settled_at, set) = training(client).await?;
    correction(client, settled_at, &set).await?;
    calls(address, key, exits)
}

async fn registration(client: &Client) -> Result<()> {
    chapter("1. Features are registered", "examples/shop/features.yaml")?;
    let features = shop::register(client).await?;
    let rows = features.iter().map(|feature| {
        let definition = feature.definition.clone().unwrap_or_default();
        let ttl = definition.ttl.as_ref().map_or_else(|| "–".into(), shape::duration);
        let dtype = shape::dtype(&definition);
        [feature.r#ref.clone(), definition.entity_type, dtype, ttl, definition.description]
    });
    say(table(["feature", "entity type", "dtype", "ttl", "description"], rows).trim_fmt())?;
    say("Every feature has a type, an entity it describes, and a ttl: how long a value stays valid.")
}

async fn rows(client: &Client) -> Result<()> {
    chapter("2. Rows come in", "examples/shop/*.csv, *.ndjson")?;
    let accepted = shop::write(client).await?;
    say(format_args!(
        "{} accepted. Each says when it was true; the store notes when it learned it.",
        count(accepted, "row")
    ))
}

async fn online(client: &Client) -> Result<()> {
    chapter("3. A model asks: the online answer", &format!("as of {}", shop::AS_OF))?;
    let as_of = Timestamp::parse(shop::AS_OF, Round::Down).map_err(Error::internal)?;
    let request = GetOnlineFeaturesRequest {
        entity_ids: shop::CUSTOMERS.map(str::to_owned).to_vec(),
        features: shop::ASKED.map(str::to_owned).to_vec(),
        as_of: Some(timestamp_to(as_of)),
        ..Default::default()
    };
    let answer = client.online(request).await?;
    let entities = shop::CUSTOMERS.map(|id| BTreeMap::from([("entity_id".to_owned(), id.to_owned())]));
    say(answer_table(&answer, &entities.to_vec(), as_of).trim_fmt())?;
    say("Every cell says what became of it:")?;
    for (status, meaning) in [
        ("PRESENT", "the newest value at that moment"),
        ("NULL_VALUE", "null was written: cleo has not chosen about the newsletter"),
        ("OUTSIDE_MAX_AGE", "ben's basket is older than its ttl of 30m, so it is not served"),
        ("NOT_FOUND", "nobody ever wrote about dan"),
    ] {
        say(format_args!("  {status:<16} {meaning}"))?;
    }
    Ok(())
}

async fn events(client: &Client) -> Result<()> {
    chapter("4. Events stream in and become features", "examples/shop/events.ndjson")?;
    let (first, rest) = shop::events()?;
    published(client, first).await?;
    counted(client, shop::EARLIER).await?;
    say("A window is the hour before its end, and slides by five minutes. More events come:")?;
    published(client, rest).await?;
    counted(client, shop::AS_OF).await?;
    say(
        "ann's order of 14:24 came after one of 14:31 and counts all the same; one of 13:30 came when its windows were",
    )?;
    say(
        "closed. A repeated order counts once, and what happens at 15:00 belongs to the window that begins then.",
    )
}

async fn published(client: &Client, events: Vec<Event>) -> Result<()> {
    let answer = shop::publish(client, events).await?;
    say(format_args!(
        "{} accepted: {} unused, {} late, {} duplicate.",
        count(answer.accepted, "event"),
        answer.unused,
        answer.late,
        answer.duplicate
    ))
}

/// Shows the windowed features as of a moment, once what is due by then is there.
async fn counted(client: &Client, as_of: &str) -> Result<()> {
    let as_of = Timestamp::parse(as_of, Round::Down).map_err(Error::internal)?;
    let request = GetOnlineFeaturesRequest {
        entity_ids: shop::BUYERS.map(str::to_owned).to_vec(),
        features: shop::COUNTED.map(str::to_owned).to_vec(),
        as_of: Some(timestamp_to(as_of)),
        ..Default::default()
    };
    for _ in 0..LOOKS_MAX {
        let answer = client.online(request.clone()).await?;
        if answer.cell(0, 0).event_timestamp == Some(as_of) {
            let entities = shop::BUYERS.map(|id| BTreeMap::from([("entity_id".to_owned(), id.to_owned())]));
            say(format_args!("As of {as_of}:"))?;
            return say(answer_table(&answer, &entities.to_vec(), as_of).trim_fmt());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Error::internal("the events were not counted in time; the log on standard error says why"))
}

async fn explanation(client: &Client) -> Result<()> {
    chapter("5. One cell is explained", "ann's spent_1h")?;
    let as_of = Timestamp::parse(shop::AS_OF, Round::Down).map_err(Error::internal)?;
    let request = ExplainFeatureRequest {
        feature: shop::COUNTED[0].to_owned(),
        entity_id: shop::BUYERS[0].to_owned(),
        as_of: Some(timestamp_to(as_of)),
        ..Default::default()
    };
    say(explain::people(&client.explain(request).await?))
}

/// Shows the training set; returns the moment it was settled at, and the set.
async fn training(client: &Client) -> Result<(prost_types::Timestamp, RecordBatch)> {
    chapter("6. Training asks: the same features, as they were", "examples/shop/purchases.csv")?;
    let (header, batch) = training_set(client, None).await?;
    show_batch(&batch)?;
    say(
        "No leak: ann became gold at 14:30, so her purchase at 12:00 says bronze; the radio's price and every basket",
    )?;
    say(
        "are those of the row's own moment, judged by the same ttl as online. What she spent before is there, what she",
    )?;
    say("spent at that very moment is not.")?;
    let settled_at =
        header.settled_at.ok_or_else(|| Error::internal("a training set states its settled time"))?;
    Ok((settled_at, batch))
}

async fn correction(client: &Client, known_at: prost_types::Timestamp, first: &RecordBatch) -> Result<()> {
    chapter("7. The past is corrected", "ann's account was Irish until 14:30, we learn today")?;
    shop::correct(client).await?;
    let (_, before) = training_set(client, Some(known_at)).await?;
    if before.columns() != first.columns() {
        return Err(Error::internal(
            "with known_at the training set came out differently; please report this",
        ));
    }
    let (_, after) = training_set(client, None).await?;
    let (moment, user, country) =
        (column(&before, "timestamp")?, column(&before, "user")?, column(&before, "country")?);
    let now = column(&after, "country")?;
    let rows = (0..moment.len()).map(|i| [&moment[i], &user[i], &country[i], &now[i]]);
    let known_at = Timestamp::from_seconds_nanos(known_at.seconds, known_at.nanos, Round::Down)
        .map_err(Error::internal)?;
    say(table(["timestamp", "user", "country, known_at = before", "country, known now"], rows).trim_fmt())?;
    say(format_args!("With known_at = {known_at} the first training set comes again, value for value:"))?;
    say("what was learned later is left out, and nothing was overwritten.")
}

/// The lines that repeat it all. Each works when pasted while the demo runs.
fn calls(address: SocketAddr, key: &str, exits: bool) -> Result<()> {
    say(format_args!("\n{}", bold("Ask it yourself")))?;
    let ids = quoted(&shop::CUSTOMERS);
    let features = quoted(&shop::ASKED);
    let question =
        format!(r#"{{"entity_ids": [{ids}], "features": [{features}], "as_of": "{}"}}"#, shop::AS_OF);
    let spine = r#"{"feature_set": "checkout", "details": true, "spine": [{"user": "ann", "product": "lamp", "timestamp": "2025-11-28T12:00:00Z", "bought": 1}]}"#;
    let event = r#"{"entity_id": "ben", "event_type": "purchase", "value": 19.5, "timestamp": "2025-11-28T15:21:00Z", "metadata": {"product": "bulb"}}"#;
    let why = r#"{"entity_id": "ann", "feature": "spent_1h", "as_of": "2025-11-28T15:00:00Z"}"#;
    let larder = std::env::args().next().unwrap_or_else(|| "larder".into());
    let rest = |path: &str, body: &str| {
        format!(
            "curl -s http://{address}/api/v1{path} -H 'X-API-Key: {key}' -H 'Content-Type: application/json' -d '{body}'"
        )
    };
    let lines = [
        ("The online answer, over REST and over gRPC:", rest("/features/online", &question)),
        (
            "",
            format!(
                "grpcurl -plaintext -H 'x-api-key: {key}' -d '{question}' {address} larder.v1.FeatureService/GetOnlineFeatures"
            ),
        ),
        ("A training row:", rest("/features/batch", spine)),
        ("Another event, and why a value is what it is:", rest("/events", event)),
        ("", rest("/features/explain", why)),
        ("What else there is:", format!("grpcurl -plaintext {address} describe larder.v1.FeatureService")),
        ("The same from the command line:", format!("export LARDER_URL=http://{address} LARDER_KEY={key}")),
        ("", format!("{larder} get ann ben -f country,basket_value --as-of {}", shop::AS_OF)),
        ("", format!("{larder} history ann -f spent_1h")),
        ("", format!("{larder} explain ann orders_1h --as-of {}", shop::AS_OF)),
    ];
    for (title, line) in lines {
        if !title.is_empty() {
            say(format_args!("\n{title}"))?;
        }
        say(line)?;
    }
    if exits {
        return Ok(());
    }
    say(format_args!("\n{} Ctrl-C stops it.", bold("The server stays up.")))
}

/// The training set over all purchases, in one batch.
async fn training_set(
    client: &Client,
    known_at: Option<prost_types::Timestamp>,
) -> Result<(HistoricalHeader, RecordBatch)> {
    let options = HistoricalOptions {
        feature_set: shop::FEATURE_SET.to_owned(),
        knowledge: known_at.map(Knowledge::KnownAt),
        ..Default::default()
    };
    let spine = futures_util::stream::iter([shop::purchases()]);
    let mut set = client.training_set(options, spine).await?;
    let mut batches = Vec::new();
    while let Some(batch) = set.next().await? {
        batches.push(batch);
    }
    let schema = batches.first().ok_or_else(|| Error::internal("the training set is empty"))?.schema();
    let whole = arrow::compute::concat_batches(&schema, &batches).map_err(Error::internal)?;
    Ok((set.header, whole))
}

fn column(batch: &RecordBatch, name: &str) -> Result<Vec<String>> {
    let position = batch.schema_ref().index_of(name).map_err(Error::internal)?;
    Ok(texts(batch)?.into_iter().map(|mut row| row.swap_remove(position)).collect())
}

fn show_batch(batch: &RecordBatch) -> Result<()> {
    let header: Vec<_> = batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
    let rows = texts(batch)?.into_iter().map(|row| {
        row.into_iter().map(|text| if text.is_empty() { "–".to_owned() } else { text }).collect::<Vec<_>>()
    });
    say(table(header, rows).trim_fmt())
}

fn chapter(title: &str, source: &str) -> Result<()> {
    say(format_args!("\n{}  ({source})", bold(title)))
}

fn quoted(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ")
}

fn bold(text: &str) -> String {
    match io::stdout().is_terminal() {
        true => format!("\x1b[1m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}
