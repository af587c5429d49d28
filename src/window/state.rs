//! State as bytes: what changed since the last save, and all of it from a sequence of such.
//!
//! ```text
//!   [version = 2][header length: u32][header: msgpack]
//!   for each store     [entities: u32] of [number: u32][key][panes: u32] of [pane: i64][marks: u8][missed: u16][events: u64][accumulators]
//!   event ids          [count: u32] of [log time: i64][tenant: u64][hash: u128]
//! ```
//!
//! Version 1, in which tenants had 32 bits, is read too. Integers are little-endian; keys and accumulators begin with their length (u32). The header is always whole: clocks,
//! registrations, ledger. A pane stands in the delta whole: the newest one counts, and what is over by the newest header
//! is left out, so deltas may be dropped once nothing in them is needed ([`Aggregator::needs`]).

use super::{
    Aggregator, Ledger, Options, WindowGroup,
    accumulator::Side,
    clock::{Clock, NEVER},
    layout::{Class, Kind, Layout},
    pane::{CHANGED, NEW, NONE, UNSAVED},
    population::Population,
    sketch::Sketch,
    store::{NO_END, PaneStore},
};
use crate::{
    error::{Error, Result},
    feature::TenantId,
};
use serde::{Deserialize, Serialize};

const VERSION: u8 = 2;
/// Tenants beside event ids had 32 bits.
const VERSION_NARROW: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    next_offset: u64,
    log_time: i64,
    greatest: i64,
    ledger: Ledger,
    sources: Vec<SourceHeader>,
    /// Log time of the newest event id that the delta holds.
    newest_id: i64,
}

#[derive(Serialize, Deserialize)]
struct SourceHeader {
    tenant: TenantId,
    event_type: String,
    clock: Clock,
    fields: Vec<String>,
    populations: Vec<PopulationHeader>,
}

#[derive(Serialize, Deserialize)]
struct PopulationHeader {
    entity_type: String,
    stores: Vec<StoreHeader>,
}

#[derive(Serialize, Deserialize)]
struct StoreHeader {
    groups: Vec<GroupHeader>,
    emitted: i64,
    emissions: u64,
    closed: i64,
    floor: i64,
    skipped: Vec<u64>,
    /// The newest pane that the delta holds.
    newest_pane: i64,
}

#[derive(Serialize, Deserialize)]
struct GroupHeader {
    group: WindowGroup,
    first: i64,
    before: i64,
    overflowed: Vec<u64>,
}

impl Aggregator {
    /// What changed since the last save. To be committed with the rows since then and [`Aggregator::next_offset`].
    pub fn changes(&mut self) -> Vec<u8> {
        self.save(false)
    }

    /// The whole state, which replaces all deltas before it. It counts as a save.
    pub fn snapshot(&mut self) -> Vec<u8> {
        self.save(true)
    }

    /// The state after a sequence of saves, oldest first. It goes on to the bit as the saved one did.
    pub fn load<B: AsRef<[u8]>>(saves: &[B], options: Options) -> Result<Self> {
        let Some(newest) = saves.last() else { return Ok(Self::new(options)) };
        let mut aggregator = Self::new(options);
        aggregator.restore_header(open(newest.as_ref())?.1)?;
        for save in saves {
            let (version, header, rest) = open(save.as_ref())?;
            aggregator.restore_delta(version, &header, Reader(rest))?;
        }
        aggregator.restored();
        Ok(aggregator)
    }

    /// The part of a save that [`Aggregator::needs`] looks at.
    pub fn head_of(save: &[u8]) -> &[u8] {
        let length = save.get(1..5).and_then(|length| length.try_into().ok()).map_or(0, u32::from_le_bytes);
        save.get(..5 + length as usize).unwrap_or(save)
    }

    /// Whether a save but the newest one still holds anything that counts.
    pub fn needs(&self, save: &[u8]) -> Result<bool> {
        let header = open(save)?.1;
        let ids = header.newest_id > self.log_time.saturating_sub(self.options.ids_for.micros());
        let panes = |(source, own): (&SourceHeader, &super::source::Source)| {
            let populations = source.populations.iter().zip(&own.populations);
            let mut stores = populations.flat_map(|(saved, own)| saved.stores.iter().zip(&own.stores));
            stores.any(|(saved, own)| {
                saved.newest_pane != NO_END && !own.is_over(saved.newest_pane, own.ratio_max())
            })
        };
        Ok(ids || header.sources.iter().zip(&self.sources).any(panes))
    }

