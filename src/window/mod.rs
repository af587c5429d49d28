//! Event time as a value: records of one log partition in, rows of windowed features out.
//!
//! Nothing here reads a clock, waits or knows a log: the same records, registrations and start points give the same rows
//! to the bit, however they were cut into commits and wherever the reader was restarted.
//!
//! ```text
//!   record (offset, log time)
//!      │ 1  log time moves the emission time of every source ──► rows of windows that came due
//!      │ 2  judged once: dead · duplicate · late · unused · counted
//!      │       counted ──► pane of (entity, slide)
//!      │ 3  its event timestamp moves the source's clocks ─────► rows that came due, then windows close
//!
//!   Aggregator
//!    ├─ Ids                     event ids seen within an hour of log time
//!    ├─ Ledger                  each event judged once
//!    └─ Source (tenant, event type)      Clock: greatest, emission time, watermark
//!        └─ Population (entity type)     Entities: id text ⇄ u32, one hash lookup an event
//!            └─ PaneStore (slide, what it takes)
//!                 heads    |u1|u2|u3|…                 newest pane of each entity
//!                 slots    |pane·events·older|words|…  panes of an entity, linked from newest to oldest
//!
//!   panes  ─|──p──|──p──|──p──|──p──|─       one slide each; they merge in time order, nothing is ever subtracted
//!   windows  [──────────────)                 size = 3 slides; all windows of one slide share the panes
//!                  [──────────────)
//!                        [──────────────)     the empty one directly after is a row too
//! ```
//!
//! A window is known by its end, counted in slides from the Unix epoch: window `e` covers the panes `e − size/slide` to
//! `e − 1`. Of a pane only two marks are kept, *changed* and *new since the last multiple of the slide that emission time
//! passed*: at each such multiple every due window is emitted, so what is due but not emitted since is exactly what covers
//! a changed pane.
//!
//! A source exists from the offset at which its first group was registered; event types that feed nothing cost nothing.
//!
//! Its driver calls [`Aggregator::event`], [`Aggregator::dead`] or [`Aggregator::tick`] for each record,
//! [`Aggregator::take_rows`] and [`Aggregator::changes`] for each commit, [`Aggregator::load`] when it starts again, and
//! appends a tick when the log time of [`Aggregator::due_at`] has come.

mod accumulator;
mod aggregator;
mod clock;
mod dedup;
mod emission;
mod entities;
mod event;
mod group;
mod layout;
mod ledger;
mod options;
mod outcome;
mod pane;
mod population;
mod rows;
mod sketch;
mod source;
mod state;
mod store;
mod sum;
#[cfg(test)]
mod tests;
mod value;

pub use aggregator::{Aggregator, Memory, WARM_MAX};
pub use event::{DeadReason, Event, Judgement, MissedWindows, Position, Verdict};
pub use group::{Span, WindowFeature, WindowGroup};
pub use ledger::Ledger;
pub use options::Options;
pub use rows::WindowRows;
