//! The reply: rows of the store, written into the reply's buffer as `larder.v1.GetOnlineFeaturesResponse`.
//!
//! ```text
//! row = statuses · event timestamps · float64s · int64s · …
//!                                        └ run of one group: full and fresh → one copy; else cell by cell
//! ```

use super::{
    Envelope,
    array::{Slot, encode_bytes, encode_head, packed_len},
    layout::{ArrayLayout, CellPlace, Layout, Run},
};
use crate::{
    error::{Error, Kind, Result},
    feature::{CellStatus, PackedRow, row::CellState},
    serving::online::{GroupCells, OnlineAnswer},
    store::NO_ROW,
    wire::{codec::Encode, proto},
};
use bytes::BufMut;
use prost::{Message, encoding::encoded_len_varint};

const SCHEMA_ID: u32 = 1;
const ROWS: u32 = 3;
const ERRORS: u32 = 4;
const REQUEST_ID: u32 = 5;
const SERVER_DURATION_US: u32 = 6;
const DEGRADED: u32 = 7;
const PRESENT: u8 = CellStatus::Present as u8;

/// `larder.v1.GetOnlineFeaturesResponse`, its length known and its rows not written yet.
#[derive(Debug)]
pub struct Reply {
    answer: OnlineAnswer,
    with_schema: bool,
    errors: Vec<proto::CellError>,
    request_id: String,
    server_duration_us: u32,
    /// By row; empty = every row is `Layout::fixed_len` long.
    row_lens: Vec<u32>,
    len: usize,
}

impl Reply {
    /// Measures the reply. A caller that already holds the schema (`schema_id`) does not get it again.
    pub fn new(answer: OnlineAnswer, schema_id: u64, envelope: &Envelope<'_>) -> Result<Self> {
        let mut reply = Self {
            with_schema: schema_id != answer.plan.schema_id,
            errors: errors(&answer),
            request_id: envelope.request_id.to_owned(),
            server_duration_us: u32::try_from(envelope.started.elapsed().as_micros()).unwrap_or(u32::MAX),
            row_lens: Vec::new(),
            len: 0,
            answer,
        };
        reply.measure(envelope.bytes_max)?;
        Ok(reply)
    }

    pub fn answer(&self) -> &OnlineAnswer {
        &self.answer
    }

    fn measure(&mut self, bytes_max: usize) -> Result<()> {
        let layout = Layout::of(&self.answer.plan);
        let around = self.around_len(layout);
        let mut len = around;
        if layout.has_fixed_rows() {
            len += self.answer.rows * packed_len(ROWS, layout.fixed_len);
        } else {
            let mut rows = RowWriter::new(&self.answer, layout);
            self.row_lens.reserve_exact(self.answer.rows);
            for row in 0..self.answer.rows {
                let row_len = rows.judge(row).len();
                self.row_lens.push(row_len as u32);
                len += packed_len(ROWS, row_len);
            }
        }
        if len > bytes_max {
            return Err(self.too_large(len, around, bytes_max));
        }
        self.len = len;
        Ok(())
    }

    /// Everything but the rows.
    fn around_len(&self, layout: &Layout) -> usize {
        let schema = if self.with_schema { layout.schema.len() } else { 0 };
        let errors: usize =
            self.errors.iter().map(|error| packed_len(ERRORS, Message::encoded_len(error))).sum();
        let request_id = match self.request_id.len() {
            0 => 0,
            len => packed_len(REQUEST_ID, len),
        };
        let duration = match self.server_duration_us {
            0 => 0,
            micros => 1 + encoded_len_varint(micros.into()),
        };
        let degraded = if self.answer.degraded { 2 } else { 0 };
        9 + schema + errors + request_id + duration + degraded
    }

    fn too_large(&self, len: usize, around: usize, bytes_max: usize) -> Error {
        let rows = self.answer.rows;
        let fit = match self.row_lens.as_slice() {
            [] => bytes_max.saturating_sub(around) / ((len - around) / rows).max(1),
            lens => {
                let mut room = bytes_max.saturating_sub(around);
                let fits = |len: &&u32| {
                    let left = room.checked_sub(packed_len(ROWS, **len as usize));
                    left.inspect(|left| room = *left).is_some()
                };
                lens.iter().take_while(fits).count()
            }
        };
        let message = format!(
            "the answer of {len} bytes is over the limit of {bytes_max}; the first {fit} of these {rows} entities fit"
        );
        Error::new(Kind::TooLarge, message)
    }
}

impl Encode for Reply {
    fn encoded_len(&self) -> usize {
        self.len
    }

