//! A REST client that sends its key.

use reqwest::{
    Client, Method, RequestBuilder,
    header::{HeaderMap, HeaderValue},
};
use serde_json::Value;
use std::net::SocketAddr;

/// Sends requests to one server.
#[derive(Clone)]
pub struct RestClient {
    base: String,
    client: Client,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl RestClient {
    pub fn new(address: SocketAddr, key: Option<&str>) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert("x-api-key", HeaderValue::from_str(key).unwrap());
        }
        let client = Client::builder().default_headers(headers).no_proxy().build().unwrap();
        Self { base: format!("http://{address}"), client }
    }

    /// A request to a path, such as `/api/v1/features`, to be changed before it is sent by [`send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::PUT, path).json(body)).await
    }

    /// Posts any text as a media type.
    pub async fn post_text(&self, path: &str, media_type: &str, body: impl Into<String>) -> Answer {
        send(self.request(Method::POST, path).header("content-type", media_type).body(body.into())).await
    }
}

/// Sends a request and reads the whole answer.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

impl Answer {
    /// The body as JSON, after checking the status.
    #[track_caller]
    pub fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    /// A problem after checking its shape: the field that it names, if any, and its detail.
    #[track_caller]
    pub fn problem(&self, status: u16) -> (Option<String>, String) {
        let problem = self.json(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().unwrap());
        assert!(problem["type"].as_str().unwrap().starts_with("urn:larder:problem:"));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        (problem["field"].as_str().map(str::to_owned), problem["detail"].as_str().unwrap().to_owned())
    }
}
