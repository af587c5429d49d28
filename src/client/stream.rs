//! Bulk in over one stream, rows or events, with a bounded number of requests under way.
//!
//! Each request is made durable by itself; answer *i* acknowledges request *i*. While the server makes one durable the
//! next are already on their way, so the disk's latency is paid once and not once for every request.

use super::error;
use crate::{
    error::{Error, Result},
    wire::proto::{
        Event, FeatureRow, StreamPublishEventsRequest, StreamPublishEventsResponse,
        StreamWriteFeaturesRequest, StreamWriteFeaturesResponse,
    },
};
use std::collections::VecDeque;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// An open stream of requests `Q`, answered by `A`s. Dropping it gives up what is not yet acknowledged.
pub struct StreamWriter<Q, A> {
    requests: Option<mpsc::Sender<Q>>,
    answers: mpsc::Receiver<Result<A>>,
    call: JoinHandle<()>,
    in_flight_max: usize,
    /// For each unanswered request: the position of its first row or event in the whole stream, and how many it has.
    in_flight: VecDeque<(u64, usize)>,
    sent: u64,
}

/// An open stream of writes.
pub type RowWriter = StreamWriter<StreamWriteFeaturesRequest, StreamWriteFeaturesResponse>;
/// An open stream of events.
pub type EventWriter = StreamWriter<StreamPublishEventsRequest, StreamPublishEventsResponse>;

/// One request of the stream, durable now.
#[derive(Debug)]
pub struct Acknowledged<A> {
    /// Position of the request's first row or event in the whole stream, from 0.
    pub first: u64,
    /// How many the request held.
    pub count: usize,
    pub answer: A,
}

impl<Q: Send + 'static, A: Send + 'static> StreamWriter<Q, A> {
    pub(super) fn open<F>(
        in_flight_max: usize,
        call: impl FnOnce(ReceiverStream<Q>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Response<Streaming<A>>, Status>> + Send,
    {
        let in_flight_max = in_flight_max.max(1);
        let (requests, outgoing) = mpsc::channel(in_flight_max);
        let (incoming, answers) = mpsc::channel(in_flight_max);
        let call = tokio::spawn(async move {
            let mut stream = match call(ReceiverStream::new(outgoing)).await {
                Ok(response) => response.into_inner(),
                Err(status) => {
                    let _ = incoming.send(Err(error::from_status(&status))).await;
                    return;
                }
            };
            while let Some(answer) =
                stream.message().await.map_err(|status| error::from_status(&status)).transpose()
            {
                let failed = answer.is_err();
                if incoming.send(answer).await.is_err() || failed {
                    return;
                }
            }
        });
        let requests = Some(requests);
        Self { requests, answers, call, in_flight_max, in_flight: VecDeque::new(), sent: 0 }
    }

    /// Sends a request of so many rows or events. Returns an acknowledgement of an earlier one when it had to wait for it.
    pub async fn send_request(&mut self, request: Q, count: usize) -> Result<Option<Acknowledged<A>>> {
        let acknowledged = match self.in_flight.len() < self.in_flight_max {
            true => None,
            false => self.next().await?,
        };
        self.in_flight.push_back((self.sent, count));
        self.sent += count as u64;
        let requests = self.requests.as_ref().ok_or_else(|| Error::internal("the stream was finished"))?;
        if requests.send(request).await.is_err() && acknowledged.is_none() {
            return self.next().await; // the call has ended: its error lies behind the answers
        }
        Ok(acknowledged)
    }

    /// Says that nothing more comes: only acknowledgements are left.
    pub fn finish(&mut self) {
        self.requests = None;
    }

    /// The next acknowledgement if it is there already.
    pub fn ready(&mut self) -> Result<Option<Acknowledged<A>>> {
        let Ok(answer) = self.answers.try_recv() else { return Ok(None) };
        let (first, count) = self.in_flight.pop_front().unwrap_or_default();
        Ok(Some(Acknowledged { first, count, answer: answer? }))
    }

    /// The next acknowledgement in the order of the requests; `None` when none is outstanding.
    pub async fn next(&mut self) -> Result<Option<Acknowledged<A>>> {
        let Some((first, count)) = self.in_flight.pop_front() else { return Ok(None) };
        let answer = self.answers.recv().await.unwrap_or_else(|| {
            Err(Error::unavailable(
                "the server ended the stream before it acknowledged everything; send the rest again",
            ))
        })?;
        Ok(Some(Acknowledged { first, count, answer }))
    }
}

impl RowWriter {
    /// Sends rows as one request, which is one transaction.
    pub async fn send(
        &mut self,
        rows: Vec<FeatureRow>,
    ) -> Result<Option<Acknowledged<StreamWriteFeaturesResponse>>> {
        let count = rows.len();
        self.send_request(StreamWriteFeaturesRequest { rows, ..Default::default() }, count).await
    }
}

impl EventWriter {
    /// Sends events as one request, which is one append.
    pub async fn send(
        &mut self,
        events: Vec<Event>,
    ) -> Result<Option<Acknowledged<StreamPublishEventsResponse>>> {
        let count = events.len();
        self.send_request(StreamPublishEventsRequest { events }, count).await
    }
}

impl<Q, A> Drop for StreamWriter<Q, A> {
    fn drop(&mut self) {
        self.call.abort();
    }
}
