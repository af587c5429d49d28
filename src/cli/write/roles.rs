//! What each column of a file is: the moment, an entity's id, or a feature.

use crate::{
    cli::value,
    client::Client,
    error::{Error, Kind, Result},
    feature::Dtype,
    wire::proto::ListFeaturesRequest,
};
use clap::Args;
use std::collections::{HashMap, HashSet};
use tokio::runtime::Handle;

/// How the columns of a file are told apart.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ColumnArgs {
    /// The column with the event timestamp [default: event_timestamp, else timestamp]
    #[arg(long, value_name = "COL")]
    pub time: Option<String>,
    /// The column with the id of a key: --entity user=customer_id; a column that bears the name of an entity type needs
    /// no telling
    #[arg(long = "entity", value_name = "KEY=COL")]
    pub entities: Vec<String>,
    /// Pass over a column
    #[arg(long, value_name = "COL")]
    pub ignore: Vec<String>,
}

/// What a column is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Time,
    /// `entity_id`: the id for the type's only key.
    EntityId,
    EntityType,
    /// The id of this key.
    Key(String),
    /// A value of this dtype; the column's name is the feature's reference.
    Feature(Dtype),
    Ignored,
}

/// Tells roles by name, asking the catalogue once for each name. Lives on a thread that may wait.
pub(super) struct Roles {
    client: Client,
    runtime: Handle,
    args: ColumnArgs,
    /// Key by column.
    keys: HashMap<String, String>,
    entity_types: HashSet<String>,
    known: HashMap<String, Result<Role>>,
}

/// Names remembered: a file with more distinct ones is no table.
const NAMES_MAX: usize = 100_000;

impl Roles {
    pub async fn new(client: &Client, args: ColumnArgs) -> Result<Self> {
        let features = client.features(ListFeaturesRequest::default()).await?;
        let entity_types =
            features.into_iter().filter_map(|feature| Some(feature.definition?.entity_type)).collect();
        let keys = args.entities.iter().map(|text| match text.split_once('=') {
            Some((key, column)) => (column.to_owned(), key.to_owned()),
            None => (text.clone(), text.clone()),
        });
        let keys = keys.collect();
        let runtime = Handle::current();
        Ok(Self { client: client.clone(), runtime, args, keys, entity_types, known: HashMap::new() })
    }

    /// What the column called `name` is.
    pub fn of(&mut self, name: &str) -> Result<Role> {
        if let Some(role) = self.known.get(name) {
            return role.clone();
        }
        if self.known.len() >= NAMES_MAX {
            return Err(Error::invalid(
                name,
                format!("the file has more than {NAMES_MAX} different columns"),
            ));
        }
        let role = self.decide(name);
        self.known.insert(name.to_owned(), role.clone());
        role
    }

    /// A feature's dtype by its reference.
    pub fn dtype(&mut self, reference: &str) -> Result<Dtype> {
        match self.of(reference)? {
            Role::Feature(dtype) => Ok(dtype),
            _ => Err(Error::invalid(reference, "this is no feature")),
        }
    }

    fn decide(&self, name: &str) -> Result<Role> {
        if self.args.ignore.iter().any(|ignored| ignored == name) {
            return Ok(Role::Ignored);
        }
        if let Some(key) = self.keys.get(name) {
            return Ok(Role::Key(key.clone()));
        }
        match &self.args.time {
            Some(time) if time == name => return Ok(Role::Time),
            None if matches!(name, "event_timestamp" | "timestamp") => return Ok(Role::Time),
            _ => {}
        }
        match name {
            "entity_id" => return Ok(Role::EntityId),
            "entity_type" => return Ok(Role::EntityType),
            _ => {}
        }
        match self.runtime.block_on(self.client.feature(name)) {
            Ok(feature) => {
                let dtype = feature.definition.as_ref().and_then(value::dtype);
                dtype.map(Role::Feature).ok_or_else(|| {
                    Error::invalid(
                        name,
                        "the server says a dtype that this client does not know; use a newer client",
                    )
                })
            }
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::InvalidArgument) => {
                if self.entity_types.contains(name) {
                    return Ok(Role::Key(name.to_owned()));
                }
                Err(Error::new(
                    Kind::NotFound,
                    format!(
                        "the column {name:?} is no registered feature; register it with `larder apply`, or say --entity \
                         KEY={name} if it holds ids, --time {name} if it holds the moment, --ignore {name} if nothing"
                    ),
                ))
            }
            Err(error) => Err(error),
        }
    }
}
