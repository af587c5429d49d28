//! Events as a gRPC stream: answer *i* acknowledges request *i*.

use super::*;
use crate::support::TestApp;
use larder::wire::proto::StreamPublishEventsRequest;
use tokio_stream::StreamExt;

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_the_order_of_the_requests() {
    let app = TestApp::start().await;
    let mut via = Via::Grpc(app.grpc().await);
    register(&mut via).await;
    let mut grpc = app.grpc().await;
    // Request i holds i events; one in three has a bad one in front, one in five none but repeats.
    let requests = (0..60_usize).map(|i| {
        let mut events: Vec<_> = (0..i)
            .map(|n| {
                let id = if i % 5 == 0 { "same".to_owned() } else { format!("{i}-{n}") };
                Event { event_id: id, ..purchase("u", 1.0) }.message()
            })
            .collect();
        if i % 3 == 0 {
            events.insert(0, Event::new("", "purchase", now()).message());
        }
        StreamPublishEventsRequest { events }
    });
    let requests: Vec<_> = requests.collect();
    let mut answers = grpc.stream_publish_events(tokio_stream::iter(requests)).await.unwrap().into_inner();
    for i in 0..60 {
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!(answer.accepted, i, "{i}");
        // The id that repeats was new in request 5 alone: appends come in the order of the requests.
        let duplicate = if i % 5 == 0 { i - u64::from(i == 5) } else { 0 };
        assert_eq!(answer.duplicate, duplicate, "{i}");
        let rejected: Vec<_> = answer.rejected.iter().map(|bad| (bad.event, bad.field.as_str())).collect();
        assert_eq!(rejected, if i % 3 == 0 { vec![(0, "events[0].entity_id")] } else { vec![] }, "{i}");
    }
    assert!(answers.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_keeps_several_requests_under_way() {
    let app = TestApp::start().await;
    let target =
        larder::client::Target { url: format!("http://{}", app.address()), key: Some(app.key().into()) };
    let client = larder::client::Client::connect(&target).await.unwrap();
    let mut writer = client.event_writer(4);
    let (mut acknowledged, mut accepted) = (0, 0);
    for i in 0..20_u64 {
        if let Some(answer) = writer.send(vec![purchase("u", 1.0).message(); 3]).await.unwrap() {
            assert_eq!((answer.first, answer.count), (3 * acknowledged, 3));
            (acknowledged, accepted) = (acknowledged + 1, accepted + answer.answer.accepted);
        }
        assert!(i + 1 - acknowledged <= 4);
    }
    writer.finish();
    while let Some(answer) = writer.next().await.unwrap() {
        accepted += answer.answer.accepted;
    }
    assert_eq!(accepted, 60);
}
