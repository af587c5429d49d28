//! The rules by brute force: a list of rows, searched from end to end.

use larder::feature::{Cell, RowId};

/// A row as it was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelRow {
    pub group: RowId,
    pub key: String,
    pub event: i64,
    pub created: i64,
    pub sequence: u64,
    pub cells: Vec<Cell>,
}

impl ModelRow {
    pub fn order(&self) -> (i64, i64, u64) {
        (self.event, self.created, self.sequence)
    }
}

/// Everything stored, and how far retention has come.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub rows: Vec<ModelRow>,
    pub bound: Option<i64>,
}

/// What was known.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    All,
    At(i64),
    Row,
}

impl Model {
    fn of<'a, 'k>(&'a self, group: RowId, key: &'k str) -> impl Iterator<Item = &'a ModelRow> + use<'a, 'k> {
        self.rows.iter().filter(move |row| row.group == group && row.key == key)
    }

    /// Adds a row unless it equals the newest at its event timestamp; whether it did not.
    pub fn put(&mut self, row: ModelRow) -> bool {
        let at_time = self.of(row.group, &row.key).filter(|other| other.event == row.event);
        if at_time.max_by_key(|other| other.order()).is_some_and(|newest| newest.cells == row.cells) {
            return true;
        }
        self.rows.push(row);
        false
    }

    pub fn latest<'a>(&'a self, group: RowId, key: &str) -> Option<&'a ModelRow> {
        self.of(group, key).max_by_key(|row| row.order())
    }

    /// Rows that retention leaves: those since the bound, and the newest one before it.
    fn kept<'a, 'k>(
        &'a self,
        group: RowId,
        key: &'k str,
    ) -> impl Iterator<Item = &'a ModelRow> + use<'a, 'k> {
        let bound = self.bound.unwrap_or(i64::MIN);
        let base = self.of(group, key).filter(|row| row.event < bound).max_by_key(|row| row.order());
        self.of(group, key).filter(move |row| row.event >= bound).chain(base)
    }

    pub fn as_of<'a>(&'a self, group: RowId, key: &str, time: i64, known: Known) -> Option<&'a ModelRow> {
        let known_at = match known {
            Known::All => i64::MAX,
            Known::At(moment) => moment,
            Known::Row => time,
        };
        self.kept(group, key)
            .filter(|row| row.event <= time && row.created <= known_at)
            .max_by_key(|row| row.order())
    }

    pub fn scan<'a>(&'a self, group: RowId, key: &str, from: i64, to: i64) -> Vec<&'a ModelRow> {
        let mut rows: Vec<&'a ModelRow> =
            self.kept(group, key).filter(|row| row.event >= from && row.event < to).collect();
        rows.sort_by_key(|row| row.order());
        rows
    }
}
