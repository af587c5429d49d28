//! Every metric, named in this one file.
//!
//! Requests are counted in plain atomics that a scrape reads: the hot path pays a few nanoseconds for them.

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, MeterProvider},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder, Registry, TextEncoder};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the latency buckets, in seconds; 15 ms and 50 ms are among the service's objectives.
const LATENCY_BUCKETS: [f64; 16] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The words that label requests. A request is counted by its positions in them.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    pub transports: &'static [&'static str],
    pub verbs: &'static [&'static str],
    pub codes: &'static [&'static str],
}

/// All metrics of one server.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    labels: Labels,
    duration: Histogram<f64>,
    /// By transport and verb.
    duration_labels: Vec<[KeyValue; 2]>,
    counts: Arc<Counts>,
}

/// How one partition of the event log stands.
#[derive(Clone, Debug)]
pub struct StreamSample {
    pub partition: u32,
    pub lag: u64,
    /// Events by what became of them.
    pub events: [(&'static str, u64); 5],
    pub rows: u64,
    pub rows_dropped: u64,
    pub values_skipped: u64,
    pub cells_overflowed: u64,
    pub commits: u64,
    pub commit_time: Duration,
    pub entities: u64,
    pub panes: u64,
    pub state_bytes: u64,
    pub is_stalled: bool,
    pub is_fenced: bool,
}

struct Counts {
    /// By transport, verb and code.
    requests: Vec<AtomicU64>,
    cells_read: AtomicU64,
    rows_written: AtomicU64,
    events_published: AtomicU64,
    connections: AtomicI64,
    connections_refused: AtomicU64,
}

impl Metrics {
    pub fn new(labels: Labels) -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .with_namespace("larder")
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .expect("a fresh registry takes a collector");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("larder");
        let series = labels.transports.len() * labels.verbs.len();
        let counts = Arc::new(Counts {
            requests: (0..series * labels.codes.len()).map(|_| AtomicU64::new(0)).collect(),
            cells_read: AtomicU64::new(0),
            rows_written: AtomicU64::new(0),
            events_published: AtomicU64::new(0),
            connections: AtomicI64::new(0),
            connections_refused: AtomicU64::new(0),
        });
        let duration = meter
            .f64_histogram("api.request.duration")
            .with_unit("s")
            .with_description("From a request's head to the end of its answer's making; streams to their end")
            .with_boundaries(LATENCY_BUCKETS.to_vec())
            .build();
        let pairs = labels.transports.iter().flat_map(|transport| {
            labels
                .verbs
                .iter()
                .map(|verb| [KeyValue::new("transport", *transport), KeyValue::new("verb", *verb)])
        });
        let duration_labels: Vec<_> = pairs.collect();

        let (seen, pairs) = (counts.clone(), duration_labels.clone());
        meter
            .u64_observable_counter("api.requests")
            .with_description(
                "Requests answered, by transport, verb and gRPC code (for REST the code of its error)",
            )
            .with_callback(move |observer| {
                for (count, position) in seen.requests.iter().zip(0..) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let [transport, verb] = pairs[position / labels.codes.len()].clone();
                        let code = KeyValue::new("code", labels.codes[position % labels.codes.len()]);
                        observer.observe(count, &[transport, verb, code]);
                    }
                }
            })
            .build();
        let counter = |name, description, read: fn(&Counts) -> &AtomicU64| {
            let seen = counts.clone();
            meter
                .u64_observable_counter(name)
                .with_description(description)
                .with_callback(move |observer| observer.observe(read(&seen).load(Ordering::Relaxed), &[]))
                .build();
        };
        counter("feature.reads", "Cells of online answers and training sets", |counts| &counts.cells_read);
        counter("feature.writes", "Rows made durable", |counts| &counts.rows_written);
        counter("event.publishes", "Events made durable", |counts| &counts.events_published);
        counter("api.connections.refused", "Connections closed because too many were open", |counts| {
            &counts.connections_refused
        });
        let seen = counts.clone();
        meter
            .i64_observable_gauge("api.connections")
            .with_description("Open connections")
            .with_callback(move |observer| observer.observe(seen.connections.load(Ordering::Relaxed), &[]))
            .build();
        Self { registry, provider, labels, duration, duration_labels, counts }
    }

    /// Shows how partitions of the event log stand, as `read` tells at each scrape.
    pub fn watch_streams(&self, read: impl Fn() -> Vec<StreamSample> + Send + Sync + 'static) {
        let (meter, read) = (self.provider.meter("larder"), Arc::new(read));
        let partition = |sample: &StreamSample| KeyValue::new("partition", i64::from(sample.partition));
        let seen = read.clone();
        meter
            .u64_observable_counter("stream.events")
            .with_description("Events of the log, each judged once")
            .with_callback(move |observer| {
                for sample in seen() {
                    for (judgement, count) in sample.events {
                        observer.observe(count, &[partition(&sample), KeyValue::new("judgement", judgement)]);
                    }
                }
            })
            .build();
        let seen = read.clone();
        meter
            .f64_observable_counter("stream.commit.duration")
            .with_unit("s")
            .with_description("Time that commits of windows took together; divide by their number")
            .with_callback(move |observer| {
                seen().iter().for_each(|sample| {
                    observer.observe(sample.commit_time.as_secs_f64(), &[partition(sample)]);
                });
            })
            .build();
        let counter = |name, description, value: fn(&StreamSample) -> u64| {
            let seen = read.clone();
            meter
                .u64_observable_counter(name)
                .with_description(description)
                .with_callback(move |observer| {
                    seen().iter().for_each(|sample| observer.observe(value(sample), &[partition(sample)]));
                })
                .build();
        };
        counter("stream.rows", "Rows of windows made durable", |sample| sample.rows);
        counter("stream.rows.dropped", "Rows of windows before what is kept", |sample| sample.rows_dropped);
        counter(
            "stream.values.skipped",
            "Values of counted events that were missing, or that a feature does not take",
            |sample| sample.values_skipped,
        );
        counter(
            "stream.cells.overflowed",
            "Cells of windows that are null because their dtype cannot hold them",
            |sample| sample.cells_overflowed,
        );
        counter("stream.commits", "Commits of windows", |sample| sample.commits);
        let gauge = |name, description, value: fn(&StreamSample) -> u64| {
            let seen = read.clone();
            meter
                .u64_observable_gauge(name)
                .with_description(description)
                .with_callback(move |observer| {
                    seen().iter().for_each(|sample| observer.observe(value(sample), &[partition(sample)]));
                })
                .build();
        };
        gauge("stream.lag.records", "Records of the log that are not judged yet", |sample| sample.lag);
        gauge("stream.entities", "Entities with open windows", |sample| sample.entities);
        gauge("stream.panes", "Pairs of entity and pane", |sample| sample.panes);
        gauge("stream.state.bytes", "Memory of open windows", |sample| sample.state_bytes);
        gauge("stream.stalled", "1 = the partition does not go on; the log says why", |sample| {
            u64::from(sample.is_stalled)
        });
        gauge(
            "stream.fenced",
            "1 = another process took the partition over, and the reader here ended",
            |sample| u64::from(sample.is_fenced),
        );
    }

    /// Counts an answered request, by the positions of its labels.
    pub fn answered(&self, transport: usize, verb: usize, code: usize, took: Duration) {
        let series = transport * self.labels.verbs.len() + verb;
        self.counts.requests[series * self.labels.codes.len() + code].fetch_add(1, Ordering::Relaxed);
        self.duration.record(took.as_secs_f64(), &self.duration_labels[series]);
    }

    /// Counts cells that were answered, whatever their status.
    pub fn cells_read(&self, cells: u64) {
        self.counts.cells_read.fetch_add(cells, Ordering::Relaxed);
    }

    /// Counts rows that became durable.
    pub fn rows_written(&self, rows: u64) {
        self.counts.rows_written.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts events that became durable.
    pub fn events_published(&self, events: u64) {
        self.counts.events_published.fetch_add(events, Ordering::Relaxed);
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> Connection {
        self.counts.connections.fetch_add(1, Ordering::Relaxed);
        Connection(self.clone())
    }

    pub fn connection_refused(&self) {
        self.counts.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything in Prometheus's text format.
    pub fn scrape(&self) -> Vec<u8> {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => text,
            Err(error) => format!("# the metrics could not be written: {error}\n").into_bytes(),
        }
    }
}

/// An open connection.
pub struct Connection(Arc<Metrics>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.counts.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_requests_and_the_buckets_of_the_objectives() {
        let labels =
            Labels { transports: &["grpc", "rest"], verbs: &["a", "b"], codes: &["OK", "NOT_FOUND"] };
        let metrics = Arc::new(Metrics::new(labels));
        metrics.answered(1, 0, 1, Duration::from_millis(12));
        metrics.cells_read(7);
        let open = metrics.connection();
        let text = String::from_utf8(metrics.scrape()).unwrap();
        for line in [
            r#"larder_api_requests_total{code="NOT_FOUND",transport="rest",verb="a"} 1"#,
            r#"larder_api_request_duration_seconds_bucket{transport="rest",verb="a",le="0.01"} 0"#,
            r#"larder_api_request_duration_seconds_bucket{transport="rest",verb="a",le="0.015"} 1"#,
            r#"larder_api_request_duration_seconds_bucket{transport="rest",verb="a",le="0.05"} 1"#,
            "larder_feature_reads_total 7",
            "larder_feature_writes_total 0",
            "larder_event_publishes_total 0",
            "larder_api_connections 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        drop(open);
        assert!(String::from_utf8(metrics.scrape()).unwrap().contains("larder_api_connections 0"));
    }
}
