//! What is written down of every request when it ends: metrics, and a line in the log.

use super::{
    Shared,
    call::{Call, RequestId},
    connection::ConnectionState,
    deadline,
    error::{ApiError, code_name},
    routes::{Rpc, Transport},
};
use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Instant,
};
use tokio::time::{Sleep, sleep_until};
use tonic::{Code, Status};

/// A request under way. Whatever ends it drops its record, and so it is counted exactly once.
pub(super) struct RequestRecord {
    pub shared: Arc<Shared>,
    pub state: Arc<ConnectionState>,
    pub transport: Transport,
    pub request_id: RequestId,
    pub started: Instant,
    /// By path; a call knows better.
    pub rpc: Rpc,
    pub call: Option<Call>,
    /// A caller that goes away leaves `Cancelled`.
    pub code: Code,
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let now = Instant::now();
        let took = now.duration_since(self.started);
        self.state.end_request(now);
        let rpc = self.call.as_ref().map_or(self.rpc, |call| call.notes.rpc());
        let metrics = &self.shared.metrics;
        metrics.answered(self.transport as usize, usize::from(rpc.number()), self.code as usize, took);
        let notes = self.call.as_ref().map(|call| &call.notes);
        let read = |count: fn(&super::call::Notes) -> u64| notes.map_or(0, count);
        let cells = read(|notes| notes.cells_read.load(Ordering::Relaxed));
        if cells > 0 {
            metrics.cells_read(cells);
        }
        let rows = read(|notes| notes.rows_written.load(Ordering::Relaxed));
        if rows > 0 {
            metrics.rows_written(rows);
        }
        let events = read(|notes| notes.events_published.load(Ordering::Relaxed));
        if events > 0 {
            metrics.events_published(events);
        }
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "larder::api",
                    request_id = self.request_id.as_str(),
                    verb = rpc.name(),
                    code = code_name(self.code),
                    entity_id = notes.and_then(|notes| notes.entity_id.get()).map(String::as_str),
                    feature_count = notes.map(|notes| notes.feature_count.load(Ordering::Relaxed)),
                    row_count = (rows > 0).then_some(rows),
                    event_count = (events > 0).then_some(events),
                    duration_ms = took.as_micros() as f64 / 1e3,
                    "answered"
                )
            };
        }
        match (self.code, rpc.row()) {
            (Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable, _) => line!(warn),
            (_, None) | (Code::Unauthenticated, _) => line!(debug),
            (_, Some(row)) if row.sampled && !self.shared.is_sampled() => line!(debug),
            _ => line!(info),
        }
    }
}

/// The body of a stream's answer: ended at the deadline and by panics with an error, recorded when it ends.
pub(super) struct StreamBody {
    inner: Option<Body>,
    record: RequestRecord,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl StreamBody {
    pub fn new(inner: Body, record: RequestRecord, deadline: Option<Instant>) -> Self {
        let deadline = deadline.map(|at| Box::pin(sleep_until(at.into())));
        Self { inner: Some(inner), record, deadline }
    }

    /// Ends the stream early. Dropping the inner body ends the work behind it.
    fn refuse(&mut self, error: ApiError) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.inner = None;
        let status = error.into_status();
        self.record.code = status.code();
        Poll::Ready(Some(match self.record.transport {
            Transport::Grpc => trailers(&status),
            // The status line is gone already: breaking off is all that HTTP leaves.
            Transport::Rest => Err(axum::Error::new(status)),
        }))
    }
}

fn trailers(status: &Status) -> Result<Frame<Bytes>, axum::Error> {
    let mut trailers = http::HeaderMap::new();
    status.add_header(&mut trailers).map_err(axum::Error::new)?;
    Ok(Frame::trailers(trailers))
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if this.deadline.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_ready()) {
            return this.refuse(deadline::over().into());
        }
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(context)));
        match polled {
            Err(panic) => this.refuse(super::request_layer::panicked(&*panic, &this.record.request_id)),
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(frame)) => {
                // A body that knows its end is not asked again after its last frame.
                let ended = this.inner.as_ref().is_none_or(HttpBody::is_end_stream);
                match &frame {
                    Some(Ok(frame)) if frame.is_trailers() && this.record.transport == Transport::Grpc => {
                        let status = frame.trailers_ref().and_then(Status::from_header_map);
                        this.record.code = status.map_or(Code::Unknown, |status| status.code());
                    }
                    Some(Err(_)) => this.record.code = Code::Internal,
                    Some(Ok(_)) if !ended => {}
                    _ if this.record.transport == Transport::Rest => this.record.code = Code::Ok,
                    _ => {}
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
