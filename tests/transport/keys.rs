//! Who asks: the rows of the bad-input table on keys, through both transports.

use crate::support::{TestApp, send};
use larder::{
    access::{ApiKeySecret, Scope},
    clock::Clock,
    feature::{Round, Timestamp},
    wire::proto::{GetFeatureRequest, RegisterFeaturesRequest},
};
use reqwest::Method;
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};
use tonic::{Code, Request};

#[tokio::test]
async fn without_a_valid_key_nothing_answers() {
    let app = TestApp::start().await;
    let mut fake = app.key().to_owned();
    let last = if fake.pop() == Some('0') { '1' } else { '0' };
    fake.push(last);
    let unknown = ApiKeySecret::generate();
    for key in [None, Some(""), Some("lrd_"), Some(fake.as_str()), Some(unknown.reveal())] {
        let answer = app.rest_with(key).get("/api/v1/features").await;
        let (field, detail) = answer.problem(401);
        assert_eq!(field, None);
        assert!(detail.contains("x-api-key"), "{detail}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");

        let request = GetFeatureRequest { feature: "country".into() };
        let status = app.grpc_with(key).await.get_feature(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains("x-api-key"), "{status}");
    }
}

#[tokio::test]
async fn a_bearer_is_a_key_too_and_two_different_ones_are_refused() {
    let app = TestApp::start().await;
    let other = app.key_of("other", &Scope::ALL).await;
    let bearer = |key: &str| format!("Bearer {key}");
    let path = "/api/v1/features/absent";

    let alone = app.rest_with(None).request(Method::GET, path).header("authorization", bearer(app.key()));
    send(alone).await.problem(404);
    let same = app.rest().request(Method::GET, path).header("authorization", bearer(app.key()));
    send(same).await.problem(404);
    let different = app.rest().request(Method::GET, path).header("authorization", bearer(&other));
    assert_eq!(send(different).await.problem(400).0.as_deref(), Some("x-api-key"));
    let basic = app.rest_with(None).request(Method::GET, path).header("authorization", "Basic eDp5");
    send(basic).await.problem(401);

    let mut request = Request::new(GetFeatureRequest { feature: "absent".into() });
    request.metadata_mut().insert("authorization", bearer(&other).parse().unwrap());
    let status = app.grpc().await.get_feature(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say() {
    let app = TestApp::start().await;
    let reader = app.key_of("default", &[Scope::Read]).await;
    let feature = json!({"name": "country", "entity_type": "user", "dtype": "string"});
    let body = json!({"features": [feature]});
    let (_, detail) =
        app.rest_with(Some(&reader)).post("/api/v1/features/register", &body).await.problem(403);
    assert!(detail.contains("register"), "{detail}");
    let status =
        app.grpc_with(Some(&reader)).await.register_features(RegisterFeaturesRequest::default()).await;
    assert_eq!(status.unwrap_err().code(), Code::PermissionDenied);
    app.rest_with(Some(&reader)).get("/api/v1/features").await.json(200);
}

#[tokio::test]
async fn an_expired_key_is_refused_from_its_moment_on() {
    let start = Timestamp::parse("2024-01-15T14:22:00Z", Round::Down).unwrap();
    let now = Arc::new(AtomicI64::new(start.micros()));
    let read = now.clone();
    let clock = Clock::from_fn(move || Timestamp::from_stored(read.load(Relaxed)));
    let app = TestApp::start_at(clock, |_| ()).await;
    let registry = &app.app().service().registry;
    let tenant = registry.create_tenant("default").await.unwrap();
    let key = ApiKeySecret::generate();
    let expires_at = Some(start.saturating_add(1_000_000));
    registry.create_key(tenant, &key, &Scope::ALL, start, expires_at).await.unwrap();
    let rest = app.rest_with(Some(key.reveal()));

    now.fetch_add(999_999, Relaxed);
    rest.get("/api/v1/features").await.json(200);
    now.fetch_add(1, Relaxed);
    assert!(rest.get("/api/v1/features").await.problem(401).1.contains("expired"));
    let request = GetFeatureRequest { feature: "country".into() };
    let status = app.grpc_with(Some(key.reveal())).await.get_feature(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}
