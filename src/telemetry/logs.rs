//! The log: one JSON object a line on standard error (`timestamp level logger message` and what else applies), or lines
//! for people where that is a terminal.

use crate::clock::Clock;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{fmt, io::IsTerminal, str::FromStr};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::LevelFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

/// Settings under `log:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Least level that is logged, and exceptions by module: `info`, or `info,larder::store=debug`.
    pub level: String,
    pub format: LogFormat,
    /// Of so many online reads one is logged at `info`; the others at `debug`. 0 = none.
    pub online_sample: u64,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    Json,
    Text,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto, online_sample: 1_000 }
    }
}

/// Changes what is logged while the process runs.
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

impl LogControl {
    /// Takes the level of these settings; the format stays.
    pub fn set_level(&self, settings: &LogSettings) -> Result<(), String> {
        self.0.reload(filter(&settings.level)?).map_err(|error| error.to_string())
    }
}

/// Reads `log.level`. `EnvFilter` alone would take a mistyped level for the name of a module, and log nothing.
fn filter(level: &str) -> Result<EnvFilter, String> {
    let names = level.split(',').map(str::trim).filter(|directive| !directive.contains(['=', '[']));
    for name in names {
        let known = LevelFilter::from_str(name).ok().filter(|_| !name.is_empty());
        known.ok_or_else(|| {
            format!(
                "log.level: {name:?} is no level; write trace, debug, info, warn, error or off, and exceptions behind it \
                 as info,larder::store=debug"
            )
        })?;
    }
    EnvFilter::try_new(level).map_err(|error| format!("log.level {level:?} is not understood: {error}"))
}

/// Starts logging for this process; once.
pub fn init_logs(settings: &LogSettings, clock: Clock) -> Result<LogControl, String> {
    let (filter, reloaded) = reload::Layer::new(filter(&settings.level)?);
    let is_terminal = std::io::stderr().is_terminal();
    // A line that cannot be written is lost. Complaining about it would panic where standard error itself is gone, and
    // take the request with it that only wanted to be logged.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal && std::env::var_os("NO_COLOR").is_none())
        .log_internal_errors(false);
    let text = match settings.format {
        LogFormat::Auto => is_terminal,
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    let filtered = tracing_subscriber::registry().with(filter);
    let started = match text {
        true => filtered.with(lines).try_init(),
        false => filtered.with(lines.event_format(JsonLines { clock })).try_init(),
    };
    started.map_err(|error| format!("logging was started already: {error}"))?;
    Ok(LogControl(reloaded))
}

/// Writes each event as one flat JSON object.
struct JsonLines {
    clock: Clock,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        write!(writer, "{{\"timestamp\":\"{}\"", self.clock.now())?;
        for (name, value) in [("level", metadata.level().as_str()), ("logger", metadata.target())] {
            write!(writer, ",\"{name}\":{}", Value::from(value))?;
        }
        write!(writer, ",\"message\":{}", Value::from(fields.message))?;
        for (name, value) in &fields.others {
            write!(writer, ",{}:{value}", Value::from(name.as_str()))?;
        }
        writeln!(writer, "}}")
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            _ => self.put(field, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.put(field, format!("{value:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Timestamp;
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_mistyped_level_is_refused() {
        for level in ["info", "INFO", "off", "info,larder::store=debug", "warn,hyper=off", "larder=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for level in ["inof", "", "info,debgu", "larder::store", "larder=loud"] {
            assert!(filter(level).unwrap_err().contains("log.level"), "{level}");
        }
    }

    #[test]
    fn a_line_is_one_flat_json_object() {
        let captured = Captured::default();
        let writer = captured.clone();
        let clock = Clock::from_fn(|| Timestamp::from_stored(1_705_328_520_000_000));
        let subscriber = tracing_subscriber::fmt()
            .event_format(JsonLines { clock })
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "larder::api", entity_id = "a\"\n", feature_count = 3u64, duration_ms = 1.5, "answered");
        });
        let line = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        let expected = serde_json::json!({
            "timestamp": "2024-01-15T14:22:00Z", "level": "INFO", "logger": "larder::api", "message": "answered",
            "entity_id": "a\"\n", "feature_count": 3, "duration_ms": 1.5,
        });
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
    }
}
