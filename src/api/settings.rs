//! Bounds on connections and on what comes over them. All are settings under `http:`.

use crate::feature::Duration as Span;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::time::Duration;

/// Each bound is the greatest value still accepted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Connections at once; one more is closed.
    pub connections_max: usize,
    /// Streams at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// Bytes of a request's address.
    pub uri_bytes_max: usize,
    /// Bytes of a request's headers.
    pub header_bytes_max: usize,
    /// For the head of a request to come.
    #[serde(deserialize_with = "span")]
    pub header_timeout: Duration,
    /// For the next request on an open connection.
    #[serde(deserialize_with = "span")]
    pub idle_timeout: Duration,
    /// For a whole body to come.
    #[serde(deserialize_with = "span")]
    pub body_timeout: Duration,
    /// For the next piece of a streamed body to come.
    #[serde(deserialize_with = "span")]
    pub stream_timeout: Duration,
    /// For the client to take more of an answer.
    #[serde(deserialize_with = "span")]
    pub write_timeout: Duration,
    /// For an answer where the caller states no deadline; streams have none.
    #[serde(deserialize_with = "span")]
    pub request_timeout: Duration,
    /// For requests under way to end after the signal to stop.
    #[serde(deserialize_with = "span")]
    pub drain_timeout: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            streams_max: 256,
            uri_bytes_max: 8 << 10,
            header_bytes_max: 32 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            body_timeout: Duration::from_secs(10),
            stream_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<Span>().map(Span::to_std).map_err(D::Error::custom)
}
