//! Bounds on what one call may ask for. All are settings under `limits:`.
//!
//! How great a value itself may be (`feature::value`, `feature::json`) is no setting: whatever one server took, every other
//! must be able to hold and to give.

use crate::feature::Duration;
use serde::Deserialize;

/// Each is the greatest value still accepted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Features in one online request, training set or feature set.
    pub features_max: usize,
    /// Entities in one online request.
    pub entities_max: usize,
    /// Features × entities in one online request.
    pub cells_max: usize,
    /// Bytes of one online answer.
    pub reply_bytes_max: usize,
    /// Bytes of one gRPC message.
    pub message_bytes_max: usize,
    /// Bytes of one REST body that is not a stream.
    pub body_bytes_max: usize,
    /// Bytes of one NDJSON line, or of one Arrow record batch.
    pub line_bytes_max: usize,
    /// Bytes of one row's values.
    pub row_bytes_max: usize,
    /// How far event timestamps, `as_of` and spine times may lie ahead of the clock.
    pub future_max: FutureMax,
    /// Size / slide of a window.
    pub window_slides_max: u32,
    /// Features of one group, all versions counted.
    pub group_columns_max: usize,
    /// Bytes of spine that a training set holds at once.
    pub spine_piece_bytes_max: usize,
    /// Bytes of spine and features that all training sets together hold; those over it wait, or come in smaller pieces.
    pub training_bytes_max: usize,
    /// Bytes of spine that wait on disk for a caller who sends before it reads.
    pub spool_bytes_max: u64,
}

/// A span as settings write it: `5m`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct FutureMax(pub Duration);

impl TryFrom<String> for FutureMax {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            features_max: 1_000,
            entities_max: 1_000,
            cells_max: 100_000,
            reply_bytes_max: 4 << 20,
            message_bytes_max: 4 << 20,
            body_bytes_max: 1 << 20,
            line_bytes_max: 1 << 20,
            row_bytes_max: 1 << 20,
            future_max: FutureMax(Duration::from_secs(300)),
            window_slides_max: 360,
            group_columns_max: 4_096,
            spine_piece_bytes_max: 64 << 20,
            training_bytes_max: 512 << 20,
            spool_bytes_max: 4 << 30,
        }
    }
}
