//! The rows of one group, gathered as columns.

use crate::{
    error::{Error, Result},
    feature::{Cell, Column, ColumnBuilder, RowSchema, Timestamp, definition::EntityType, entity},
    registry::{Catalogue, GroupEntry, newest_active},
    store::RowBatch,
};
use arrow::array::StringBuilder;
use std::sync::Arc;

/// Rows that a batch has room for from the start.
const ROWS_FIRST: usize = 64;

pub(super) struct GroupRows {
    schema: Arc<RowSchema>,
    pub(super) name: String,
    pub(super) entity_type: Arc<EntityType>,
    /// The columns that every row must give, and their features' names.
    required: Vec<(usize, String)>,
    /// The row being judged: by column, left out until given.
    cells: Vec<Cell>,
    key: String,
    keys: StringBuilder,
    event_timestamps: Vec<i64>,
    sequences: Vec<u32>,
    columns: Vec<ColumnBuilder>,
}

impl GroupRows {
    pub(super) fn new(catalogue: &Catalogue, entry: &GroupEntry) -> Self {
        let entity_type = catalogue.entity_type_by_id(entry.group.entity_type);
        let newest = |name: &str| newest_active(catalogue.versions(entry.group.id, name));
        let required = entry.features.iter().filter(|feature| {
            feature.founding && newest(&feature.name).is_some_and(|newest| newest.id == feature.id)
        });
        let columns = &entry.schema.columns;
        Self {
            name: entry.group.name.clone(),
            entity_type: entity_type.expect("a group's entity type is in its catalogue").clone(),
            required: required.map(|feature| (feature.column as usize, feature.name.clone())).collect(),
            cells: vec![Cell::LeftOut; columns.len()],
            key: String::new(),
            keys: StringBuilder::with_capacity(ROWS_FIRST, 16 * ROWS_FIRST),
            event_timestamps: Vec::with_capacity(ROWS_FIRST),
            sequences: Vec::with_capacity(ROWS_FIRST),
            columns: columns.iter().map(|column| ColumnBuilder::new(column.dtype, ROWS_FIRST)).collect(),
            schema: entry.schema.clone(),
        }
    }

    /// Puts a cell into the row being judged; false if the column has one already.
    pub(super) fn stage(&mut self, column: usize, cell: Cell) -> bool {
        let free = self.cells[column] == Cell::LeftOut;
        self.cells[column] = cell;
        free
    }

    /// A group is written whole: refuses a row that leaves out a feature it was registered with.
    pub(super) fn check_whole(&self) -> Result<()> {
        match self.required.iter().find(|(column, _)| self.cells[*column] == Cell::LeftOut) {
            Some((_, name)) => {
                let message = format!(
                    "the group {:?} is written whole: give {name:?} too, null if there is none",
                    self.name
                );
                Err(Error::invalid(format!("values.{name}"), message))
            }
            None => Ok(()),
        }
    }

    /// Makes the entity of the row being judged the one with these ids, in the order of the type's keys.
    pub(super) fn set_key<'a>(&mut self, ids: impl ExactSizeIterator<Item = &'a str>) {
        self.key.clear();
        entity::encode_key(ids, &mut self.key);
    }

    /// Adds the judged row.
    pub(super) fn push(&mut self, event_timestamp: Timestamp, sequence: u32) {
        self.keys.append_value(&self.key);
        self.event_timestamps.push(event_timestamp.micros());
        self.sequences.push(sequence);
        for (cell, column) in self.cells.iter_mut().zip(&mut self.columns) {
            column.push(cell);
            *cell = Cell::LeftOut;
        }
    }

    /// Forgets the row being judged.
    pub(super) fn discard(&mut self) {
        self.cells.fill(Cell::LeftOut);
    }

    /// The batch; `None` if no row was good.
    pub(super) fn finish(mut self) -> Option<RowBatch> {
        let columns: Vec<Column> = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        (!self.sequences.is_empty()).then(|| RowBatch {
            group: self.schema,
            keys: self.keys.finish(),
            event_timestamps: self.event_timestamps.into(),
            sequences: self.sequences.into(),
            columns,
        })
    }
}
