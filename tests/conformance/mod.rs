//! What every store promises, run on each backend against a brute-force model.
//!
//! To add a backend, implement [`Backend`] and add one line to the list at the end.

mod backends;
mod history;
mod knowledge;
mod log;
mod model;
mod promises;
mod registry;
pub mod rows;
mod statistics;
mod streams;

use larder::{
    clock::Clock,
    feature::{Duration, Timestamp},
    store::{
        DurableStore, RegistryStore,
        log::{EventIndex, EventSink, EventSource, Ticks},
        readers::Progress,
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// A kind of store under test.
pub trait Backend: Sized {
    type Store: DurableStore + RegistryStore + EventSink + EventSource + Ticks + EventIndex + Progress;

    /// A fresh store that tells the time by `time`, with history of this length, as small as it can be set so that
    /// little data exercises every part.
    async fn start(time: TestTime, retention: Option<Duration>) -> Self;

    fn store(&self) -> &Self::Store;

    /// Does something to the store that must change no answer; `how` is any number.
    async fn disturb(&mut self, how: u8);

    /// Ends the store and starts it again with what it kept; false if this kind keeps nothing.
    async fn restart(&mut self) -> bool;
}

/// A clock that tests set.
#[derive(Clone, Debug, Default)]
pub struct TestTime(Arc<AtomicI64>);

impl TestTime {
    pub fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::from_fn(move || Timestamp::from_stored(time.get()))
    }
}

/// Stamps the suite on a backend.
macro_rules! conformance {
    ($name:ident, $backend:ty) => {
        mod $name {
            use super::{history, knowledge, log, promises, registry, streams};

            #[test]
            fn random_histories_give_the_models_answers() {
                history::run::<$backend>(history::Kind::Plain);
            }

            #[test]
            fn so_they_do_while_retention_drops_rows() {
                history::run::<$backend>(history::Kind::Retention);
            }

            #[tokio::test]
            async fn a_repeated_commit_is_harmless() {
                promises::idempotency::<$backend>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn commits_keep_their_order() {
                promises::commits_keep_their_order::<$backend>().await;
            }

            #[tokio::test]
            async fn last_written_stays() {
                promises::last_written_stays::<$backend>().await;
            }

            #[tokio::test]
            async fn created_only_grows() {
                promises::created_only_grows::<$backend>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn the_latest_never_goes_back() {
                promises::latest_never_goes_back::<$backend>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_snapshot_sees_whole_commits() {
                promises::snapshots_see_whole_commits::<$backend>().await;
            }

            #[test]
            fn the_registry_holds_what_the_model_holds() {
                registry::run::<$backend>();
            }

            #[tokio::test]
            async fn a_lost_history_of_the_registry_is_seen() {
                registry::a_lost_history_is_seen::<$backend>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn tenants_do_not_wait_for_each_other() {
                registry::tenants_do_not_wait_for_each_other::<$backend>().await;
            }

            #[test]
            fn the_log_holds_what_the_model_holds() {
                log::run::<$backend>();
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn appends_keep_their_order() {
                log::appends_keep_their_order::<$backend>().await;
            }

            #[tokio::test]
            async fn log_time_never_runs_back() {
                log::log_time_never_runs_back::<$backend>().await;
            }

            #[tokio::test]
            async fn old_events_leave() {
                log::old_events_leave::<$backend>().await;
            }

            #[tokio::test]
            async fn a_stream_commit_is_whole_or_nothing() {
                streams::commits_are_whole::<$backend>().await;
            }

            #[tokio::test]
            async fn stalls_are_noted() {
                streams::stalls_are_noted::<$backend>().await;
            }

            #[tokio::test]
            async fn large_and_small_stream_commits_agree() {
                streams::large_and_small_commits_agree::<$backend>().await;
            }

            #[tokio::test]
            async fn backfilled_rows_are_learned_at_their_commit() {
                streams::backfilled_rows_are_learned_at_their_commit::<$backend>().await;
            }

            #[tokio::test]
            async fn side_tables_have_whole_pages() {
                streams::pages_of_side_tables::<$backend>().await;
            }

            #[tokio::test]
            async fn old_side_records_leave() {
                streams::old_side_records_leave::<$backend>().await;
            }

            #[test]
            fn what_was_settled_stays_so() {
                knowledge::run::<$backend>();
            }
        }
    };
}

conformance!(embedded_on_disk, super::backends::OnDisk);
conformance!(embedded_in_memory, super::backends::InMemory);