    fn encode(&self, buf: &mut impl BufMut) {
        let layout = Layout::of(&self.answer.plan);
        prost::encoding::fixed64::encode(SCHEMA_ID, &self.answer.plan.schema_id, buf);
        if self.with_schema {
            buf.put_slice(&layout.schema);
        }
        let mut rows = RowWriter::new(&self.answer, layout);
        for row in 0..self.answer.rows {
            let len = self.row_lens.get(row).map_or(layout.fixed_len, |len| *len as usize);
            encode_head(ROWS, len, buf);
            rows.judge(row).encode(buf);
        }
        for error in &self.errors {
            prost::encoding::message::encode(ERRORS, error, buf);
        }
        if !self.request_id.is_empty() {
            prost::encoding::string::encode(REQUEST_ID, &self.request_id, buf);
        }
        if self.server_duration_us != 0 {
            prost::encoding::uint32::encode(SERVER_DURATION_US, &self.server_duration_us, buf);
        }
        if self.answer.degraded {
            prost::encoding::bool::encode(DEGRADED, &true, buf);
        }
    }
}

/// One row at a time: judged, then measured or written.
struct RowWriter<'a> {
    answer: &'a OnlineAnswer,
    layout: &'a Layout,
    /// By the plan's groups.
    cells: Vec<GroupCells<'a>>,
    /// By the plan's features.
    statuses: Vec<u8>,
    defaults: Option<PackedRow<'a>>,
}

impl<'a> RowWriter<'a> {
    fn new(answer: &'a OnlineAnswer, layout: &'a Layout) -> Self {
        let defaults = answer.use_defaults.then(|| {
            PackedRow::new(&layout.defaults).expect("the defaults were packed when the plan was made")
        });
        Self {
            answer,
            layout,
            cells: Vec::with_capacity(answer.plan.groups.len()),
            statuses: vec![0; answer.plan.features.len()],
            defaults,
        }
    }

    /// Takes up a row.
    fn judge(&mut self, row: usize) -> &Self {
        self.cells.clear();
        self.cells.extend((0..self.answer.plan.groups.len()).map(|group| self.answer.cells(row, group)));
        for (group, features) in &self.layout.statuses {
            let cells = &self.cells[*group];
            match cells.uniform() {
                Some(status) => self.statuses[features.clone()].fill(status as u8),
                None => {
                    for feature in features.clone() {
                        self.statuses[feature] = self.answer.status(feature, cells) as u8;
                    }
                }
            }
        }
        self
    }

    /// Bytes of the row's message.
    fn len(&self) -> usize {
        let varying = self.layout.arrays.iter().filter(|of| of.array.width().is_none());
        self.layout.fixed_len + varying.map(|of| of.array.len(self.each(of))).sum::<usize>()
    }

    fn encode(&self, buf: &mut impl BufMut) {
        encode_bytes(1, &self.statuses, buf);
        encode_head(2, 8 * self.cells.len(), buf);
        for cells in &self.cells {
            buf.put_i64_le(cells.event().unwrap_or(NO_ROW));
        }
        for of in &self.layout.arrays {
            self.encode_array(of, buf);
        }
    }

    fn encode_array(&self, of: &ArrayLayout, buf: &mut impl BufMut) {
        buf.put_slice(&of.head);
        if !of.array.is_slots() {
            return of.array.encode(self.each(of), buf);
        }
        for run in &of.runs {
            match &self.cells[run.group] {
                GroupCells::Whole { row, .. } if run.in_order => {
                    let first = of.cells[run.slots.start].column;
                    buf.put_slice(&row.slots()[8 * first..8 * (first + run.slots.len())]);
                }
                _ => of.array.encode(self.run(of, run), buf),
            }
        }
    }

    /// The values of an array by slot.
    fn each<'s>(&'s self, of: &'s ArrayLayout) -> impl Iterator<Item = Slot<'a>> + Clone + use<'a, 's> {
        of.runs.iter().flat_map(move |run| self.run(of, run))
    }

    /// Those of one group.
    fn run<'s>(
        &'s self,
        of: &'s ArrayLayout,
        run: &'s Run,
    ) -> impl Iterator<Item = Slot<'a>> + Clone + use<'a, 's> {
        let cells = &self.cells[run.group];
        of.cells[run.slots.clone()].iter().map(move |cell| self.slot(cell, cells))
    }

    /// Where a cell's value lies: in its row, in the defaults, or nowhere.
    #[inline]
    fn slot(&self, cell: &CellPlace, cells: &GroupCells<'a>) -> Slot<'a> {
        let status = self.statuses[cell.feature];
        let source = match (status, cells.row(), self.defaults) {
            (PRESENT, Some(row), _) => Some((row, cell.column)),
            (status, _, Some(defaults)) if status != CellStatus::Error as u8 => {
                let given = defaults.state(cell.feature) == CellState::Value;
                given.then_some((defaults, cell.feature))
            }
            _ => None,
        };
        Slot { source, element: cell.element }
    }
}

/// The reasons of all cells with status ERROR.
fn errors(answer: &OnlineAnswer) -> Vec<proto::CellError> {
    if !answer.has_failures() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    for row in 0..answer.rows {
        for (feature, planned) in answer.plan.features.iter().enumerate() {
            if let GroupCells::Failed(error) = answer.cells(row, planned.group) {
                let reason = error.message.clone();
                errors.push(proto::CellError { row: row as u32, feature: feature as u32, reason });
            }
        }
    }
    errors
}
