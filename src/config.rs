//! Settings: defaults, then the file, then the environment, then flags; the later wins.
//!
//! `larder.example.yaml` documents every one. `LARDER_LIMITS__ENTITIES_MAX=500` sets `limits.entities_max`.

use crate::{
    api::HttpSettings, feature::Duration, serving::Limits, store::embedded::Options, telemetry::LogSettings,
    window,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What begins the name of a setting in the environment.
const PREFIX: &str = "LARDER_";
/// Read by the program itself, or by its commands as clients.
const NOT_SETTINGS: [&str; 4] = ["CONFIG", "KEY", "URL", "BOOTSTRAP_KEY"];

/// All settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where gRPC and REST listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where metrics are answered to everybody. None = only at `listen`, to loopback and operators.
    pub metrics_listen: Option<SocketAddr>,
    /// Where everything durable lies.
    pub data_dir: PathBuf,
    /// Keeps everything in memory; all is gone at the end.
    pub in_memory: bool,
    pub http: HttpSettings,
    pub limits: Limits,
    pub store: StoreSettings,
    pub events: EventSettings,
    pub log: LogSettings,
}

/// Settings of the event log and of windows, under `events:`.
///
/// The same log gives the same rows only under the same settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventSettings {
    /// Partitions of the embedded log; each is aggregated by a thread of its own. Fixed once events were taken in.
    pub partitions: u32,
    /// How long the embedded log keeps events, by the time they came in.
    pub retention: Span,
    /// How far the watermark stays behind the greatest event timestamp of a source: events that much late still count.
    pub watermark_delay: Span,
    /// How long an `event_id` is remembered.
    pub ids_for: Span,
    /// `event_id`s remembered at most, for each partition.
    pub ids_max: usize,
    /// Bytes of open windows, for each partition.
    pub state_bytes_max: usize,
}

/// Settings of the embedded store, under `store:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// How long history is kept by event timestamp; none = for ever. Each entity's newest row always stays.
    pub retention: Option<Span>,
    /// Bytes of memory for the newest rows of entities in use.
    pub latest_bytes_max: usize,
    /// Bytes of memory for rows not yet in segments; as much again while they are written out.
    pub memtable_bytes_max: usize,
}

/// A span as settings write it: `90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        let options = Options::default();
        Self {
            retention: options.retention.map(Span),
            latest_bytes_max: options.latest_bytes_max,
            memtable_bytes_max: options.memtable_bytes_max,
        }
    }
}

impl Default for EventSettings {
    fn default() -> Self {
        let windows = window::Options::default();
        Self {
            partitions: 1,
            retention: Span(Duration::from_secs(7 * 86_400)),
            watermark_delay: Span(windows.watermark_delay),
            ids_for: Span(windows.ids_for),
            ids_max: windows.ids_max,
            state_bytes_max: windows.bytes_max,
        }
    }
}

impl Config {
    /// How windows are computed.
    pub fn windows(&self) -> window::Options {
        window::Options {
            watermark_delay: self.events.watermark_delay.0,
            future_max: self.limits.future_max.0,
            ids_for: self.events.ids_for.0,
            ids_max: self.events.ids_max,
            bytes_max: self.events.state_bytes_max,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            metrics_listen: None,
            data_dir: default_data_dir(|name| std::env::var(name).ok()),
            in_memory: false,
            http: HttpSettings::default(),
            limits: Limits::default(),
            store: StoreSettings::default(),
            events: EventSettings::default(),
            log: LogSettings::default(),
        }
    }
}

