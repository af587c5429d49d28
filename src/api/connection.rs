//! One connection's bytes, watched: what comes too slowly, is never taken, or frames a body twice ends the connection or
//! the request.
//!
//! ```text
//!              first byte            end of the head             answered
//!   Idle ───────────────────▶ Head ───────────────────▶ Busy ───────────────▶ Idle
//!   at most idle_timeout      at most header_timeout
//! ```
//!
//! Over HTTP/2 the head ends with the preface, because frames after it are the protocol's own business.

use super::HttpSettings;
use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// For so long a drain waits for a head that may be on its way.
const ON_ITS_WAY_MS: u64 = 500;

/// The first line of a connection of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// State of one connection, shared by its I/O, its requests and the timeout check in `server::serve`.
#[derive(Debug)]
pub(super) struct ConnectionState {
    opened: Instant,
    phase: AtomicU8,
    /// Since when it stands there, in milliseconds after `opened`.
    since_ms: AtomicU64,
    requests: AtomicU32,
    /// The head that came last had both Content-Length and Transfer-Encoding.
    ambiguous: AtomicBool,
    /// The body of the request under way has not come to its end. Only of HTTP/1, where there is one at a time.
    body_left: AtomicBool,
    /// Since when the client has taken nothing, in milliseconds after `opened`; `u64::MAX` = it takes what comes.
    stalled_since_ms: AtomicU64,
}

impl ConnectionState {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            // A connection is made to ask something: its first head is awaited from the start.
            phase: AtomicU8::new(HEAD),
            since_ms: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            ambiguous: AtomicBool::new(false),
            body_left: AtomicBool::new(false),
            stalled_since_ms: AtomicU64::new(u64::MAX),
        })
    }

    pub fn begin_request(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.phase.store(BUSY, Relaxed);
    }

    pub fn end_request(&self, now: Instant) {
        if self.requests.fetch_sub(1, Relaxed) == 1 {
            self.enter(IDLE, now);
        }
    }

    /// Whether a proxy before us may have read the body's length otherwise than we do.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Relaxed)
    }

    /// Whether the connection cannot be used again after this answer, because some of the request has not been read.
    pub fn has_body_left(&self) -> bool {
        self.body_left.load(Relaxed)
    }

    /// Why the connection should be closed, if it should.
    pub fn overdue(&self, settings: &HttpSettings) -> Option<&'static str> {
        let now_ms = self.ms(Instant::now());
        let over = |since_ms: u64, timeout: Duration| {
            u128::from(now_ms.saturating_sub(since_ms)) > timeout.as_millis()
        };
        if over(self.stalled_since_ms.load(Relaxed), settings.write_timeout) {
            return Some("the client does not take its answers");
        }
        match self.phase.load(Relaxed) {
            HEAD if over(self.since_ms.load(Relaxed), settings.header_timeout) => {
                Some("the head came too slowly")
            }
            IDLE if over(self.since_ms.load(Relaxed), settings.idle_timeout) => {
                Some("nothing was asked for long")
            }
            _ => None,
        }
    }

    /// Whether a request seems to be on its way: a connection just made, or a head that has begun to come.
    pub fn expects_request(&self) -> bool {
        let since_ms = self.since_ms.load(Relaxed);
        self.phase.load(Relaxed) == HEAD && self.ms(Instant::now()).saturating_sub(since_ms) < ON_ITS_WAY_MS
    }

    fn enter(&self, phase: u8, now: Instant) {
        self.since_ms.store(self.ms(now), Relaxed);
        self.phase.store(phase, Relaxed);
    }

    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.opened).as_millis() as u64
    }
}

/// A request's body that tells the state of its connection when it has come to its end.
pub(super) struct ObservedBody {
    inner: Incoming,
    /// None over HTTP/2, where a body that is left stops nobody.
    state: Option<Arc<ConnectionState>>,
}

impl ObservedBody {
    pub fn new(inner: Incoming, version: Version, state: &Arc<ConnectionState>) -> Self {
        let state = (version < Version::HTTP_2).then(|| state.clone());
        if let Some(state) = &state {
            state.body_left.store(!inner.is_end_stream(), Relaxed);
        }
        Self { inner, state }
    }
}

