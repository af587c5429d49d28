//! Every answer carries `x-request-id`; the caller's own is kept.

use crate::support::{TestApp, send};
use larder::wire::proto::{GetFeatureRequest, ListFeaturesRequest};
use reqwest::Method;
use tonic::Request;

#[tokio::test]
async fn rest_keeps_or_makes_one_on_every_answer() {
    let app = TestApp::start().await;
    for path in ["/health", "/ready", "/metrics", "/api/v1/features", "/api/v1/features/absent", "/absent"] {
        let kept = send(app.rest().request(Method::GET, path).header("x-request-id", "mine-7")).await;
        assert_eq!(kept.headers["x-request-id"], "mine-7", "{path}");
        let made = app.rest().get(path).await;
        assert_eq!(made.headers["x-request-id"].len(), 32, "{path}");
    }
    let unfit = app.rest().request(Method::GET, "/health").header("x-request-id", "two words");
    assert_eq!(send(unfit).await.headers["x-request-id"].len(), 32);
    let refused =
        app.rest_with(None).request(Method::GET, "/api/v1/features").header("x-request-id", "mine-8");
    let refused = send(refused).await;
    assert_eq!(refused.headers["x-request-id"], "mine-8");
    refused.problem(401);
}

#[tokio::test]
async fn grpc_keeps_or_makes_one_on_answers_and_errors() {
    let app = TestApp::start().await;
    let mut grpc = app.grpc().await;
    let mut request = Request::new(ListFeaturesRequest::default());
    request.metadata_mut().insert("x-request-id", "mine-7".parse().unwrap());
    let answer = grpc.list_features(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "mine-7");
    let answer = grpc.list_features(ListFeaturesRequest::default()).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap().len(), 32);

    let mut request = Request::new(GetFeatureRequest { feature: "absent".into() });
    request.metadata_mut().insert("x-request-id", "mine-8".parse().unwrap());
    let status = grpc.get_feature(request).await.unwrap_err();
    assert_eq!(status.metadata().get("x-request-id").unwrap(), "mine-8");
}
