//! Settings: defaults, then the file, then the environment, then flags; the later wins.
//!
//! `larder.example.yaml` documents every one. `LARDER_LIMITS__ENTITIES_MAX=500` sets `limits.entities_max`.

use crate::{
    api::HttpSettings, feature::Duration, serving::Limits, store::embedded::Options, telemetry::LogSettings,
    window,
};
use serde::{Deserialize, Deserializer, de::Error as _};
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

/// Settings that are not in a section: what a variable without `__` can name.
const TOP_LEVEL: [&str; 9] =
    ["listen", "metrics_listen", "data_dir", "in_memory", "http", "limits", "store", "events", "log"];

/// All settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where gRPC and REST listen; port 0 picks a free one.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Where metrics are answered to everybody. None = only at `listen`, to loopback and operators.
    #[serde(deserialize_with = "optional_address")]
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

/// Settings, and what was passed over on the way to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// Variables that begin like settings and are none: another program's, or mistyped. Worth a warning.
    pub ignored: Vec<String>,
}

/// `$XDG_DATA_HOME/larder`, or `~/.local/share/larder`; without a home `./larder-data`. A relative `XDG_DATA_HOME` is
/// passed over, as its specification asks.
pub fn default_data_dir(env: impl Fn(&str) -> Option<String>) -> PathBuf {
    let given = |name| env(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    let share = given("XDG_DATA_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| given("HOME").map(|home| home.join(".local/share")));
    share.map_or_else(|| PathBuf::from("larder-data"), |share| share.join("larder"))
}

impl Config {
    /// Joins the four layers. `flags` are (path, value) pairs such as (`listen`, `127.0.0.1:0`).
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Loaded, String> {
        let mut settings = Value::Object(Map::new());
        if let Some(path) = file {
            settings = from_file(path)?;
        }
        let (mut found, mut ignored) = (Vec::new(), Vec::new());
        for (name, value) in env {
            match setting(&name) {
                Variable::Setting(path) => found.push((path, name, value)),
                Variable::Unknown => ignored.push(name),
                Variable::Foreign => {}
            }
        }
        found.sort();
        ignored.sort();
        for (path, name, value) in found {
            set(&mut settings, &path, &value).map_err(|error| format!("{name}: {error}"))?;
        }
        for (path, value) in flags {
            set(&mut settings, path, &value)
                .map_err(|error| format!("--{}: {error}", path.replace('_', "-")))?;
        }
        let config = typed(settings)?;
        config.check()?;
        Ok(Loaded { config, ignored })
    }

    /// Refuses settings with which the server would run and answer nothing.
    fn check(&self) -> Result<(), String> {
        let Self { http, limits, events, store, .. } = self;
        let counts = [
            ("http.connections_max", http.connections_max as u64),
            ("http.streams_max", http.streams_max.into()),
            ("http.uri_bytes_max", http.uri_bytes_max as u64),
            ("http.header_bytes_max", http.header_bytes_max as u64),
            ("limits.features_max", limits.features_max as u64),
            ("limits.entities_max", limits.entities_max as u64),
            ("limits.cells_max", limits.cells_max as u64),
            ("limits.reply_bytes_max", limits.reply_bytes_max as u64),
            ("limits.message_bytes_max", limits.message_bytes_max as u64),
            ("limits.body_bytes_max", limits.body_bytes_max as u64),
            ("limits.line_bytes_max", limits.line_bytes_max as u64),
            ("limits.row_bytes_max", limits.row_bytes_max as u64),
            ("limits.window_slides_max", limits.window_slides_max.into()),
            ("limits.group_columns_max", limits.group_columns_max as u64),
            ("limits.spine_piece_bytes_max", limits.spine_piece_bytes_max as u64),
            ("limits.training_bytes_max", limits.training_bytes_max as u64),
            ("limits.spool_bytes_max", limits.spool_bytes_max),
            ("events.partitions", events.partitions.into()),
            ("events.ids_max", events.ids_max as u64),
            ("events.state_bytes_max", events.state_bytes_max as u64),
            ("store.memtable_bytes_max", store.memtable_bytes_max as u64),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(format!("{name}: 0 leaves no room for anything; write 1 or more, or leave it out"));
        }
        let spans = [
            ("http.header_timeout", http.header_timeout),
            ("http.idle_timeout", http.idle_timeout),
            ("http.body_timeout", http.body_timeout),
            ("http.stream_timeout", http.stream_timeout),
            ("http.write_timeout", http.write_timeout),
            ("http.request_timeout", http.request_timeout),
            ("events.retention", events.retention.0.to_std()),
        ];
        let retention = store.retention.map(|span| ("store.retention", span.0.to_std()));
        if let Some((name, _)) = spans.into_iter().chain(retention).find(|(_, span)| span.is_zero()) {
            return Err(format!(
                "{name}: 0s is over before anything can happen; write a time such as 30s, or leave it out"
            ));
        }
        Ok(())
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

/// What a variable of the environment is to this program.
enum Variable {
    /// The path of a setting: `LARDER_HTTP__STREAMS_MAX` is `http.streams_max`.
    Setting(String),
    /// It begins like a setting, and there is none of its name.
    Unknown,
    /// Read elsewhere, or put there by others.
    Foreign,
}

/// Sorts a variable by its name.
///
/// For each service, called `larder` or `larder-online`, Kubernetes puts `LARDER_PORT`, `LARDER_SERVICE_HOST`,
/// `LARDER_ONLINE_PORT_8000_TCP_ADDR` and so on into every pod of the namespace. So a name without `__` that is no setting
/// cannot be told from another program's, and does not stop the start; one with `__` can only be meant as a setting.
fn setting(variable: &str) -> Variable {
    let Some(name) = variable.strip_prefix(PREFIX) else { return Variable::Foreign };
    let parts: Vec<&str> = name.split('_').collect();
    let of_kubernetes = parts.contains(&"PORT") || parts.contains(&"SERVICE");
    let path = name.to_ascii_lowercase().replace("__", ".");
    match () {
        () if NOT_SETTINGS.contains(&name) => Variable::Foreign,
        () if name.contains("__") || TOP_LEVEL.contains(&path.as_str()) => Variable::Setting(path),
        () if of_kubernetes => Variable::Foreign,
        () => Variable::Unknown,
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    // A bare port reads as a number, and deserves the same advice.
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => other.to_string(),
    };
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is no IP address with a port; write 127.0.0.1:8000 for this machine alone, 0.0.0.0:8000 for all \
             interfaces, or [::1]:8000"
        ))
    })
}