impl Body for ObservedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Some(state) = &self.state
            && polled.is_ready()
        {
            state.body_left.store(!self.inner.is_end_stream(), Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A stream that records in its state what passes.
pub(super) struct ObservedStream {
    inner: TcpStream,
    state: Arc<ConnectionState>,
    head: Head,
}

impl ObservedStream {
    pub fn new(inner: TcpStream, state: Arc<ConnectionState>) -> Self {
        Self { inner, state, head: Head::default() }
    }

    /// Looks at bytes while a head is awaited; most reads of HTTP/2 are passed by at once.
    fn observe_read(&mut self, bytes: &[u8]) {
        let phase = self.state.phase.load(Relaxed);
        if self.head.protocol == Protocol::Http2 || phase == BUSY || bytes.is_empty() {
            return;
        }
        if phase == IDLE {
            self.head = Head { protocol: self.head.protocol, ..Head::default() };
            self.state.enter(HEAD, Instant::now());
        }
        if self.head.observe_read(bytes) {
            let next = if self.head.protocol == Protocol::Http2 { IDLE } else { BUSY };
            self.state.enter(next, Instant::now());
            self.state.ambiguous.store(self.head.content_length && self.head.transfer_encoding, Relaxed);
        }
    }

    fn wrote<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let stalled = &self.state.stalled_since_ms;
        match &polled {
            Poll::Ready(_) => stalled.store(u64::MAX, Relaxed),
            Poll::Pending if stalled.load(Relaxed) == u64::MAX => {
                stalled.store(self.state.ms(Instant::now()), Relaxed);
            }
            Poll::Pending => {}
        }
        polled
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Protocol {
    #[default]
    Unknown,
    Http1,
    Http2,
}

/// As much of a head as matters here: where it ends, and how it frames the body.
#[derive(Debug, Default)]
struct Head {
    protocol: Protocol,
    /// The start of the line under way.
    line: [u8; 24],
    line_bytes: usize,
    /// Empty lines before the first line do not count.
    begun: bool,
    content_length: bool,
    transfer_encoding: bool,
}

impl Head {
    /// Reads on, and tells whether the head is whole.
    fn observe_read(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if byte != b'\n' {
                if let Some(place) = self.line.get_mut(self.line_bytes) {
                    *place = byte;
                }
                self.line_bytes += 1;
                continue;
            }
            let line = &self.line[..self.line_bytes.min(self.line.len())];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.protocol == Protocol::Unknown {
                self.protocol = match line == PREFACE {
                    true => Protocol::Http2,
                    false => Protocol::Http1,
                };
            }
            if line.is_empty() && self.begun {
                return true;
            }
            self.begun |= !line.is_empty();
            let is =
                |name: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
            self.content_length |= is(b"content-length:");
            self.transfer_encoding |= is(b"transfer-encoding:");
            self.line_bytes = 0;
        }
        false
    }
}

impl AsyncRead for ObservedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = polled {
            self.observe_read(&buffer.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for ObservedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pieces: &[&[u8]]) -> (bool, Head) {
        let mut head = Head::default();
        let whole = pieces.iter().any(|piece| head.observe_read(piece));
        (whole, head)
    }

    #[test]
    fn a_head_is_read_in_any_pieces() {
        let text =
            b"POST /x HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc";
        for size in 1..text.len() {
            let pieces: Vec<_> = text.chunks(size).collect();
            let (whole, head) = seen(&pieces);
            assert!(whole && head.content_length && head.transfer_encoding, "{size}: {head:?}");
            assert_eq!(head.protocol, Protocol::Http1);
        }
    }

    #[test]
    fn what_is_in_the_body_is_not_in_the_head() {
        let (whole, head) =
            seen(&[b"\r\nPOST / HTTP/1.1\nTransfer-Encoding: chunked\n\n3\r\n\ncontent-length: 1\n"]);
        assert!(whole && head.transfer_encoding && !head.content_length, "{head:?}");
        let (whole, _) = seen(&[b"GET / HTTP/1.1\r\nX-Content-Length: 3\r\n"]);
        assert!(!whole);
    }

    #[test]
    fn the_preface_tells_http_2() {
        let (whole, head) = seen(&[&PREFACE[..10], &PREFACE[10..], b"\r\n\r\nSM\r\n\r\n"]);
        assert!(whole);
        assert_eq!(head.protocol, Protocol::Http2);
    }
}