    fn save(&mut self, all: bool) -> Vec<u8> {
        let mut body = Vec::new();
        let mut sources = Vec::new();
        for source in &mut self.sources {
            let mut populations = Vec::new();
            for population in &mut source.populations {
                let stores = 0..population.stores.len();
                populations.push(PopulationHeader {
                    entity_type: population.entity_type.to_string(),
                    stores: stores.map(|at| save_store(population, at, all, &mut body)).collect(),
                });
            }
            sources.push(SourceHeader {
                tenant: source.tenant,
                event_type: source.event_type.to_string(),
                clock: source.clock,
                fields: source.fields.clone(),
                populations,
            });
        }
        let (ids, newest_id) = self.ids.take_unsaved(all);
        body.extend_from_slice(&(ids.len() as u32).to_le_bytes());
        for (at, (tenant, hash)) in ids {
            body.extend_from_slice(&at.to_le_bytes());
            body.extend_from_slice(&tenant.to_le_bytes());
            body.extend_from_slice(&hash.to_le_bytes());
        }
        let header = Header {
            next_offset: self.next_offset,
            log_time: self.log_time,
            greatest: self.greatest,
            ledger: self.ledger,
            sources,
            newest_id,
        };
        let header = rmp_serde::to_vec(&header).expect("a header has no maps with other keys than text");
        let mut out = Vec::with_capacity(5 + header.len() + body.len());
        out.push(VERSION);
        put_bytes(&mut out, &header);
        out.extend_from_slice(&body);
        out
    }

    fn restore_header(&mut self, header: Header) -> Result<()> {
        self.next_offset = header.next_offset;
        self.log_time = header.log_time;
        self.greatest = header.greatest;
        self.ledger = header.ledger;
        for saved in header.sources {
            let at = self.source_or_new(saved.tenant, &saved.event_type);
            let source = &mut self.sources[at];
            source.clock = saved.clock;
            source.fields = saved.fields;
            for saved in saved.populations {
                let mut population = Population::new(&saved.entity_type);
                for saved in saved.stores {
                    let mut store: Option<PaneStore> = None;
                    for group in saved.groups {
                        let names = group.group.features.iter().map(|feature| feature.field.as_deref());
                        let fields = source.fields_of(names);
                        let store = store
                            .get_or_insert_with(|| PaneStore::new(&group.group, &fields, Clock::UNSET, 0, 0));
                        store.add_group(group.group, &fields, group.first, group.before);
                        let last = store.groups.len() - 1;
                        store.groups[last].overflowed = group.overflowed;
                    }
                    let mut store = store.ok_or_else(damaged)?;
                    store.emitted = saved.emitted;
                    store.emissions = saved.emissions;
                    store.closed = saved.closed;
                    store.floor = saved.floor;
                    store.skipped = saved.skipped;
                    population.stores.push(store);
                }
                source.populations.push(population);
            }
        }
        Ok(())
    }

    fn restore_delta(&mut self, version: u8, header: &Header, mut reader: Reader<'_>) -> Result<()> {
        for (source, saved) in header.sources.iter().enumerate() {
            for (population, saved) in saved.populations.iter().enumerate() {
                let own = self.sources.get_mut(source).and_then(|own| own.populations.get_mut(population));
                let own = own.ok_or_else(damaged)?;
                for (store, saved) in saved.stores.iter().enumerate() {
                    restore_store(own, store, saved.emissions, &mut reader)?;
                }
            }
        }
        let oldest = self.log_time.saturating_sub(self.options.ids_for.micros());
        let mut ids = Vec::new();
        for _ in 0..reader.u32()? {
            let at = reader.i64()?;
            let tenant = if version == VERSION_NARROW { reader.u32()?.into() } else { reader.u64()? };
            let key = (tenant, u128::from_le_bytes(reader.array()?));
            if at > oldest {
                ids.push((at, key));
            }
        }
        self.ids.restore(ids.into_iter());
        Ok(())
    }

    /// What follows from the panes and ids that are there.
    fn restored(&mut self) {
        for source in &mut self.sources {
            for population in &mut source.populations {
                population.entities.restored();
                population.stores.iter_mut().for_each(PaneStore::restored);
            }
            source.refresh();
        }
        self.ids.forget(self.log_time, &self.options);
        self.find_wake();
    }
}

fn save_store(population: &mut Population, at: usize, all: bool, out: &mut Vec<u8>) -> StoreHeader {
    let Population { entities, stores, .. } = population;
    let store = &mut stores[at];
    let changed = store.take_unsaved();
    let changed = if all { (0..store.heads.len() as u32).collect() } else { changed };
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let (mut count, mut newest_pane) = (0u32, NO_END);
    let ratio_max = store.ratio_max();
    for entity in changed {
        // It may be gone since.
        let (Some(head), Some(key)) = (store.heads.get_mut(entity as usize), entities.key(entity)) else {
            continue;
        };
        if head.newest == NONE {
            continue;
        }
        head.unsaved = false;
        let mut slot = head.newest;
        count += 1;
        out.extend_from_slice(&entity.to_le_bytes());
        put_bytes(out, key.as_bytes());
        let panes_at = out.len();
        out.extend_from_slice(&[0; 4]);
        let mut panes = 0u32;
        while slot != NONE {
            let pane = store.panes.pane(slot);
            let marks = store.panes.marks(slot);
            if (all || marks & UNSAVED != 0) && !store.is_over(pane, ratio_max) {
                panes += 1;
                newest_pane = newest_pane.max(pane);
                store.panes.unmark(slot, UNSAVED);
                out.extend_from_slice(&pane.to_le_bytes());
                out.push((marks & (NEW | CHANGED)) as u8);
                out.extend_from_slice(&(store.panes.missed(slot) as u16).to_le_bytes());
                out.extend_from_slice(&store.panes.events(slot).to_le_bytes());
                let length_at = out.len();
                out.extend_from_slice(&[0; 4]);
                encode(&store.layout, store.panes.accumulators(slot), &store.side, out);
                put_length_at(out, length_at);
            }
            slot = store.panes.older(slot);
        }
        put_u32_at(out, panes_at, panes);
    }
    put_u32_at(out, count_at, count);
    let groups = store.groups.iter().map(|group| GroupHeader {
        group: group.group.clone(),
        first: group.first,
        before: group.before,
        overflowed: group.overflowed.clone(),
    });
    StoreHeader {
        groups: groups.collect(),
        emitted: store.emitted,
        emissions: store.emissions,
        closed: store.closed,
        floor: store.floor,
        skipped: store.skipped.clone(),
        newest_pane,
    }
}

