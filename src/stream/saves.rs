//! The chain of saves that a reader's state is rebuilt from.
//!
//! ```text
//!   whole | delta | delta | delta …      oldest first; each commit adds one
//!   ^ dropped from this end once nothing in it is needed, or all at once when a new whole one is written
//! ```
//!
//! A whole state is written when the deltas together are as large as it: so every byte is written about twice, and a
//! start reads about twice the state, whatever the windows' sizes.

use crate::{
    error::{Error, Result},
    store::readers::Save,
    window::{Aggregator, Options},
};
use std::collections::VecDeque;

/// Deltas since the last whole state.
const DELTAS_MAX: usize = 256;
/// Deltas up to so many bytes are never worth a whole state.
const DELTA_BYTES_MIN: usize = 4 << 20;
/// Shorter saves stay as they are.
const COMPRESSED_BYTES_MIN: usize = 512;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// What is kept of the saves in the store.
#[derive(Debug, Default)]
pub struct Saves {
    kept: VecDeque<Kept>,
    next_number: u64,
    /// Of the last whole state, and of the deltas since.
    whole_bytes: usize,
    delta_bytes: usize,
    deltas: usize,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    /// What [`Aggregator::needs`] looks at.
    head: Vec<u8>,
}

/// What a commit does to the chain.
#[derive(Debug)]
pub struct Step {
    pub save: Save,
    pub drop_saves: Vec<u64>,
}

impl Saves {
    /// Rebuilds an aggregator from what the store keeps, oldest first.
    pub fn load(saves: &[Save], options: Options) -> Result<(Self, Aggregator)> {
        let plain = saves.iter().map(|save| unpack(&save.bytes)).collect::<Result<Vec<_>>>()?;
        let aggregator = Aggregator::load(&plain, options)?;
        let kept = saves
            .iter()
            .zip(&plain)
            .map(|(save, plain)| Kept { number: save.number, head: Aggregator::head_of(plain).to_vec() });
        let chain = Self {
            kept: kept.collect(),
            next_number: saves.last().map_or(0, |last| last.number + 1),
            // Which of them is whole is not known any more: as if all were deltas, the next one will be.
            whole_bytes: 0,
            delta_bytes: plain.iter().map(Vec::len).sum(),
            deltas: saves.len(),
        };
        Ok((chain, aggregator))
    }

    /// Takes the aggregator's changes, or all of its state if that is cheaper in the long run.
    pub fn step(&mut self, aggregator: &mut Aggregator) -> Result<Step> {
        let mut drop_saves = Vec::new();
        while let Some(oldest) = self.kept.front()
            && !aggregator.needs(&oldest.head)?
        {
            drop_saves.extend(self.kept.pop_front().map(|oldest| oldest.number));
        }
        if self.kept.is_empty() {
            (self.whole_bytes, self.delta_bytes, self.deltas) = (0, 0, 0);
        }
        let whole = self.deltas >= DELTAS_MAX || self.delta_bytes > self.whole_bytes.max(DELTA_BYTES_MIN);
        let plain = if whole { aggregator.snapshot() } else { aggregator.changes() };
        if whole {
            drop_saves.extend(self.kept.drain(..).map(|save| save.number));
            (self.whole_bytes, self.delta_bytes, self.deltas) = (plain.len(), 0, 0);
        } else {
            self.delta_bytes += plain.len();
            self.deltas += 1;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.kept.push_back(Kept { number, head: Aggregator::head_of(&plain).to_vec() });
        Ok(Step { save: Save { number, bytes: pack(plain)? }, drop_saves })
    }

    /// Forgets every save; answers with their numbers.
    pub fn drop_all(&mut self) -> Vec<u64> {
        self.kept.drain(..).map(|save| save.number).collect()
    }
}

/// The first save of a reader that has read nothing.
pub fn first(aggregator: &mut Aggregator) -> Result<Save> {
    Ok(Save { number: 0, bytes: pack(aggregator.snapshot())? })
}

fn pack(mut plain: Vec<u8>) -> Result<Vec<u8>> {
    if plain.len() < COMPRESSED_BYTES_MIN {
        plain.insert(0, PLAIN);
        return Ok(plain);
    }
    let mut out = vec![ZSTD];
    zstd::stream::copy_encode(plain.as_slice(), &mut out, 1).map_err(Error::internal)?;
    Ok(out)
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
    match bytes.split_first() {
        Some((&PLAIN, plain)) => Ok(plain.to_vec()),
        Some((&ZSTD, packed)) => zstd::stream::decode_all(packed).map_err(Error::internal),
        _ => Err(Error::internal("a save of windows has an unknown form")),
    }
}
