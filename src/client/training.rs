//! Training sets: the spine goes out in pieces while the answer comes in.
//!
//! Both directions run at once and both are bounded, so neither side ever holds a whole training set and neither can
//! wait for the other for ever.
//!
//! ```text
//! spine ──▶ cut into pieces ──▶ (4 waiting) ──▶ server ──▶ (HTTP/2 window) ──▶ TrainingSet::next
//! ```

use super::{Grpc, error};
use crate::{
    error::{Error, Result},
    wire::proto::{
        GetHistoricalFeaturesRequest, GetHistoricalFeaturesResponse, HistoricalFormat, HistoricalHeader,
        HistoricalOptions, HistoricalSummary, get_historical_features_request as request,
        get_historical_features_response as response,
    },
};
use arrow::{
    array::RecordBatch,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::{collections::VecDeque, pin::pin};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Streaming;

/// Bytes of one piece of a spine, well under what a server takes in one message.
const PIECE_BYTES_MAX: usize = 512 << 10;
/// Pieces waiting to be sent.
const PIECES_WAITING_MAX: usize = 4;

/// The spine, as batches of rows of one schema. An error ends the call.
pub trait SpinePieces: Stream<Item = Result<RecordBatch>> + Send + 'static {}
impl<S: Stream<Item = Result<RecordBatch>> + Send + 'static> SpinePieces for S {}

/// A training set as it arrives.
pub struct TrainingSet {
    /// Feature versions, settled time and whether the same call can be repeated.
    pub header: HistoricalHeader,
    answers: Streaming<GetHistoricalFeaturesResponse>,
    decoded: VecDeque<RecordBatch>,
    summary: Option<HistoricalSummary>,
    spine_failed: oneshot::Receiver<Error>,
    _sender: AbortOnDropHandle<()>,
}

impl TrainingSet {
    pub(super) async fn open(
        mut grpc: Grpc,
        options: HistoricalOptions,
        spine: impl SpinePieces,
    ) -> Result<TrainingSet> {
        let options = HistoricalOptions { format: HistoricalFormat::Arrow.into(), ..options };
        let (pieces, outgoing) = mpsc::channel(PIECES_WAITING_MAX);
        let (failed, mut spine_failed) = oneshot::channel();
        let sender = AbortOnDropHandle::new(tokio::spawn(send_spine(options, spine, pieces, failed)));
        let call = grpc.get_historical_features(ReceiverStream::new(outgoing));
        let mut answers = tokio::select! {
            biased;
            Ok(error) = &mut spine_failed => return Err(error),
            answer = call => answer.map_err(|status| error::from_status(&status))?.into_inner(),
        };
        let first = next_part(&mut answers, &mut spine_failed).await?;
        let Some(response::Part::Header(header)) = first else { return Err(error::missing("header")) };
        Ok(Self { header, answers, decoded: VecDeque::new(), summary: None, spine_failed, _sender: sender })
    }

    /// The next rows, in the order of the spine; `None` at the end of a whole answer.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.decoded.pop_front() {
                return Ok(Some(batch));
            }
            if self.summary.is_some() {
                return Ok(None);
            }
            match next_part(&mut self.answers, &mut self.spine_failed).await? {
                Some(response::Part::ArrowIpc(bytes)) => self.decoded = decode(&bytes)?,
                Some(response::Part::Summary(summary)) => self.summary = Some(summary),
                Some(_) => {
                    return Err(Error::internal("the server answered a spine in Arrow with something else"));
                }
                None => {
                    return Err(Error::unavailable(
                        "the training set broke off before its end; ask for it again",
                    ));
                }
            }
        }
    }

    /// Rows and hash of the whole spine; there once [`next`](Self::next) has returned `None`.
    pub fn summary(&self) -> Option<&HistoricalSummary> {
        self.summary.as_ref()
    }
}

