//! Training sets over gRPC. Everything is answered on the stream, errors too, so that a caller that waits for the answer's
//! beginning before it sends anything is not kept waiting.

use crate::{
    api::{Call, Shared},
    error::{Error, Kind, Result},
    serving::training::{HashedPart, Outlet, Part, Patience, Pump, SpineReader, Summary, TrainingSet, spawn},
    wire::{
        historical::{self, Asked, BatchRequest, Rows},
        proto::{GetHistoricalFeaturesRequest, GetHistoricalFeaturesResponse},
    },
};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use std::sync::Arc;

type Requests = BoxStream<'static, Result<Asked>>;

/// Answers the messages of one call. Dropping the answer ends it.
pub(in crate::api) fn answer(
    shared: Arc<Shared>,
    call: Call,
    requests: impl Stream<Item = Result<GetHistoricalFeaturesRequest>> + Send + 'static,
) -> impl Stream<Item = Result<GetHistoricalFeaturesResponse>> + Send + 'static {
    let patience = shared.patience(&call);
    let requests = requests.map(|request| request.and_then(Asked::from_message)).boxed();
    spawn(patience.deadline, move |outlet| async move {
        let training = Training { shared, call, patience, outlet };
        training.answer(requests).await
    })
}

struct Training {
    shared: Arc<Shared>,
    call: Call,
    patience: Patience,
    outlet: Outlet<GetHistoricalFeaturesResponse>,
}

impl Training {
    async fn answer(self, mut requests: Requests) -> Result<()> {
        let first = self.next(&mut requests).await?;
        let request = first.ok_or_else(historical::no_options)?.options()?;
        let options = request.options.clone();
        let set = TrainingSet::open(&self.shared.service, &self.call.caller, options).await?;
        request.check_columns(set.plan())?;
        self.call.read(set.plan().features.len(), 0);
        self.outlet.say(historical::header_to(&set, self.call.request_id.as_str())).await?;
        match self.next(&mut requests).await? {
            None => self.outlet.say(historical::summary_to(Summary::of_nothing())).await,
            Some(Asked::Options(_)) => Err(historical::options_again()),
            Some(Asked::Rows(first)) => {
                let reader = historical::rows_reader(&request, set.plan());
                self.pump(set, request, reader, true, parts(first, requests, Asked::rows)).await
            }
            Some(Asked::Arrow(first)) => {
                let reader = historical::arrow_reader(&request, set.plan());
                self.pump(set, request, reader, false, parts(first, requests, Asked::arrow)).await
            }
        }
    }

    async fn next(&self, requests: &mut Requests) -> Result<Option<Asked>> {
        match tokio::time::timeout(self.patience.part, requests.next()).await {
            Ok(request) => request.transpose(),
            Err(_) => Err(Error::new(Kind::DeadlineExceeded, "the call said nothing for too long")),
        }
    }

    async fn pump<P: Part>(
        self,
        mut set: TrainingSet,
        request: BatchRequest,
        reader: Box<dyn SpineReader<P, Rows>>,
        is_typed: bool,
        parts: impl Stream<Item = Result<HashedPart<P>>> + Send + 'static,
    ) -> Result<()> {
        let bytes_max = self.shared.service.limits.message_bytes_max;
        let writer = historical::message_writer(&request, is_typed, &mut set, bytes_max);
        let features = set.plan().features.len();
        let read = |summary: &Summary| self.call.read(features, summary.rows);
        Pump::new(Arc::new(set), reader, writer, self.patience).run(parts, &self.outlet, read).await
    }
}

/// The first part and all that follow.
fn parts<P: Part>(
    first: HashedPart<P>,
    requests: Requests,
    take: fn(Asked) -> Result<HashedPart<P>>,
) -> impl Stream<Item = Result<HashedPart<P>>> + Send + 'static {
    stream::iter([Ok(first)]).chain(requests.map(move |request| request.and_then(take)))
}
