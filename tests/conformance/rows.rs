//! Rows as tests write them, and the batches that stores take.

use arrow::array::StringArray;
use larder::{
    feature::{
        Cell, ColumnBuilder, Dtype, EntityTypeId, RowId, RowSchema, TenantId, definition::ColumnSchema,
    },
    store::{Commit, Committed, DurableStore, Receipt, RowBatch, RowRef},
};
use std::sync::Arc;

pub const USER: EntityTypeId = EntityTypeId::from_stored(1);

/// A row to write.
#[derive(Clone, Debug)]
pub struct Row {
    pub key: String,
    pub event: i64,
    pub cells: Vec<Cell>,
}

/// A group with these columns.
pub fn group(id: u64, dtypes: &[Dtype]) -> Arc<RowSchema> {
    let columns = dtypes
        .iter()
        .enumerate()
        .map(|(at, dtype)| ColumnSchema { name: format!("c{at}@1"), dtype: *dtype })
        .collect();
    Arc::new(RowSchema { id: RowId::from_stored(id), entity_type: USER, windowed: false, columns })
}

/// A group that readers of the event log write: one integer column.
pub fn windowed_group(id: u64) -> Arc<RowSchema> {
    let RowSchema { columns, .. } = RowSchema::clone(&group(id, &[Dtype::Int64]));
    Arc::new(RowSchema { id: RowId::from_stored(id), entity_type: USER, windowed: true, columns })
}

/// The rows as columns; rows shorter than the group leave the rest out.
pub fn batch(group: &Arc<RowSchema>, rows: &[Row]) -> RowBatch {
    let columns = group.columns.iter().enumerate().map(|(at, column)| {
        let mut builder = ColumnBuilder::new(column.dtype, rows.len());
        rows.iter().for_each(|row| builder.push(row.cells.get(at).unwrap_or(&Cell::LeftOut)));
        builder.finish()
    });
    RowBatch {
        keys: StringArray::from_iter_values(rows.iter().map(|row| &row.key)),
        event_timestamps: rows.iter().map(|row| row.event).collect(),
        sequences: (0..rows.len() as u32).collect(),
        columns: columns.collect(),
        group: group.clone(),
    }
}

pub fn commit(batches: Vec<RowBatch>) -> Commit {
    Commit { tenant: TenantId::from_stored(1), batches, idempotency: None }
}

/// Commits and returns the receipt.
pub async fn write(store: &dyn DurableStore, batches: Vec<RowBatch>) -> Receipt {
    match store.commit(commit(batches)).await.unwrap() {
        Committed::Fresh(receipt) => receipt,
        Committed::Replayed(_) => panic!("replayed without an idempotency key"),
    }
}

/// A stored row's cells, as many as the group has columns.
pub fn cells<'a>(row: impl Into<RowRef<'a>>, group: &RowSchema) -> Vec<Cell> {
    let row = row.into().packed();
    group.columns.iter().enumerate().map(|(at, column)| row.cell(at, column.dtype)).collect()
}
