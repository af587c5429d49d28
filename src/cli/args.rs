//! Options that several commands share.

use super::output::Output;
use crate::{
    app::admin_key_file,
    client::{Client, Target},
    clock::Clock,
    config::default_data_dir,
    error::{Error, Result},
    feature::{Duration, Round, Timestamp},
    wire::proto::EntityIds,
};
use clap::Args;
use std::{collections::HashMap, path::PathBuf, str::FromStr};

/// Options of every command that calls a server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server and output")]
pub(super) struct Connection {
    /// Where the server is [default: http://127.0.0.1:8000]
    #[arg(long, env = "LARDER_URL", hide_env_values = true, global = true)]
    url: Option<String>,
    /// The API key [default: what DATA_DIR/admin.key holds]
    #[arg(long, env = "LARDER_KEY", hide_env_values = true, global = true)]
    key: Option<String>,
    /// Where a server on this machine keeps its data, and its first key [default: as `larder serve`]
    #[arg(long, env = "LARDER_DATA_DIR", hide_env_values = true, global = true)]
    data_dir: Option<PathBuf>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
}

impl Connection {
    pub async fn client(&self) -> Result<Client> {
        let data_dir =
            self.data_dir.clone().unwrap_or_else(|| default_data_dir(|name| std::env::var(name).ok()));
        let key_file = admin_key_file(&data_dir);
        Client::connect(&Target::find(self.url.clone(), self.key.clone(), &key_file)).await
    }

    pub fn output(&self) -> Output {
        Output { json: self.json }
    }
}

/// Which features.
#[derive(Args, Clone, Debug, Default)]
#[group(required = true, multiple = false)]
pub(super) struct FeatureArgs {
    /// Features by name (country), reference (profile.country) or version (country@2)
    #[arg(short, long = "feature", value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub features: Vec<String>,
    /// A feature set (fraud, or fraud@3) instead
    #[arg(long = "set", value_name = "SET")]
    pub feature_set: Option<String>,
}

/// Which entities: ids, or columns of ids by key.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct EntityArgs {
    /// Entity ids
    #[arg(value_name = "ENTITY")]
    pub ids: Vec<String>,
    /// The id of one key, for features of several entity types or with composite keys:
    /// --entity user=u1 --entity merchant=m7
    #[arg(long = "entity", value_name = "KEY=ID", value_parser = KeyId::from_str)]
    pub keys: Vec<KeyId>,
}

/// Which one entity.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct OneEntityArgs {
    /// The entity's id
    #[arg(value_name = "ENTITY")]
    pub id: Option<String>,
    /// The id of each key, where a composite key names it: --entity user=u1 --entity merchant=m7
    #[arg(long = "entity", value_name = "KEY=ID", value_parser = KeyId::from_str)]
    pub keys: Vec<KeyId>,
}

/// `user=u1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyId {
    pub key: String,
    pub id: String,
}

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, id) =
            text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=ID, such as user=u1"))?;
        Ok(Self { key: key.to_owned(), id: id.to_owned() })
    }
}

impl EntityArgs {
    /// Columns of ids by key, in the order given; the n-th id of every key makes the n-th row.
    pub fn columns(&self) -> Result<HashMap<String, EntityIds>> {
        let mut columns: HashMap<String, EntityIds> = HashMap::new();
        for KeyId { key, id } in &self.keys {
            columns.entry(key.clone()).or_default().ids.push(id.clone());
        }
        let mut lengths = columns.values().map(|column| column.ids.len());
        let first = lengths.next();
        match lengths.all(|length| Some(length) == first) {
            true => Ok(columns),
            false => {
                Err(Error::invalid("--entity", "every key needs the same number of ids, one for each row"))
            }
        }
    }
}

impl OneEntityArgs {
    pub fn id(&self) -> String {
        self.id.clone().unwrap_or_default()
    }

    pub fn keys(&self) -> HashMap<String, String> {
        self.keys.iter().map(|KeyId { key, id }| (key.clone(), id.clone())).collect()
    }
}

/// A moment: RFC 3339 with an offset, or how long ago (`7d`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Moment {
    At(Timestamp),
    Ago(Duration),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(ago) => Ok(Self::Ago(ago)),
            Err(_) => Timestamp::parse(text, Round::Down)
                .map(Self::At)
                .map_err(|error| format!("{error}, nor a time ago such as 90s, 5m, 1h or 7d")),
        }
    }
}

impl Moment {
    pub fn resolve(self) -> Timestamp {
        match self {
            Self::At(timestamp) => timestamp,
            Self::Ago(ago) => Clock::system().now().saturating_add(-ago.micros()),
        }
    }
}

/// A moment that a server sent.
pub(super) fn from_proto(timestamp: &prost_types::Timestamp) -> Timestamp {
    Timestamp::from_seconds_nanos(timestamp.seconds, timestamp.nanos, Round::Down).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!("7d".parse::<Moment>().unwrap(), Moment::Ago("7d".parse().unwrap()));
        assert!(matches!("2024-01-15T14:22:00Z".parse::<Moment>().unwrap(), Moment::At(_)));
        assert!("yesterday".parse::<Moment>().unwrap_err().contains("7d"));
    }

    #[test]
    fn entity_columns_are_of_one_length() {
        let args = |keys: &[&str]| EntityArgs {
            ids: Vec::new(),
            keys: keys.iter().map(|text| text.parse().unwrap()).collect(),
        };
        assert_eq!(args(&["user=a=b", "user=c"]).columns().unwrap()["user"].ids, ["a=b", "c"]);
        assert!(args(&["user=a", "user=b", "item=c"]).columns().is_err());
    }
}
