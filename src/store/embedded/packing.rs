//! Packed rows as this store keeps them: columns left out at the end are not written, so that a row has the same bytes
//! before and after its group gains a column.

use crate::feature::{
    Column, Dtype,
    row::{CellState, RowPacker},
};

/// Packs one row of columns; `None` stands for a column that no row gives.
pub fn pack_known<'a>(
    columns: impl Iterator<Item = Option<(&'a Column, Dtype)>>,
    row: usize,
    packer: &mut RowPacker,
    out: &mut Vec<u8>,
) {
    let mut left_out = 0;
    for column in columns {
        match column.filter(|(column, _)| column.state(row) != CellState::LeftOut) {
            None => left_out += 1,
            Some((column, dtype)) => {
                (0..std::mem::take(&mut left_out)).for_each(|_| packer.push_left_out());
                column.pack(row, dtype, packer);
            }
        }
    }
    packer.finish(out);
}
