//! Training sets over REST: which form is accepted, and how a stream of rows ends, well or badly.
//!
//! Whatever can be refused before the first row is a problem with its status. An error after that ends the body without
//! its end: no file footer, no end of the Arrow stream, no last chunk, so that nobody takes a part for the whole. Lines
//! get one more line before that, the problem, whose `"status"` is a number and which has no column of the spine.

use crate::{
    api::{
        Call, Shared,
        body::{AnyBody, ByteStream},
        error::{ApiError, ErrorCode},
        routes::{ARROW, JSON, NDJSON, PARQUET},
    },
    error::{Error, Result},
    serving::training::{Messages, Pump, Summary, TrainingSet, spawn},
    wire::{
        historical::{self, BatchFormat, BatchRequest, Output, SpineForm},
        query::Query,
    },
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use std::{sync::Arc, time::Duration};

const SETTLED_AT: HeaderName = HeaderName::from_static("x-larder-settled-at");
const REPEATABLE: HeaderName = HeaderName::from_static("x-larder-repeatable");
const FEATURES: HeaderName = HeaderName::from_static("x-larder-features");
/// Longest list of versions that goes into a header, in bytes; a longer one is left out.
const FEATURES_BYTES_MAX: usize = 4 << 10;
/// What stands in the trailers, for clients that ask for them with `TE: trailers`.
const TRAILERS: &str = "x-larder-settled-at, x-larder-repeatable, x-larder-rows, x-larder-spine-hash";
/// For the last line to leave before the connection is cut.
const LAST_LINE_TIME: Duration = Duration::from_millis(50);

/// Answers `POST /features/batch`.
pub(in crate::api) async fn answer(
    call: &Call,
    shared: &Shared,
    headers: &HeaderMap,
    query: Option<&str>,
    body: AnyBody,
) -> Result<Response, ApiError> {
    let format = accepted(headers, &body)?;
    let (request, form, spine) = read_request(shared, query, body).await?;
    let set = TrainingSet::open(&shared.service, &call.caller, request.options.clone()).await?;
    request.check_columns(set.plan())?;
    call.read(set.plan().features.len(), 0);
    let set = Arc::new(set);
    let mut messages = pump(call, shared, set.clone(), &request, form, spine, format);
    // The head waits for the first rows or the first silence, so that an error before them has its status.
    let first = messages.next().await.transpose()?;
    let first = first.filter(|output| !matches!(output, Output::Bytes(bytes) if bytes.is_empty()));
    Ok(respond(&set, stream::iter(first.map(Ok)).chain(messages), format, call))
}

/// The request and its spine, whose parts are still to come.
async fn read_request(
    shared: &Shared,
    query: Option<&str>,
    body: AnyBody,
) -> Result<(BatchRequest, SpineForm, ByteStream), ApiError> {
    let mut query = Query::parse(query)?;
    let read = match body {
        AnyBody::Json(bytes) => {
            let (request, spine) = BatchRequest::from_json(&bytes)?;
            let spine = spine.ok_or_else(|| Error::invalid("spine", "give the spine, an array of rows"))?;
            (request, SpineForm::Array, stream::iter([Ok(spine)]).boxed())
        }
        AnyBody::Lines(lines) => {
            query.finish()?;
            let line_bytes_max = shared.service.limits.line_bytes_max;
            let (request, spine) = historical::first_line(lines, line_bytes_max).await?;
            return Ok((request, SpineForm::Lines, spine));
        }
        AnyBody::Arrow(parts) => {
            let text = query.take("request").ok_or_else(|| {
                Error::invalid("request", "say which features to put beside the spine, as JSON in ?request=")
            })?;
            let (request, spine) =
                BatchRequest::from_json(&Bytes::from(text)).map_err(|error| error.within("request"))?;
            if spine.is_some() {
                return Err(
                    Error::invalid("request.spine", "the spine is the body; leave it out here").into()
                );
            }
            (request, SpineForm::Arrow, parts)
        }
    };
    query.finish()?;
    Ok(read)
}

fn pump(
    call: &Call,
    shared: &Shared,
    set: Arc<TrainingSet>,
    request: &BatchRequest,
    form: SpineForm,
    spine: ByteStream,
    format: BatchFormat,
) -> Messages<Output> {
    let reader = historical::body_reader(request, form, format, &set, &shared.service.limits);
    let writer = historical::body_writer(request, format, &set);
    let (features, call) = (set.plan().features.len(), call.clone());
    let patience = shared.patience(&call);
    let pump = Pump::new(set, reader, writer, patience);
    let parts = spine.map(|part| part.map(historical::hashed));
    spawn(patience.deadline, |outlet| async move {
        let read = |summary: &Summary| call.read(features, summary.rows);
        pump.run(parts, &outlet, read).await
    })
}

/// The form that the caller accepts; without a wish it is that of the spine.
fn accepted(headers: &HeaderMap, body: &AnyBody) -> Result<BatchFormat, ApiError> {
    let own = match body {
        AnyBody::Json(_) => BatchFormat::Json,
        AnyBody::Lines(_) => BatchFormat::Lines,
        AnyBody::Arrow(_) => BatchFormat::ArrowStream,
    };
    let mut wishes = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|wish| wish.split(';').next().unwrap_or_default().trim())
        .filter(|wish| !wish.is_empty())
        .peekable();
    if wishes.peek().is_none() {
        return Ok(own);
    }
    let format = |wish: &str| match wish {
        "*/*" | "application/*" => Some(own),
        JSON => Some(BatchFormat::Json),
        NDJSON => Some(BatchFormat::Lines),
        ARROW => Some(BatchFormat::ArrowStream),
        PARQUET => Some(BatchFormat::Parquet),
        _ => None,
    };
    wishes.find_map(format).ok_or_else(|| {
        let message = format!("a training set comes as application/json, {NDJSON}, {ARROW} or {PARQUET}");
        ApiError::http(ErrorCode::NotAcceptable, message)
    })
}

