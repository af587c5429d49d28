//! What REST handlers take from requests: bodies, with media type checked, size and slowness bounded, and parts of paths.

use super::{
    Shared,
    error::{ApiError, ErrorCode},
    routes::{ARROW, JSON, NDJSON, media_types},
};
use crate::error::{Error, Kind};
use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};
use tokio::time::{Instant, timeout_at};

/// Of a body that is too large, so much is taken before the answer.
const DISCARDED_BYTES_MAX: usize = 64 << 20;

/// One JSON document, whole.
pub struct JsonBody(pub Bytes);

/// A body in one of the forms that writes and spines come in.
pub enum AnyBody {
    /// One JSON document, whole.
    Json(Bytes),
    /// `application/x-ndjson`: a JSON document a line, unbounded.
    Lines(ByteStream),
    /// `application/vnd.apache.arrow.stream`, unbounded.
    Arrow(ByteStream),
}

/// Pieces of an unbounded body as they come.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// A body that is there whole, in pieces: they are sent as they lie, without being put together first.
pub struct PiecesBody {
    pieces: vec::IntoIter<Bytes>,
    bytes_left: u64,
}

impl PiecesBody {
    pub fn new(pieces: Vec<Bytes>) -> Self {
        let bytes_left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces: pieces.into_iter(), bytes_left }
    }
}

impl HttpBody for PiecesBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.next();
        self.bytes_left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}

/// The one variable part of a path, decoded.
pub struct PathPart(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathPart {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(part)) => Ok(Self(part)),
            Err(rejection) => {
                Err(Error::new(Kind::InvalidArgument, format!("the path is not text: {rejection}")).into())
            }
        }
    }
}

impl FromRequest<Arc<Shared>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        match media_type(request.headers())? {
            JSON => read_whole(request.into_body(), shared).await.map(Self),
            other => Err(unsupported(other, JSON)),
        }
    }
}

impl FromRequest<Arc<Shared>> for AnyBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        let idle = shared.settings.stream_timeout;
        match media_type(request.headers())? {
            JSON => read_whole(request.into_body(), shared).await.map(Self::Json),
            NDJSON => Ok(Self::Lines(pieces(request.into_body(), idle))),
            ARROW => Ok(Self::Arrow(pieces(request.into_body(), idle))),
            other => Err(unsupported(other, &media_types(request.method(), request.uri().path()))),
        }
    }
}

/// The media type without its parameters. Bodies must come uncompressed.
fn media_type(headers: &HeaderMap) -> Result<&str, ApiError> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(ApiError::http(
            ErrorCode::UnsupportedMediaType,
            "send the body without Content-Encoding",
        ));
    }
    let full = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(full.split(';').next().unwrap_or_default().trim())
}

/// 415: the path takes another format.
pub(super) fn unsupported(given: &str, wanted: &str) -> ApiError {
    let given = if given.is_empty() { "no Content-Type" } else { given };
    ApiError::http(ErrorCode::UnsupportedMediaType, format!("{given} was sent; send Content-Type: {wanted}"))
}

async fn read_whole(mut body: Body, shared: &Shared) -> Result<Bytes, ApiError> {
    let bytes_max = shared.service.limits.body_bytes_max;
    let too_large = || {
        let message = format!(
            "the body is larger than {bytes_max} bytes; split it, or stream it as application/x-ndjson"
        );
        Error::new(Kind::TooLarge, message)
    };
    let until = Instant::now() + shared.settings.body_timeout;
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        discard(body, until).await;
        return Err(too_large().into());
    }
    let mut whole: Option<BytesMut> = None;
    let mut only = Bytes::new();
    loop {
        let frame = timeout_at(until, body.frame()).await.map_err(|_| slow())?;
        let Some(frame) = frame else { break };
        let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
        match &mut whole {
            Some(whole) => whole.extend_from_slice(&piece),
            // Most bodies are one piece, which then is not copied.
            None if only.is_empty() => only = piece,
            None => {
                let mut joined = BytesMut::with_capacity((announced as usize).max(only.len() + piece.len()));
                joined.extend_from_slice(&only);
                joined.extend_from_slice(&piece);
                whole = Some(joined);
            }
        }
        if whole.as_ref().map_or(only.len(), BytesMut::len) > bytes_max {
            drop((whole, only));
            discard(body, until).await;
            return Err(too_large().into());
        }
    }
    Ok(whole.map_or(only, BytesMut::freeze))
}

/// Reads on for a while without keeping anything: most clients look for the answer only when they have sent all, and a
/// connection that is closed before loses it.
async fn discard(mut body: Body, until: Instant) {
    let mut bytes = 0;
    while bytes < DISCARDED_BYTES_MAX {
        match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}

/// The pieces of a body; a caller that is silent for longer than `idle` ends it with an error.
fn pieces(body: Body, idle: Duration) -> ByteStream {
    futures_util::stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        loop {
            match tokio::time::timeout(idle, body.frame()).await {
                Err(_) => return Some((Err(slow().error), None)),
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some((Err(broken(error).error), None)),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => return Some((Ok(piece), Some(body))),
                    Err(_) => continue,
                },
            }
        }
    })
    .boxed()
}

fn slow() -> ApiError {
    ApiError::http(ErrorCode::BodyTimeout, "the body came too slowly; send it at once")
}

fn broken(error: axum::Error) -> ApiError {
    Error::new(Kind::InvalidArgument, format!("the body broke off: {error}")).into()
}
