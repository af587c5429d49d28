//! Where rejected rows go: a line of JSON for each, with its place, the reason and the row itself.

use crate::{
    cli::{file, shape, value},
    error::{Error, Result},
    wire::{
        json::JsonWriter,
        proto::{FeatureRow, RejectedRow},
    },
};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

/// The file is made with the first reject.
pub(super) struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Rejects {
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// A row that could not be read.
    pub fn unreadable(&mut self, line: u64, error: &Error, text: &str) -> Result<()> {
        self.put(|w| {
            w.key("line").uint(line);
            w.key("field").string(error.field.as_deref().unwrap_or_default());
            w.key("reason").string(&error.message);
            w.key("text").string(text);
        })
    }

    /// A row that the server refused.
    pub fn refused(&mut self, line: u64, rejected: &RejectedRow, row: &FeatureRow) -> Result<()> {
        let prefix = format!("rows[{}]", rejected.row);
        let field = rejected.field.strip_prefix(&prefix).unwrap_or(&rejected.field).trim_start_matches('.');
        self.put(|w| {
            w.key("line").uint(line);
            w.key("field").string(field);
            w.key("reason").string(&rejected.reason);
            w.key("row").object(|w| row_members(w, row));
        })
    }

    /// Closes the file and says where it is, if there is one.
    pub fn finish(self) -> Result<Option<PathBuf>> {
        let Some(mut file) = self.file else { return Ok(None) };
        file.flush().map_err(|error| file::broken(&self.path, error))?;
        Ok(Some(self.path))
    }

    fn put(&mut self, members: impl FnOnce(&mut JsonWriter<'_>)) -> Result<()> {
        let broken = |error| file::broken(&self.path, error);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(File::create(&self.path).map_err(broken)?)),
        };
        let mut out = Vec::new();
        JsonWriter::new(&mut out).object(members);
        out.push(b'\n');
        file.write_all(&out).map_err(broken)
    }
}

/// As REST takes it, so that a mended line can be written again.
fn row_members(w: &mut JsonWriter<'_>, row: &FeatureRow) {
    if !row.entity_type.is_empty() {
        w.key("entity_type").string(&row.entity_type);
    }
    if !row.entity_id.is_empty() {
        w.key("entity_id").string(&row.entity_id);
    }
    if !row.entities.is_empty() {
        w.key("entities").object(|w| row.entities.iter().for_each(|(key, id)| w.key(key).string(id)));
    }
    shape::moment(w.key("event_timestamp"), row.event_timestamp.as_ref());
    w.key("values").object(|w| {
        for (name, value) in &row.values {
            w.key(name).value(value::from_proto(value).as_ref());
        }
    });
}