fn optional_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    #[derive(Deserialize)]
    struct Address(#[serde(deserialize_with = "address")] SocketAddr);
    Ok(Option::<Address>::deserialize(deserializer)?.map(|address| address.0))
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
        Config::load(yaml.map(|_| path.as_path()), env, flags).map(|loaded| loaded.config)
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
            (None, None, Some(("metrics_listen", "here")), vec!["--metrics-listen", "here", "0.0.0.0:8000"]),
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
            ("LARDER_ONLINE_PORT", "tcp://10.0.0.2:8000"),
            ("LARDER_ONLINE_SERVICE_PORT_GRPC", "8000"),
            ("LARDER_KEY", "k"),
            ("LARDER_URL", "u"),
            ("LARDER_VERSION", "1.0"),
            ("LARDER_HOME", "/opt/larder"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let loaded = Config::load(None, env, []).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.ignored, ["LARDER_HOME", "LARDER_VERSION"]);
        assert!(load(None, &[("LARDER_HTPP__STREAMS_MAX", "1")], &[]).is_err(), "it can only be a setting");
    }

    #[test]
    fn settings_that_answer_nothing_are_refused() {
        for (name, value) in [
            ("LARDER_HTTP__CONNECTIONS_MAX", "0"),
            ("LARDER_HTTP__REQUEST_TIMEOUT", "0s"),
            ("LARDER_LIMITS__ENTITIES_MAX", "0"),
            ("LARDER_STORE__RETENTION", "0s"),
        ] {
            let error = load(None, &[(name, value)], &[]).unwrap_err();
            assert!(error.contains("write") && error.contains('.'), "{error}");
        }
        assert!(load(None, &[("LARDER_HTTP__DRAIN_TIMEOUT", "0s")], &[]).is_ok());
        for listen in ["localhost:8000", ":8000", "8000"] {
            let error = load(None, &[("LARDER_LISTEN", listen)], &[]).unwrap_err();
            assert!(error.contains("127.0.0.1:8000"), "{error}");
        }
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
        assert_eq!(with(&[("XDG_DATA_HOME", "d"), ("HOME", "/h")]), PathBuf::from("/h/.local/share/larder"));
        assert_eq!(with(&[]), PathBuf::from("larder-data"));
    }
}