async fn next_part(
    answers: &mut Streaming<GetHistoricalFeaturesResponse>,
    spine_failed: &mut oneshot::Receiver<Error>,
) -> Result<Option<response::Part>> {
    let message = async {
        let message = answers.message().await.map_err(|status| error::from_status(&status))?;
        Ok(message.and_then(|message| message.part))
    };
    if spine_failed.is_terminated() {
        return message.await;
    }
    tokio::select! {
        biased;
        Ok(error) = spine_failed => Err(error),
        message = message => message,
    }
}

/// Sends the options, then the spine in pieces. After an error in the spine the call is left open: closing it would
/// tell the server that the spine was whole.
async fn send_spine(
    options: HistoricalOptions,
    spine: impl SpinePieces,
    pieces: mpsc::Sender<GetHistoricalFeaturesRequest>,
    failed: oneshot::Sender<Error>,
) {
    let mut spine = pin!(spine);
    let mut part = request::Part::Options(options);
    let mut waiting: VecDeque<Bytes> = VecDeque::new();
    loop {
        if pieces.send(GetHistoricalFeaturesRequest { part: Some(part) }).await.is_err() {
            return; // the call has ended; its status says why
        }
        while waiting.is_empty() {
            let cut_up = match spine.next().await {
                None => return,
                Some(batch) => batch.and_then(|batch| cut(&batch, &mut waiting)),
            };
            if let Err(error) = cut_up {
                let _ = failed.send(error);
                return std::future::pending().await;
            }
        }
        part = request::Part::ArrowIpc(waiting.pop_front().expect("a piece is waiting"));
    }
}

/// Encodes a batch as Arrow IPC streams of at most [`PIECE_BYTES_MAX`] bytes, or of one row.
fn cut(batch: &RecordBatch, pieces: &mut VecDeque<Bytes>) -> Result<()> {
    let rows = batch.num_rows();
    if rows == 0 {
        return Ok(());
    }
    let estimate = batch.get_array_memory_size();
    let encoded = match estimate > 8 * PIECE_BYTES_MAX {
        true => None, // do not encode what will be cut anyway
        false => Some(encode(batch)?),
    };
    match encoded {
        Some(bytes) if bytes.len() <= PIECE_BYTES_MAX || rows == 1 => pieces.push_back(bytes),
        None if rows == 1 => pieces.push_back(encode(batch)?),
        _ => {
            let half = rows / 2;
            cut(&owned_slice(batch, 0, half)?, pieces)?;
            cut(&owned_slice(batch, half, rows - half)?, pieces)?;
        }
    }
    Ok(())
}

/// A slice whose memory is its own, so that its size can be told.
fn owned_slice(batch: &RecordBatch, offset: usize, rows: usize) -> Result<RecordBatch> {
    arrow::compute::concat_batches(&batch.schema(), [&batch.slice(offset, rows)]).map_err(Error::internal)
}

fn encode(batch: &RecordBatch) -> Result<Bytes> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).map_err(Error::internal)?;
    writer.write(batch).map_err(Error::internal)?;
    writer.into_inner().map(Bytes::from).map_err(Error::internal)
}

fn decode(bytes: &Bytes) -> Result<VecDeque<RecordBatch>> {
    let reader = StreamReader::try_new(bytes.as_ref(), None).map_err(Error::internal)?;
    reader.map(|batch| batch.map_err(Error::internal)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{ArrayRef, Int64Array, StringArray},
        compute::concat_batches,
    };
    use std::sync::Arc;

    #[test]
    fn pieces_are_small_and_make_up_the_whole() {
        let rows = 60_000;
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("{i:050}"))));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let whole = RecordBatch::try_from_iter([("text", texts), ("number", numbers)]).unwrap();
        let mut pieces = VecDeque::new();
        cut(&whole, &mut pieces).unwrap();
        assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX));
        let batches: Vec<_> = pieces.iter().flat_map(|piece| decode(piece).unwrap()).collect();
        assert_eq!(concat_batches(&whole.schema(), &batches).unwrap(), whole);
    }
}