fn restore_store(
    population: &mut Population,
    at: usize,
    emissions: u64,
    reader: &mut Reader<'_>,
) -> Result<()> {
    let Population { entities, stores, .. } = population;
    let store = stores.get_mut(at).ok_or_else(damaged)?;
    let ratio_max = store.ratio_max();
    for _ in 0..reader.u32()? {
        let entity = reader.u32()?;
        let key = std::str::from_utf8(reader.bytes()?).map_err(|_| damaged())?;
        for _ in 0..reader.u32()? {
            let pane = reader.i64()?;
            let [marks] = reader.array()?;
            let missed = u16::from_le_bytes(reader.array()?);
            let events = reader.u64()?;
            let accumulators = reader.bytes()?;
            if store.is_over(pane, ratio_max) {
                continue;
            }
            match entities.key(entity) {
                None => entities.restore(entity, key),
                Some(known) if known == key => {}
                Some(_) => return Err(damaged()),
            }
            let slot = store.find_or_add(entity, pane);
            store.panes.unmark(slot, NEW | CHANGED | UNSAVED);
            if emissions == store.emissions {
                store.panes.mark(slot, u64::from(marks) & (NEW | CHANGED));
            }
            store.panes.set_missed(slot, missed.into());
            store.panes.set_events(slot, events);
            store.layout.release(store.panes.accumulators(slot), &mut store.side);
            let words = store.panes.accumulators_mut(slot);
            decode(&store.layout, words, &mut store.side, Reader(accumulators))?;
        }
    }
    Ok(())
}

/// The words of a pane, with what they hold at the side in their place.
fn encode(layout: &Layout, words: &[u64], side: &Side, out: &mut Vec<u8>) {
    for part in &layout.parts {
        let words = &words[part.at..part.at + part.kind.words()];
        out.extend_from_slice(&words[0].to_le_bytes());
        let length_at = out.len();
        match part.kind {
            Kind::First | Kind::Last if part.class == Class::Text => {
                let there = words[0] as i64 != NEVER;
                put_bytes(out, if there { side.texts[words[1] as usize].as_bytes() } else { &[] });
            }
            Kind::Sketch(_) => {
                out.extend_from_slice(&[0; 4]);
                side.sketch(words[0]).iter().for_each(|sketch| sketch.encode(out));
                put_length_at(out, length_at);
            }
            _ => words[1..].iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes())),
        }
    }
}

fn decode(layout: &Layout, words: &mut [u64], side: &mut Side, mut reader: Reader<'_>) -> Result<()> {
    for part in &layout.parts {
        let words = &mut words[part.at..part.at + part.kind.words()];
        words[0] = reader.u64()?;
        match part.kind {
            Kind::First | Kind::Last if part.class == Class::Text => {
                let text = std::str::from_utf8(reader.bytes()?).map_err(|_| damaged())?;
                if words[0] as i64 != NEVER {
                    words[1] = side.add_text(text);
                }
            }
            Kind::Sketch(kind) => {
                let bytes = reader.bytes()?;
                if words[0] != 0 {
                    words[0] = side.add_sketch(Sketch::decode(kind, bytes).ok_or_else(damaged)?);
                }
            }
            _ => {
                for word in &mut words[1..] {
                    *word = reader.u64()?;
                }
            }
        }
    }
    if reader.0.is_empty() { Ok(()) } else { Err(damaged()) }
}

/// A save's version, its header, and the rest.
fn open(save: &[u8]) -> Result<(u8, Header, &[u8])> {
    let (version, rest) = save.split_first().ok_or_else(damaged)?;
    if ![VERSION_NARROW, VERSION].contains(version) {
        return Err(Error::internal(format!(
            "the state of windows has format {version}; this version reads {VERSION}"
        )));
    }
    let mut reader = Reader(rest);
    let header = rmp_serde::from_slice(reader.bytes()?).map_err(|_| damaged())?;
    Ok((*version, header, reader.0))
}

fn damaged() -> Error {
    Error::internal("the saved state of windows is damaged")
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The length of all that came after the place for it.
fn put_length_at(out: &mut [u8], at: usize) {
    let length = out.len() - at - 4;
    put_u32_at(out, at, length as u32);
}

fn put_u32_at(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Reads from the front; an error where the bytes end too early.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(bytes)
    }
}
