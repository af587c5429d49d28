//! What comes out: rows of groups, as columns.

use crate::feature::{Cell, Column, ColumnBuilder, RowId, TenantId};
use arrow::array::{StringArray, StringBuilder};

/// Rows of one group in the order in which they were emitted. All parts are of one length.
#[derive(Clone, Debug)]
pub struct WindowRows {
    pub tenant: TenantId,
    pub group: RowId,
    /// Storage keys, never null.
    pub keys: StringArray,
    /// Ends of the windows, in UTC microseconds.
    pub event_timestamps: Vec<i64>,
    /// Log times of the records that caused the rows, in UTC microseconds.
    pub created: Vec<i64>,
    /// Offsets of those records.
    pub sequences: Vec<u64>,
    /// One for each feature of the group, in their order.
    pub columns: Vec<Column>,
}

/// The record that causes rows.
#[derive(Clone, Copy)]
pub struct Cause {
    pub log_time: i64,
    pub offset: u64,
}

/// Gathers rows of one group.
pub struct RowsBuilder {
    keys: StringBuilder,
    event_timestamps: Vec<i64>,
    created: Vec<i64>,
    sequences: Vec<u64>,
    columns: Vec<ColumnBuilder>,
}

impl RowsBuilder {
    pub fn new(columns: Vec<ColumnBuilder>) -> Self {
        Self {
            keys: StringBuilder::new(),
            event_timestamps: Vec::new(),
            created: Vec::new(),
            sequences: Vec::new(),
            columns,
        }
    }

    pub fn len(&self) -> usize {
        self.event_timestamps.len()
    }

    /// Begins a row; a cell for each column follows.
    pub fn begin(&mut self, key: &str, end: i64, cause: Cause) {
        self.keys.append_value(key);
        self.event_timestamps.push(end);
        self.created.push(cause.log_time);
        self.sequences.push(cause.offset);
    }

    pub fn cell(&mut self, column: usize, cell: &Cell) {
        self.columns[column].push(cell);
    }

    pub fn take(&mut self, tenant: TenantId, group: RowId) -> Option<WindowRows> {
        (self.len() > 0).then(|| WindowRows {
            tenant,
            group,
            keys: self.keys.finish(),
            event_timestamps: std::mem::take(&mut self.event_timestamps),
            created: std::mem::take(&mut self.created),
            sequences: std::mem::take(&mut self.sequences),
            columns: self.columns.iter_mut().map(ColumnBuilder::finish).collect(),
        })
    }
}
