//! A training set over gRPC: options first, then the spine in typed or Arrow parts.

use super::{
    AnswerWriter, BatchRequest, SpineReader, Summary,
    arrow_in::{ArrowFraming, ArrowReader},
    arrow_out::ArrowMessageWriter,
    names,
    pump::{Answering, HashedPart, Outlet, Patience, Pump, spawn},
    spool::Part,
    typed::{TypedReader, TypedWriter, reply, summary_message},
};
use crate::{
    access::Caller,
    error::{Error, Kind, Result},
    serving::{Service, historical::TrainingSet},
    wire::{
        online,
        proto::{
            GetHistoricalFeaturesRequest, GetHistoricalFeaturesResponse, HistoricalFormat, HistoricalHeader,
            SpineRows, get_historical_features_request::Part as Asked,
            get_historical_features_response::Part as Reply,
        },
        value::timestamp_to,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use prost::Message;
use std::sync::Arc;

type Request = GetHistoricalFeaturesRequest;
type Response = GetHistoricalFeaturesResponse;

/// Answers the messages of one call. Dropping the answer ends it.
pub fn serve(
    service: Service,
    caller: Caller,
    request_id: String,
    requests: impl Stream<Item = Result<Request>> + Send + Unpin + 'static,
    patience: Patience,
) -> impl Stream<Item = Result<Response>> + Send + 'static {
    spawn(patience.deadline, move |outlet| async move {
        let call = GrpcCall { service, caller, request_id, patience };
        call.answer(requests, &outlet).await
    })
}

struct GrpcCall {
    service: Service,
    caller: Caller,
    request_id: String,
    patience: Patience,
}

impl GrpcCall {
    async fn answer(
        self,
        mut requests: impl Stream<Item = Result<Request>> + Send + Unpin + 'static,
        outlet: &Outlet<Response>,
    ) -> Result<()> {
        let request = match self.next(&mut requests).await? {
            Some(Asked::Options(options)) => BatchRequest::from_proto(options)?,
            _ => return Err(Error::invalid("options", "the first message of the call carries the options")),
        };
        let mut options = request.options.clone();
        // Typed rows always carry statuses; columns do where they are asked for.
        options.statuses = request.details || request.format != HistoricalFormat::Arrow;
        let set = TrainingSet::open(&self.service, &self.caller, options).await?;
        names::check(set.plan(), &request.columns)?;
        let header = HistoricalHeader {
            schema: Some(online::schema_message(set.plan())),
            settled_at: Some(timestamp_to(set.settled_at())),
            repeatable: set.is_repeatable(),
            request_id: self.request_id.clone(),
        };
        outlet.say(reply(Reply::Header(header))).await?;
        let (plan, columns) = (set.plan().clone(), request.columns.clone());
        match self.next(&mut requests).await? {
            None => {
                let hash = super::spool::Spool::<Bytes>::new(0, 0).hash();
                outlet.say(summary_message(Summary { rows: 0, spine_hash: hash })).await
            }
            Some(Asked::Options(_)) => {
                Err(Error::invalid("options", "the options come once, in the first message"))
            }
            Some(Asked::Rows(first)) => {
                let reader = TypedReader::new(plan, columns);
                self.write(set, request, reader, parts(hashed_rows(first), requests, rows), outlet).await
            }
            Some(Asked::ArrowIpc(first)) => {
                let reader = ArrowReader::new(ArrowFraming::StreamPerPart, plan, columns, false);
                self.write(set, request, reader, parts((first.clone(), first), requests, arrow), outlet).await
            }
        }
    }

    /// The next message; one without content is refused.
    async fn next(
        &self,
        requests: &mut (impl Stream<Item = Result<Request>> + Unpin),
    ) -> Result<Option<Asked>> {
        match tokio::time::timeout(self.patience.part, requests.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(request)) => {
                request?.part.map(Some).ok_or_else(|| Error::invalid("part", "the message is empty"))
            }
            Err(_) => Err(Error::new(Kind::DeadlineExceeded, "the call said nothing for too long")),
        }
    }

    async fn write<R: SpineReader>(
        self,
        mut set: TrainingSet,
        request: BatchRequest,
        reader: R,
        parts: impl Stream<Item = Result<HashedPart<R::Part>>> + Send + 'static,
        outlet: &Outlet<Response>,
    ) -> Result<()> {
        let as_rows = match request.format {
            HistoricalFormat::Unspecified => R::IS_TYPED,
            HistoricalFormat::Rows => true,
            HistoricalFormat::Arrow => false,
        };
        set.carry_statuses(as_rows || request.details);
        let (plan, bytes_max) = (set.plan().clone(), self.service.limits.message_bytes_max);
        if as_rows {
            self.pump(set, reader, TypedWriter::new(plan, bytes_max), parts, outlet).await
        } else {
            let writer = ArrowMessageWriter::new(plan, request.details, &set, bytes_max);
            self.pump(set, reader, writer, parts, outlet).await
        }
    }

    async fn pump<R: SpineReader, W: AnswerWriter<Message = Response>>(
        self,
        set: TrainingSet,
        reader: R,
        writer: W,
        parts: impl Stream<Item = Result<HashedPart<R::Part>>> + Send + 'static,
        outlet: &Outlet<Response>,
    ) -> Result<()> {
        let limits = &self.service.limits;
        Pump::new(Arc::new(set), reader, writer, Answering::Promptly, self.patience, limits)
            .run(parts, outlet)
            .await
    }
}

/// The first part and all that follow, each with the bytes that the spine's hash runs over.
fn parts<P: Part>(
    first: HashedPart<P>,
    requests: impl Stream<Item = Result<Request>> + Send + 'static,
    take: fn(Asked) -> Result<HashedPart<P>>,
) -> impl Stream<Item = Result<HashedPart<P>>> + Send + 'static {
    let following = requests.map(move |request| {
        let part = request?.part.ok_or_else(|| Error::invalid("part", "the message is empty"))?;
        take(part)
    });
    stream::iter([Ok(first)]).chain(following)
}

fn rows(part: Asked) -> Result<HashedPart<SpineRows>> {
    match part {
        Asked::Rows(rows) => Ok(hashed_rows(rows)),
        Asked::ArrowIpc(_) => Err(mixed()),
        Asked::Options(_) => Err(Error::invalid("options", "the options come once, in the first message")),
    }
}

fn arrow(part: Asked) -> Result<HashedPart<Bytes>> {
    match part {
        Asked::ArrowIpc(bytes) => Ok((bytes.clone(), bytes)),
        Asked::Rows(_) => Err(mixed()),
        Asked::Options(_) => Err(Error::invalid("options", "the options come once, in the first message")),
    }
}

fn hashed_rows(rows: SpineRows) -> HashedPart<SpineRows> {
    let encoded = rows.encode_to_vec();
    (rows, encoded.into())
}

fn mixed() -> Error {
    Error::invalid("part", "a spine comes in one form; send all of it as rows or all of it as arrow_ipc")
}
