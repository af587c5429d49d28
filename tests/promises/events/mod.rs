//! Events in: what is refused and where, in which forms they come, and how they are counted.

mod forms;
mod lines;
mod refusals;
mod stalls;
mod streams;

use super::{
    records::Event,
    via::{Published, Via, each, expect},
};
use crate::support::TestApp;
use larder::{
    clock::Clock,
    event::{Payload, decode},
    feature::Value,
    serving::write::Judge,
};
use serde_json::json;

/// Purchases of users are counted and summed; views belong to users and products alike.
async fn register(via: &mut Via) {
    let window = |event_type: &str, function: &str| json!({"event_type": event_type, "function": function, "size": "5m", "slide": "1m"});
    let request = json!({"features": [
        {"name": "purchases", "entity_type": "user", "dtype": "int64", "window": window("purchase", "count")},
        {"name": "spent", "entity_type": "user", "dtype": "float64", "window": window("purchase", "sum")},
        {"name": "seen_by_user", "entity_type": "user", "dtype": "int64", "window": window("view", "count")},
        {"name": "seen_product", "entity_type": "product", "dtype": "int64", "window": window("view", "count")}]});
    via.register(request).await.unwrap();
}

/// Seconds since the epoch.
fn now() -> f64 {
    (Clock::system().now().micros() / 1_000_000) as f64
}

fn purchase(id: &str, ago: f64) -> Event {
    Event { value: Some(Value::Float64(1.5)), ..Event::new(id, "purchase", now() - ago) }
}

fn accepted(accepted: u64) -> Published {
    Published { accepted, ..Published::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_counted_once_by_what_became_of_it() {
    each(async |_, via| {
        register(via).await;
        let known = |id: &str| Event { event_id: id.into(), ..purchase("u1", 60.0) };
        assert_eq!(
            via.publish(&[known("a"), known("b"), known("a")]).await.unwrap(),
            Published { duplicate: 1, ..accepted(3) }
        );
        assert_eq!(via.publish(&[known("b")]).await.unwrap(), Published { duplicate: 1, ..accepted(1) });
        // Ids are an entity's own.
        let other = Event { event_id: "a".into(), ..purchase("u2", 60.0) };
        assert_eq!(via.publish(&[other]).await.unwrap(), accepted(1));
        let unknown = Event::new("u1", "nobody-asks", now());
        let of_others = Event { entity_type: "merchant".into(), ..purchase("u1", 1.0) };
        assert_eq!(via.publish(&[unknown, of_others]).await.unwrap(), Published { unused: 2, ..accepted(2) });
        // The watermark lies 10 minutes behind: windows of 5 minutes that end before it are closed.
        let late = purchase("u1", 3_600.0);
        assert_eq!(
            via.publish(&[purchase("u1", 0.0), late]).await.unwrap(),
            Published { late: 1, ..accepted(2) }
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_type_of_several_entity_types_needs_one() {
    each(async |_, via| {
        register(via).await;
        let view =
            |entity_type: &str| Event { entity_type: entity_type.into(), ..Event::new("x", "view", now()) };
        expect(via.publish(&[view("user"), view("")]).await, "invalid-argument", "events[1].entity_type");
        assert_eq!(via.publish(&[view("user"), view("product")]).await.unwrap(), accepted(2));
    })
    .await;
}

/// The registry changes between what is judged at the door and what the log's reader finds.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_reader_finds_dead_is_rejected() {
    let app = TestApp::start().await;
    let mut via = Via::Rest(app.rest());
    let taps_of = |entity_type: &str| {
        let window = json!({"event_type": "tap", "function": "count", "size": "5m", "slide": "1m"});
        json!({"features": [{"name": format!("taps_of_{entity_type}"), "entity_type": entity_type, "dtype": "int64", "window": window}]})
    };
    via.register(taps_of("user")).await.unwrap();
    let service = app.app().service();
    let caller = service.registry.authenticate(app.key(), service.clock.now()).unwrap();
    let mut events = service.events(&caller, Judge::AllOrNothing, 0).unwrap();
    let payload = Payload::Json(Event::new("x", "tap", now()).json().to_string().into());
    events.event(|events| events.keep(&decode(&payload)?.head, &payload)).unwrap();
    via.register(taps_of("product")).await.unwrap();
    let outcome = service.publish(&caller, events).await.unwrap();
    assert_eq!((outcome.accepted, outcome.rejected.len()), (0, 1));
    let rejected = &outcome.rejected[0];
    assert_eq!((rejected.event, rejected.field.as_str()), (0, "events[0].entity_type"));
    assert!(rejected.reason.contains("give the event its entity_type"), "{}", rejected.reason);
}
