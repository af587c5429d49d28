//! Bulk writes over one stream, with a bounded number of requests under way.
//!
//! Each request is a transaction of its own; answer *i* acknowledges request *i*. While the server makes one durable the
//! next are already on their way, so the disk's latency is paid once and not once for every request.

use super::{Grpc, error};
use crate::{
    error::{Error, Result},
    wire::proto::{FeatureRow, StreamWriteFeaturesRequest, StreamWriteFeaturesResponse},
};
use std::collections::VecDeque;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;

/// An open stream of writes. Dropping it gives up what is not yet acknowledged.
pub struct RowWriter {
    requests: Option<mpsc::Sender<StreamWriteFeaturesRequest>>,
    answers: mpsc::Receiver<Result<StreamWriteFeaturesResponse>>,
    call: JoinHandle<()>,
    in_flight_max: usize,
    /// For each unanswered request: the position of its first row in the whole stream, and its number of rows.
    in_flight: VecDeque<(u64, usize)>,
    rows_sent: u64,
}

/// One request of the stream, durable now.
#[derive(Debug)]
pub struct Acknowledged {
    /// Position of the request's first row in the whole stream, from 0.
    pub first_row: u64,
    /// Rows that the request held.
    pub rows: usize,
    pub answer: StreamWriteFeaturesResponse,
}

impl RowWriter {
    pub(super) fn open(mut grpc: Grpc, in_flight_max: usize) -> Self {
        let in_flight_max = in_flight_max.max(1);
        let (requests, outgoing) = mpsc::channel(in_flight_max);
        let (incoming, answers) = mpsc::channel(in_flight_max);
        let call = tokio::spawn(async move {
            let mut stream = match grpc.stream_write_features(ReceiverStream::new(outgoing)).await {
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
        Self {
            requests: Some(requests),
            answers,
            call,
            in_flight_max,
            in_flight: VecDeque::new(),
            rows_sent: 0,
        }
    }

    /// Sends rows as one request. Returns an acknowledgement of an earlier one when it had to wait for it.
    pub async fn send(&mut self, rows: Vec<FeatureRow>) -> Result<Option<Acknowledged>> {
        let acknowledged = match self.in_flight.len() < self.in_flight_max {
            true => None,
            false => self.next().await?,
        };
        self.in_flight.push_back((self.rows_sent, rows.len()));
        self.rows_sent += rows.len() as u64;
        let request = StreamWriteFeaturesRequest { rows, ..Default::default() };
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
    pub fn ready(&mut self) -> Result<Option<Acknowledged>> {
        let Ok(answer) = self.answers.try_recv() else { return Ok(None) };
        let (first_row, rows) = self.in_flight.pop_front().unwrap_or_default();
        Ok(Some(Acknowledged { first_row, rows, answer: answer? }))
    }

    /// The next acknowledgement in the order of the requests; `None` when none is outstanding.
    pub async fn next(&mut self) -> Result<Option<Acknowledged>> {
        let Some((first_row, rows)) = self.in_flight.pop_front() else { return Ok(None) };
        let answer = self.answers.recv().await.unwrap_or_else(|| {
            Err(Error::unavailable(
                "the server ended the stream before it acknowledged every row; write them again",
            ))
        })?;
        Ok(Some(Acknowledged { first_row, rows, answer }))
    }
}

impl Drop for RowWriter {
    fn drop(&mut self) {
        self.call.abort();
    }
}