/// `$XDG_DATA_HOME/larder`, or `~/.local/share/larder`; without a home `./larder-data`.
pub fn default_data_dir(env: impl Fn(&str) -> Option<String>) -> PathBuf {
    let given = |name| env(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    let share = given("XDG_DATA_HOME").or_else(|| given("HOME").map(|home| home.join(".local/share")));
    share.map_or_else(|| PathBuf::from("larder-data"), |share| share.join("larder"))
}

impl Config {
    /// Joins the four layers. `flags` are (path, value) pairs such as (`listen`, `127.0.0.1:0`).
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self, String> {
        let mut settings = Value::Object(Map::new());
        if let Some(path) = file {
            settings = from_file(path)?;
        }
        let mut env: Vec<_> =
            env.into_iter().filter_map(|(name, value)| Some((setting(&name)?, name, value))).collect();
        env.sort();
        for (path, name, value) in env {
            set(&mut settings, &path, &value).map_err(|error| format!("{name}: {error}"))?;
        }
        for (path, value) in flags {
            set(&mut settings, path, &value)
                .map_err(|error| format!("--{}: {error}", path.replace('_', "-")))?;
        }
        typed(settings)
    }

    /// The settings of a YAML text.
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        // An empty file is a file without settings.
        match serde_saphyr::from_str::<Option<Self>>(text) {
            Ok(config) => Ok(config.unwrap_or_default()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Reads a file twice: once typed, because only that error tells the line, and once as a tree to put the rest over.
fn from_file(path: &Path) -> Result<Value, String> {
    let within = |error: String| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| within(error.to_string()))?;
    Config::from_yaml(&text).map_err(within)?;
    let tree: Option<Value> = serde_saphyr::from_str(&text).map_err(|error| within(error.to_string()))?;
    Ok(tree.unwrap_or_else(|| Value::Object(Map::new())))
}

/// The path of the setting that a variable names: `LARDER_HTTP__STREAMS_MAX` is `http.streams_max`.
///
/// A Kubernetes service called `larder` puts `LARDER_PORT` and `LARDER_SERVICE_HOST` into every pod beside it.
fn setting(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(PREFIX)?;
    let foreign = name == "PORT" || name.starts_with("PORT_") || name.starts_with("SERVICE_");
    (!foreign && !NOT_SETTINGS.contains(&name)).then(|| name.to_ascii_lowercase().replace("__", "."))
}

/// Puts one value over what is there, and checks that the settings still make sense.
fn set(settings: &mut Value, path: &str, text: &str) -> Result<(), String> {
    let mut place = &mut *settings;
    for name in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let object = place.as_object_mut().expect("it was made one");
        place = object.entry(name).or_insert(Value::Null);
    }
    *place = Value::from(text);
    let as_text = typed(settings.clone());
    if as_text.is_ok() {
        return Ok(());
    }
    // Numbers and booleans are not text: read them as YAML would.
    if let Ok(scalar @ (Value::Number(_) | Value::Bool(_))) = serde_saphyr::from_str::<Value>(text) {
        let mut tried = settings.clone();
        let place = tried.pointer_mut(&format!("/{}", path.replace('.', "/"))).expect("it was put there");
        *place = scalar;
        let typed = typed(tried.clone());
        *settings = tried;
        return typed.map(|_| ());
    }
    as_text.map(|_| ())
}

fn typed(settings: Value) -> Result<Config, String> {
    serde_json::from_value(settings).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        yaml: Option<&str>,
        env: &[(&str, &str)],
        flags: &[(&'static str, &str)],
    ) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("larder.yaml");
        if let Some(yaml) = yaml {
            fs::write(&path, yaml).unwrap();
        }
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags = flags.iter().map(|(path, value)| (*path, (*value).to_owned()));
        Config::load(yaml.map(|_| path.as_path()), env, flags)
    }

    #[test]
    fn the_later_layer_wins() {
        let yaml =
            "listen: 127.0.0.1:1\nlimits:\n  entities_max: 1\n  features_max: 1\nhttp:\n  body_timeout: 2s\n";
        let env = [
            ("LARDER_LISTEN", "127.0.0.1:2"),
            ("LARDER_LIMITS__ENTITIES_MAX", "2"),
            ("LARDER_LIMITS__FUTURE_MAX", "7m"),
            ("LARDER_IN_MEMORY", "true"),
            ("HOME", "/x"),
        ];
        let config = load(Some(yaml), &env, &[("listen", "127.0.0.1:3"), ("data_dir", "123")]).unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!((config.limits.entities_max, config.limits.features_max), (2, 1));
        assert_eq!(config.limits.future_max.0.to_string(), "7m");
        assert_eq!(config.http.body_timeout.as_secs(), 2);
        assert_eq!(config.data_dir, PathBuf::from("123"));
        assert!(config.in_memory);
    }

    #[test]
    fn no_settings_are_the_defaults() {
        assert_eq!(load(None, &[], &[]).unwrap(), Config::default());
        assert_eq!(load(Some(""), &[], &[]).unwrap(), Config::default());
        assert_eq!(load(Some("# nothing\n"), &[], &[]).unwrap(), Config::default());
    }

    #[test]
    fn what_is_not_a_setting_is_named_with_its_place() {
        for (yaml, env, flags, parts) in [
            (
                Some("limits:\n  entity_max: 1\n"),
                None,
                None,
                vec!["larder.yaml", "entity_max", "entities_max"],
            ),
            (Some("lisen: x\n"), None, None, vec!["larder.yaml", "lisen", "listen"]),
            (Some("http:\n  body_timeout: soon\n"), None, None, vec!["larder.yaml", "soon"]),
            (
                None,
                Some(("LARDER_LIMITS__ENTITY_MAX", "1")),
                None,
                vec!["LARDER_LIMITS__ENTITY_MAX", "entities_max"],
            ),
            (
                None,
                Some(("LARDER_LIMITS__ENTITIES_MAX", "many")),
                None,
                vec!["LARDER_LIMITS__ENTITIES_MAX", "many"],
            ),
            (
                None,
                None,
                Some(("metrics_listen", "here")),
                vec!["--metrics-listen", "invalid socket address"],
            ),
        ] {
            let error = load(yaml, env.as_slice(), flags.as_slice()).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn what_others_put_into_the_environment_is_left_alone() {
        let env = [
            ("LARDER_PORT", "tcp://10.0.0.1:8000"),
            ("LARDER_PORT_8000_TCP_ADDR", "10.0.0.1"),
            ("LARDER_SERVICE_HOST", "10.0.0.1"),
            ("LARDER_KEY", "k"),
            ("LARDER_URL", "u"),
        ];
        assert_eq!(load(None, &env, &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_data_directory_follows_xdg() {
        let with = |pairs: &'static [(&str, &str)]| {
            default_data_dir(|name| {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(with(&[("XDG_DATA_HOME", "/d"), ("HOME", "/h")]), PathBuf::from("/d/larder"));
        assert_eq!(with(&[("XDG_DATA_HOME", ""), ("HOME", "/h")]), PathBuf::from("/h/.local/share/larder"));
        assert_eq!(with(&[]), PathBuf::from("larder-data"));
    }
}
