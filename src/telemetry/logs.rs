//! The log: one JSON object a line on standard error (`timestamp level logger message` and what else applies), or lines
//! for people where that is a terminal.

use crate::clock::Clock;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{fmt, io::IsTerminal};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
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

/// Starts logging for this process; once.
pub fn init_logs(settings: &LogSettings, clock: Clock) -> Result<(), String> {
    let filter = EnvFilter::try_new(&settings.level)
        .map_err(|error| format!("log.level {:?} is not understood: {error}", settings.level))?;
    // A line that cannot be written is lost. Complaining about it would panic where standard error itself is gone, and
    // take the request with it that only wanted to be logged.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let text = match settings.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    let started = match text {
        true => builder.try_init(),
        false => builder.event_format(JsonLines { clock }).try_init(),
    };
    started.map_err(|error| format!("logging was started already: {error}"))
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
