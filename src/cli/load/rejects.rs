//! Where rejects go: a line of JSON for each, with its place, the reason and the row or event itself.

use crate::{
    cli::file,
    error::{Error, Result},
    wire::json::JsonWriter,
};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

/// The file is made with the first reject.
pub(super) struct Rejects {
    path: PathBuf,
    /// What one of them is called.
    noun: &'static str,
    file: Option<BufWriter<File>>,
}

impl Rejects {
    pub fn new(path: PathBuf, noun: &'static str) -> Self {
        Self { path, noun, file: None }
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

    /// A row that the server refused, by its position in the request.
    pub fn refused(
        &mut self,
        line: u64,
        position: u32,
        field: &str,
        reason: &str,
        members: impl FnOnce(&mut JsonWriter<'_>),
    ) -> Result<()> {
        let noun = self.noun;
        let field =
            field.strip_prefix(&format!("{noun}s[{position}]")).unwrap_or(field).trim_start_matches('.');
        self.put(|w| {
            w.key("line").uint(line);
            w.key("field").string(field);
            w.key("reason").string(reason);
            w.key(noun).object(members);
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
