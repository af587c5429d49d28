//! Who asks: the rows of the bad-input table on keys, through both transports.

use crate::support::{TestApp, rest::send};
use larder::{access::Scope, wire::proto::GetFeatureRequest};
use reqwest::Method;
use tonic::{Code, Request};

#[tokio::test]
async fn without_a_valid_key_nothing_answers() {
    let app = TestApp::start().await;
    let mut fake = app.key().to_owned();
    let last = if fake.pop() == Some('0') { '1' } else { '0' };
    fake.push(last);
    let unknown = larder::access::ApiKeySecret::generate();
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
