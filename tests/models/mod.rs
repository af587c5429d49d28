//! Protocols between processes, checked in every order of their steps.
//!
//! A model says what each process does, step by step, and a checker walks through every order in which the steps can
//! happen. `holds` asserts that none of them breaks a promise; `breaks` asserts that a protocol with one rule left out
//! does, so that the model is known to see what the rule is for.
//!
//! `LARDER_MODELS=large` walks through larger worlds, which takes minutes and wants a release build.

mod cache;
mod fence;
mod knowledge;

use stateright::{Checker, HasDiscoveries, Model};
use std::{fmt::Debug, hash::Hash};

/// Whether the larger worlds were asked for.
fn large() -> bool {
    match std::env::var("LARDER_MODELS").as_deref() {
        Ok("large") => true,
        Err(std::env::VarError::NotPresent) => false,
        other => panic!("LARDER_MODELS is 'large' or not set, not {other:?}"),
    }
}

/// Every order keeps every promise.
fn holds<M>(model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = model.checker().threads(threads).spawn_bfs().join();
    checker.assert_properties();
    println!("{} states, {} steps deep", checker.unique_state_count(), checker.max_depth());
}

/// Some order breaks `promise`.
fn breaks<M>(model: M, promise: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    // What is broken may go on for ever: the first way to break it is enough.
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = checker.discovery(promise);
    assert!(found.is_some(), "no order broke '{promise}'");
}