fn respond(
    set: &TrainingSet,
    body: impl Stream<Item = Result<Output>> + Send + 'static,
    format: BatchFormat,
    call: &Call,
) -> Response {
    let content_type = match format {
        BatchFormat::Json => JSON,
        BatchFormat::Lines => NDJSON,
        BatchFormat::ArrowStream => ARROW,
        BatchFormat::Parquet => PARQUET,
    };
    let mut head = HeaderMap::new();
    head.insert(SETTLED_AT, value(set.settled_at()));
    head.insert(REPEATABLE, value(set.is_repeatable()));
    let versions = Some(historical::versions(set));
    let versions = versions.filter(|versions| versions.len() <= FEATURES_BYTES_MAX).map(value);
    let body = StreamBody::new(frames(body, head.clone(), format, call.clone()));
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::TRAILER, HeaderValue::from_static(TRAILERS));
    headers.extend(head);
    headers.extend(versions.map(|versions| (FEATURES, versions)));
    response
}

/// The body's frames: rows, then trailers; or rows, then what went wrong.
fn frames(
    body: impl Stream<Item = Result<Output>> + Send + 'static,
    head: HeaderMap,
    format: BatchFormat,
    call: Call,
) -> impl Stream<Item = Result<Frame<Bytes>>> + Send + 'static {
    body.flat_map(move |output| match output {
        Ok(Output::Bytes(bytes)) => stream::iter([Ok(Frame::data(bytes))]).boxed(),
        Ok(Output::End(summary)) => {
            let mut trailers = head.clone();
            for (name, text) in Output::trailers(&summary) {
                trailers.insert(HeaderName::from_static(name), value(text));
            }
            stream::iter([Ok(Frame::trailers(trailers))]).boxed()
        }
        Err(error) if format == BatchFormat::Lines => {
            let mut line = ApiError::from(error.clone()).problem(call.request_id.as_str());
            line.push(b'\n');
            let cut = async move {
                tokio::time::sleep(LAST_LINE_TIME).await;
                Err(error)
            };
            stream::iter([Ok(Frame::data(line.into()))]).chain(stream::once(cut)).boxed()
        }
        Err(error) => stream::iter([Err(error)]).boxed(),
    })
}

fn value(text: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::from_str(&text.to_string()).expect("times, numbers and hashes are visible ASCII")
}
