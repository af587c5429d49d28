//! Online answers by the rules, each asked three ways: gRPC, REST, and REST packed.

pub mod ask;
mod entities;
mod failure;
mod features;
mod limits;
mod model;
mod time;
mod values;

use crate::support::TestApp;
use larder::{clock::Clock, config::Config, feature::Timestamp};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// What the servers of these tests take for now.
const NOW: &str = "2024-01-15T14:25:30Z";

/// A clock that stands still until it is set.
#[derive(Clone)]
struct HandClock(Arc<AtomicI64>);

impl HandClock {
    fn at(time: &str) -> Self {
        Self(Arc::new(AtomicI64::new(micros(time))))
    }

    fn set(&self, time: &str) {
        self.0.store(micros(time), Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let now = self.0.clone();
        Clock::from_fn(move || Timestamp::from_stored(now.load(Ordering::SeqCst)))
    }
}

fn micros(time: &str) -> i64 {
    Timestamp::parse(time, larder::feature::Round::Down).unwrap().micros()
}

/// `NOW`, moved.
fn now_plus(micros_ahead: i64) -> String {
    Timestamp::from_stored(micros(NOW) + micros_ahead).to_string()
}

async fn server() -> TestApp {
    server_with(|_| ()).await
}

async fn server_with(change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::start_at(HandClock::at(NOW).clock(), change).await
}

/// Registers features given as JSON.
async fn register(app: &TestApp, features: Value) {
    register_with(app, json!([]), features).await;
}

async fn register_with(app: &TestApp, entity_types: Value, features: Value) {
    let body = json!({"entity_types": entity_types, "features": features});
    app.rest().post("/api/v1/features/register", &body).await.json(200);
}

/// Writes a row of a user.
async fn write(app: &TestApp, id: &str, event_timestamp: &str, values: Value) {
    write_rows(
        app,
        json!([{"entity_type": "user", "entity_id": id, "event_timestamp": event_timestamp, "values": values}]),
    )
    .await;
}

async fn write_rows(app: &TestApp, rows: Value) {
    app.rest().post("/api/v1/features/write", &json!({"rows": rows})).await.json(200);
}
