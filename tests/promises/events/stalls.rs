//! A partition whose reader cannot go on holds its own producers, and nobody else's.

use super::{accepted, purchase, register};
use crate::{
    promises::{looks::admin_list, via::Via},
    support::TestApp,
};
use larder::store::log::partition_of;
use serde_json::Value as Json;

/// Entities that each have open windows, until their partition takes more memory than it may.
const ENTITIES: usize = 8_000;
const BATCH: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_partition_holds_its_own_producers_alone() {
    for grpc in [false, true] {
        let app = TestApp::start_with(|config| {
            config.events.partitions = 2;
            config.events.state_bytes_max = 400_000;
        })
        .await;
        let mut via = if grpc { Via::Grpc(app.grpc().await) } else { Via::Rest(app.rest()) };
        register(&mut via).await;
        let of_partition = |partition: u32| {
            (0..)
                .map(|number| format!("user {number}"))
                .filter(move |id| partition_of(id.as_bytes(), 2) == partition)
        };
        let many: Vec<String> = of_partition(0).take(ENTITIES).collect();
        let mut refused = None;
        for ids in many.chunks(BATCH) {
            let events: Vec<_> = ids.iter().map(|id| purchase(id, 1.0)).collect();
            if let Err(error) = via.publish(&events).await {
                refused = Some(error);
                break;
            }
        }
        let refused = refused.expect("the partition stalls");
        assert_eq!(refused.kind, "unavailable");
        assert!(refused.message.contains("events.state_bytes_max"), "{refused:?}");
        let (mine, other) = (of_partition(0).next().unwrap(), of_partition(1).next().unwrap());
        assert_eq!(via.publish(&[purchase(&mine, 1.0)]).await.unwrap_err().kind, "unavailable");
        assert_eq!(via.publish(&[purchase(&other, 1.0)]).await.unwrap(), accepted(1));
        let both = [purchase(&other, 1.0), purchase(&mine, 1.0)];
        assert_eq!(via.publish(&both).await.unwrap_err().kind, "unavailable", "all or nothing");
        let streams = admin_list(&app, &via, app.key(), "streams", &[]).await.unwrap();
        assert!(streams["streams"][0]["stalled"].as_str().unwrap().contains("events.state_bytes_max"));
        assert_eq!(streams["streams"][1]["stalled"], Json::Null);
    }
}
