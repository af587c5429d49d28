//! Bounds on what comes over the transports, each at the bound and one past it.

use crate::support::{TestApp, send};
use larder::wire::proto::GetFeatureRequest;
use prost::Message;
use reqwest::{Body, Method};
use tonic::{Code, codec::CompressionEncoding};

const ONLINE: &str = "/api/v1/features/online";
const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_rest_body_of_one_mebibyte() {
    let app = TestApp::start().await;
    let body = |bytes: usize| " ".repeat(bytes - 2) + "{}";
    app.rest().post_text(ONLINE, "application/json", body(MIB)).await.problem(400);
    let (_, detail) = app.rest().post_text(ONLINE, "application/json", body(MIB + 1)).await.problem(413);
    assert!(detail.contains("1048576"), "{detail}");
    // A client that has much left to send gets its answer all the same.
    app.rest().post_text(ONLINE, "application/json", body(20 * MIB)).await.problem(413);
    for (bytes, status) in [(MIB, 400), (MIB + 1, 413)] {
        let text = body(bytes).into_bytes();
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            text.chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
        let request = app
            .rest()
            .request(Method::POST, ONLINE)
            .header("content-type", "application/json")
            .body(Body::wrap_stream(futures_util::stream::iter(pieces)));
        send(request).await.problem(status);
    }
}

#[tokio::test]
async fn an_address_of_eight_kibibytes() {
    let app = TestApp::start().await;
    let path = |bytes: usize| format!("{:a<1$}", "/health?x=", bytes);
    app.rest().get(&path(8 << 10)).await.json(200);
    app.rest().get(&path((8 << 10) + 1)).await.problem(414);
}

#[tokio::test]
async fn headers_of_32_kibibytes() {
    let app = TestApp::start().await;
    for (bytes, status) in [(32 << 10, "200"), ((32 << 10) + 1, "431")] {
        let fixed = "host".len() + "x".len() + 4 * "x-0".len();
        let each = (bytes - fixed) / 4;
        let pads: String = (0..4)
            .map(|n| {
                let size = if n == 0 { bytes - fixed - 3 * each } else { each };
                format!("X-{n}: {}\r\n", "a".repeat(size))
            })
            .collect();
        let mut raw = app.raw().await;
        raw.send(format!("GET /health HTTP/1.1\r\nHost: x\r\n{pads}\r\n")).await;
        let answer = raw.answer().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes}: {answer}");
        assert!(answer.contains("x-request-id"), "{answer}");
    }
}

#[tokio::test]
async fn heads_past_all_bounds_are_refused_all_the_same() {
    let app = TestApp::start().await;
    let mut raw = app.raw().await;
    raw.send(format!("GET /health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(400_000))).await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 431 "));
    let mut raw = app.raw().await;
    raw.send(format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70_000))).await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 414 "));
}

#[tokio::test]
async fn a_grpc_message_of_four_mebibytes() {
    let app = TestApp::start().await;
    let mut grpc = app.grpc().await;
    for (bytes, code) in [(4 * MIB, Code::NotFound), (4 * MIB + 1, Code::OutOfRange)] {
        let request = GetFeatureRequest { feature: "a".repeat(bytes - 5) };
        assert_eq!(request.encoded_len(), bytes);
        let status = grpc.get_feature(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{bytes}: {status}");
    }
}

#[tokio::test]
async fn a_gzip_bomb_is_put_out() {
    let app = TestApp::start().await;
    let mut grpc = app.grpc().await.send_compressed(CompressionEncoding::Gzip);
    let small = GetFeatureRequest { feature: "absent".into() };
    assert_eq!(grpc.get_feature(small).await.unwrap_err().code(), Code::NotFound);
    let bomb = GetFeatureRequest { feature: "a".repeat(64 * MIB) };
    let status = grpc.get_feature(bomb).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status}");
}
