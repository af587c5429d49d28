//! How commands speak: results on standard output; progress, notes and errors on standard error.

use crate::{
    error::{Error, Result},
    wire::json::JsonWriter,
};
use comfy_table::{Cell, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

/// Columns by space, and one line under the header.
const PLAIN: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─').left('─').right('─'));

/// Where and how results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub json: bool,
}

impl Output {
    /// Prints a result: as JSON if asked for, else as `people` read it.
    pub fn print(
        self,
        json: impl FnOnce(&mut JsonWriter<'_>),
        people: impl FnOnce() -> String,
    ) -> Result<()> {
        if !self.json {
            return say(people());
        }
        let mut out = Vec::new();
        json(&mut JsonWriter::new(&mut out));
        say(String::from_utf8_lossy(&out))
    }

    /// Tells a person something that is no result.
    pub fn note(self, text: impl Display) {
        if !self.json {
            warn(text);
        }
    }

    /// A bar on a terminal, nothing elsewhere; its message says what is done. `total` is in any unit that
    /// `set_position` speaks; `None` = nobody knows how much is to come.
    pub fn progress(self, total: Option<u64>, verb: &'static str) -> ProgressBar {
        let target = match self.json || !io::stderr().is_terminal() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let template = match total {
            Some(_) => "{prefix} {wide_bar} {percent}%  {msg}  {eta} left",
            None => "{prefix} {spinner} {msg}  {elapsed}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is right");
        ProgressBar::with_draw_target(total, target).with_style(style).with_prefix(verb)
    }
}

/// Writes a line to standard output. A reader that has gone away (`| head`) is no error.
pub(super) fn say(text: impl Display) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::internal(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error. What cannot be written is lost: there is nowhere left to say so.
fn warn(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Tells why the command failed.
pub(super) fn complain(error: &Error, json: bool) {
    if !json {
        return warn(format_args!("error: {error}"));
    }
    let mut out = Vec::new();
    JsonWriter::new(&mut out).object(|w| {
        w.key("error").string(&error.message);
        if let Some(field) = &error.field {
            w.key("field").string(field);
        }
    });
    warn(String::from_utf8_lossy(&out));
}

/// A table of text with a header.
pub(super) fn table<H: Into<Cell>, R: IntoIterator<Item = C>, C: Into<Cell>>(
    header: impl IntoIterator<Item = H>,
    rows: impl IntoIterator<Item = R>,
) -> Table {
    let mut table = Table::new();
    table.load_style(PLAIN);
    table.set_header(header.into_iter().map(Into::into).collect::<Vec<Cell>>());
    for row in rows {
        table.add_row(row.into_iter().map(Into::into).collect::<Vec<Cell>>());
    }
    table
}

/// `1 row`, `2 rows`.
pub(super) fn count(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}
