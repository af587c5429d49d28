//! Health, readiness, metrics, reflection.

use crate::support::{TestApp, send};
use larder::access::Scope;
use reqwest::Method;
use serde_json::json;
use std::net::SocketAddr;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn health_and_readiness_need_no_key() {
    let app = TestApp::start().await;
    let rest = app.rest_with(None);
    assert_eq!(rest.get("/health").await.json(200), json!({"status": "alive"}));
    let parts = json!({"server": "ok", "store": "ok", "events": "ok"});
    assert_eq!(rest.get("/ready").await.json(200), json!({"status": "ready", "parts": parts}));

    let mut health = HealthClient::new(channel(app.address()).await);
    for service in ["", "larder.v1.FeatureService"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
}

/// `grpc-health-probe -gzip`.
#[tokio::test]
async fn health_may_be_asked_compressed() {
    let app = TestApp::start().await;
    let gzip = tonic::codec::CompressionEncoding::Gzip;
    let health = HealthClient::new(channel(app.address()).await);
    let mut health = health.send_compressed(gzip).accept_compressed(gzip);
    let answer = health.check(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn reflection_lists_and_describes() {
    let app = TestApp::start().await;
    let request = |message_request| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let requests = tokio_stream::iter([
        request(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        request(v1::server_reflection_request::MessageRequest::FileContainingSymbol(
            "larder.v1.FeatureService".into(),
        )),
        // What errors carry: without it a client that knows nothing prints bytes.
        request(v1::server_reflection_request::MessageRequest::FileContainingSymbol(
            "google.rpc.BadRequest".into(),
        )),
    ]);
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel(app.address()).await);
    let answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let answers: Vec<_> =
        answers.map(|answer| format!("{:?}", answer.unwrap().message_response)).collect().await;
    assert!(
        answers[0].contains("larder.v1.FeatureService") && answers[0].contains("grpc.health.v1.Health"),
        "{answers:?}"
    );
    assert!(answers[1..].iter().all(|answer| answer.contains("FileDescriptorResponse")), "{answers:?}");

    let requests = tokio_stream::iter([v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    }]);
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(channel(app.address()).await);
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    assert!(format!("{:?}", answers.next().await).contains("larder.v1.FeatureService"));
}

#[tokio::test]
async fn metrics_are_for_this_machine_and_for_operators() {
    let app = TestApp::start().await;
    let from_afar = |key: Option<&str>| {
        send(app.rest_with(key).request(Method::GET, "/metrics").header("x-forwarded-for", "192.0.2.1"))
    };
    assert_eq!(app.rest_with(None).get("/metrics").await.status, 200);
    from_afar(None).await.problem(401);
    let reader = app.key_of("default", &[Scope::Read, Scope::Admin]).await;
    from_afar(Some(&reader)).await.problem(403);
    let operator = app.key_of("default", &[Scope::Operator]).await;
    assert_eq!(from_afar(Some(&operator)).await.status, 200);
}

#[tokio::test]
async fn metrics_have_an_address_of_their_own_if_asked_for() {
    let app =
        TestApp::start_with(|config| config.metrics_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0))))
            .await;
    let rest = crate::support::RestClient::new(app.app().metrics_address().unwrap(), None);
    let request = rest.request(Method::GET, "/metrics").header("x-forwarded-for", "192.0.2.1");
    assert_eq!(send(request).await.status, 200);
    rest.get("/health").await.json(200);
    assert_eq!(rest.get("/api/v1/features").await.status, 401);
}

#[tokio::test]
async fn metrics_count_by_verb_and_code_and_name_nobody() {
    let app = TestApp::start().await.with_country().await;
    let key = app.key_of("secret_tenant", &Scope::ALL).await;
    let body = json!({"features": ["country"], "entity_ids": ["secret_entity", "u1"]});
    app.rest().post("/api/v1/features/online", &body).await.json(200);
    app.rest_with(Some(&key)).post("/api/v1/features/online", &body).await.problem(404);
    let text = app.rest().get("/metrics").await.text;
    for line in [
        r#"larder_api_requests_total{code="OK",transport="rest",verb="GetOnlineFeatures"} 1"#,
        r#"larder_api_requests_total{code="NOT_FOUND",transport="rest",verb="GetOnlineFeatures"} 1"#,
        r#"larder_api_request_duration_seconds_count{transport="rest",verb="GetOnlineFeatures"} 2"#,
        "larder_feature_reads_total 2",
        "larder_feature_writes_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(text.contains(r#"le="0.015""#) && text.contains(r#"le="0.05""#));
    assert!(!text.contains("secret") && !text.contains(&key) && !text.contains("default"));
}
