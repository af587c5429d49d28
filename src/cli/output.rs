//! How commands speak: results on standard output; progress, notes and errors on standard error.

use crate::{
    error::{Error, Result},
    wire::control::to_json,
};
use comfy_table::{Cell, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
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
    pub fn print(self, shape: &impl Serialize, people: impl FnOnce() -> String) -> Result<()> {
        match self.json {
            true => say(String::from_utf8_lossy(&to_json(shape))),
            false => say(people()),
        }
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
pub(super) fn print_error(error: &Error, json: bool) {
    if !json {
        return warn(format_args!("error: {error}"));
    }
    #[derive(Serialize)]
    struct Complaint<'a> {
        error: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<&'a str>,
    }
    let complaint = Complaint { error: &error.message, field: error.field.as_deref() };
    warn(String::from_utf8_lossy(&to_json(&complaint)));
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
