//! An explanation in a sentence.

use super::{ExplainedWindow, Explanation};
use crate::feature::{Cell, CellStatus, WindowFunction};

/// Why the cell has its status, and what is to be known of its window.
pub(super) fn of(explanation: &Explanation) -> String {
    let mut sentence = status(explanation);
    if let Some(window) = &explanation.window {
        sentence.push_str(&window_notes(window));
    }
    sentence
}

fn status(explanation: &Explanation) -> String {
    let Explanation { feature, as_of, status, .. } = explanation;
    let Some((row, age)) = explanation.row.as_ref().zip(explanation.age()) else {
        return match &feature.window {
            Some(window) => format!(
                "no window of this entity with a {} event in it ended at or before {as_of}: there is no row",
                window.event_type
            ),
            None => format!("no row of this entity was written for a moment at or before {as_of}"),
        };
    };
    let age = format!("the newest row is {} old", age.rough());
    let within = match explanation.ttl() {
        Some(ttl) => format!("the ttl is {ttl}"),
        None => "there is no ttl".to_owned(),
    };
    match (status, &row.cell) {
        (_, Cell::LeftOut) => format!("{age} and leaves the feature out: it was added to its group later"),
        (CellStatus::OutsideMaxAge, _) => format!("{age} and {within}: it is not served"),
        (_, Cell::Null) => match explanation.window.as_ref().filter(|window| window.is_empty()) {
            Some(window) => format!("{age}, and {} of no event is null", window.function),
            None => format!("{age} and holds null, which is served as such; {within}"),
        },
        _ => format!("{age} and {within}: it is served"),
    }
}

fn window_notes(window: &ExplainedWindow) -> String {
    let mut notes = String::new();
    if window.events_pending > 0 {
        let (events, they) = match window.events_pending {
            1 => ("1 event".to_owned(), "it counts"),
            n => (format!("{n} events"), "they count"),
        };
        notes.push_str(&format!(
            "; {events} of its window came after the row, and {they} when the window is emitted again"
        ));
    }
    match &window.unread {
        Some(why) => notes.push_str(&format!("; the events of its window could not all be read: {why}")),
        None if !window.complete => {
            notes.push_str("; the log no longer holds all events that may have been in its window");
        }
        None => {}
    }
    notes
}

impl ExplainedWindow {
    /// Whether it is known that nothing was counted.
    fn is_empty(&self) -> bool {
        self.complete && self.events_counted == 0 && self.function != WindowFunction::Count
    }
}
