//! The rules once more, as slowly and plainly as they are written: every window has the list of its events, and every
//! step looks at every window.

use super::{Field, Judgement, Options, OwnedEvent, Row, Said, Span, Step, WindowGroup};
use crate::{
    feature::{Cell, Dtype, Element, List, Round, Timestamp, Value, WindowFunction as F},
    window::{DeadReason, WindowFeature},
};
use std::collections::BTreeMap;

/// Answers of all steps, and the state after them.
pub struct Brute {
    options: Options,
    log_time: i64,
    offset: u64,
    greatest: Option<i64>,
    groups: Vec<Registered>,
    /// By (tenant, event type), from the first registration on.
    clocks: BTreeMap<(u64, String), Option<Clock>>,
    ids: Vec<(i64, String)>,
    pub rows: Vec<Row>,
    pub said: Vec<Said>,
}

#[derive(Clone, Copy)]
struct Clock {
    greatest: i64,
    set_at: i64,
    emission: i64,
}

struct Registered {
    group: WindowGroup,
    /// Windows start after this.
    after: Option<i64>,
    /// Windows end before this.
    before: Option<i64>,
    /// By (entity, end): events in the order of their arrival.
    windows: BTreeMap<(String, i64), Vec<OwnedEvent>>,
    /// How many events each window had when it was emitted last.
    emitted: BTreeMap<(String, i64), usize>,
}

impl Brute {
    pub fn run(steps: &[Step], options: Options) -> Self {
        let mut brute = Self {
            options,
            log_time: i64::MIN,
            offset: 0,
            greatest: None,
            groups: Vec::new(),
            clocks: BTreeMap::new(),
            ids: Vec::new(),
            rows: Vec::new(),
            said: Vec::new(),
        };
        steps.iter().for_each(|step| brute.step(step));
        brute
    }

    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Register(group, span) => {
                self.clocks.entry(source_of(group)).or_insert(None);
                let (after, before) = match span {
                    Span::Live => (self.greatest, None),
                    Span::Before(end) => (None, Some(end.micros())),
                };
                let (windows, emitted) = Default::default();
                self.groups.push(Registered { group: group.clone(), after, before, windows, emitted });
                return;
            }
            Step::Tick(log_time) | Step::Dead(log_time) => self.elapse(*log_time),
            Step::Event(log_time, event) => {
                self.elapse(*log_time);
                let said = self.judge(event);
                if !matches!(said.0, Judgement::Dead(_)) {
                    self.greatest = self.greatest.max(Some(event.timestamp));
                    self.advance(event);
                }
                self.said.push(said);
            }
        }
        self.offset += 1;
    }

    /// The log time at which a tick would bring a row.
    pub fn due_at(&self) -> Option<i64> {
        let mut due = Vec::new();
        for registered in &self.groups {
            let Some(Some(clock)) = self.clocks.get(&source_of(&registered.group)) else { continue };
            let slide = registered.group.slide.micros();
            let emission = clock.emission.max(clock.greatest + self.log_time - clock.set_at);
            let watermark = clock.greatest - self.options.watermark_delay.micros();
            let next = (emission.div_euclid(slide) + 1) * slide;
            for (entity, end) in registered.with_empty() {
                let pending = registered.is_pending(&entity, end) && end > watermark;
                if pending && registered.before != Some(end) {
                    let multiple = end.max(next);
                    due.push(clock.set_at + multiple - clock.greatest);
                }
            }
        }
        due.into_iter().min()
    }

    fn elapse(&mut self, log_time: i64) {
        self.log_time = self.log_time.max(log_time);
        for (source, clock) in self.clocks.clone() {
            if let Some(mut clock) = clock {
                let before = clock.emission;
                clock.emission = before.max(clock.greatest + self.log_time - clock.set_at);
                self.clocks.insert(source.clone(), Some(clock));
                let watermark = clock.greatest - self.options.watermark_delay.micros();
                self.emit(&source, Some(before), clock.emission, watermark);
            }
        }
    }

    fn judge(&mut self, event: &OwnedEvent) -> Said {
        if event.timestamp > self.log_time + self.options.future_max.micros() {
            return (Judgement::Dead(DeadReason::Future), vec![]);
        }
        let source = (event.tenant, event.event_type.to_owned());
        let mut types: Vec<_> = self
            .groups
            .iter()
            .filter(|known| source_of(&known.group) == source)
            .map(|known| known.group.entity_type.clone())
            .collect();
        types.sort();
        types.dedup();
        if event.entity_type.is_none() && types.len() > 1 {
            return (Judgement::Dead(DeadReason::EntityTypeNeeded), vec![]);
        }
        if let Some(id) = &event.event_id {
            let key = format!("{} {:?} {:?} {id:?}", event.tenant, event.entity_type, event.entity);
            let since = self.log_time - self.options.ids_for.micros();
            self.ids.retain(|(at, _)| *at > since);
            if self.ids.iter().any(|(_, known)| *known == key) {
                return (Judgement::Duplicate, vec![]);
            }
            self.ids.push((self.log_time, key));
            while self.ids.len() > self.options.ids_max {
                self.ids.remove(0);
            }
        }
        let watermark = self
            .clocks
            .get(&source)
            .copied()
            .flatten()
            .map(|clock| clock.greatest - self.options.watermark_delay.micros());
        let (mut counted, mut missed) = (false, Vec::new());
        for registered in self.groups.iter_mut().filter(|known| source_of(&known.group) == source) {
            let group = &registered.group;
            if event.entity_type.is_some_and(|name| name != group.entity_type) {
                continue;
            }
            if !group.features.iter().any(|feature| value_for(feature, event).is_some()) {
                continue;
            }
            let (size, slide) = (group.size.micros(), group.slide.micros());
            let mut end = (event.timestamp.div_euclid(slide) + 1) * slide;
            while end - size <= event.timestamp {
                if registered.after.is_none_or(|after| end - size > after) {
                    let own = registered.before.is_none_or(|before| end < before);
                    let open = watermark.is_none_or(|watermark| end > watermark);
                    match (own, open) {
                        (true, false) => missed.push((group.id.get(), end)),
                        (true, true) => {
                            counted = true;
                            registered
                                .windows
                                .entry((event.entity.clone(), end))
                                .or_default()
                                .push(event.clone());
                        }
                        // Not emitted, but known not to be empty.
                        (false, true) => registered
                            .windows
                            .entry((event.entity.clone(), end))
                            .or_default()
                            .push(event.clone()),
                        (false, false) => {}
                    }
                }
                end += slide;
            }
        }
        let judgement = match (counted, missed.is_empty()) {
            (true, _) => Judgement::Counted,
            (false, false) => Judgement::Late,
            (false, true) => Judgement::Unused,
        };
        (judgement, missed)
    }

    fn advance(&mut self, event: &OwnedEvent) {
        let source = (event.tenant, event.event_type.to_owned());
        let Some(slot) = self.clocks.get_mut(&source) else { return };
        let (before, old_greatest) = (slot.map(|clock| clock.emission), slot.map(|clock| clock.greatest));
        if old_greatest.is_some_and(|greatest| event.timestamp <= greatest) {
            return;
        }
        let emission = before.unwrap_or(i64::MIN).max(event.timestamp);
        *slot = Some(Clock { greatest: event.timestamp, set_at: self.log_time, emission });
        let delay = self.options.watermark_delay.micros();
        let old_watermark = old_greatest.map_or(i64::MIN, |greatest| greatest - delay);
        self.emit(&source, before, emission, old_watermark);
        self.close(&source, old_watermark, event.timestamp - delay);
    }

    /// At each multiple of the slide that emission time passes.
    fn emit(&mut self, source: &(u64, String), before: Option<i64>, emission: i64, watermark: i64) {
        let (created, sequence) = (self.log_time, self.offset);
        for registered in self.groups.iter_mut().filter(|known| source_of(&known.group) == *source) {
            let slide = registered.group.slide.micros();
            if before.is_some_and(|before| before.div_euclid(slide) == emission.div_euclid(slide)) {
                continue;
            }
            for (entity, end) in registered.with_empty() {
                if end <= emission
                    && end > watermark
                    && registered.before != Some(end)
                    && registered.is_pending(&entity, end)
                {
                    self.rows.push(registered.row(&entity, end, created, sequence));
                }
            }
        }
    }

    fn close(&mut self, source: &(u64, String), before: i64, watermark: i64) {
        let (created, sequence) = (self.log_time, self.offset);
        for registered in self.groups.iter_mut().filter(|known| source_of(&known.group) == *source) {
            for (entity, end) in registered.with_empty() {
                if before < end && end <= watermark && registered.is_pending(&entity, end) {
                    self.rows.push(registered.row(&entity, end, created, sequence));
                }
            }
        }
    }
}

fn source_of(group: &WindowGroup) -> (u64, String) {
    (group.tenant.get(), group.event_type.clone())
}

impl Registered {
    /// Populated windows, and empty ones directly after; ends of its own only.
    fn with_empty(&self) -> Vec<(String, i64)> {
        let slide = self.group.slide.micros();
        let mut found = Vec::new();
        for (entity, end) in self.windows.keys() {
            let own = |end: i64| self.before.is_none_or(|before| end < before);
            if own(*end) {
                found.push((entity.clone(), *end));
                let next = (entity.clone(), end + slide);
                if !self.windows.contains_key(&next) {
                    found.push(next);
                }
            }
        }
        found
    }

    fn is_pending(&self, entity: &str, end: i64) -> bool {
        let key = (entity.to_owned(), end);
        let events = self.windows.get(&key).map_or(0, Vec::len);
        self.emitted.get(&key) != Some(&events)
    }

    fn row(&mut self, entity: &str, end: i64, created: i64, sequence: u64) -> Row {
        let key = (entity.to_owned(), end);
        let events = self.windows.get(&key).cloned().unwrap_or_default();
        self.emitted.insert(key, events.len());
        let cells = self.group.features.iter().map(|feature| cell(feature, &events)).collect();
        Row { group: self.group.id.get(), end, key: entity.to_owned(), created, sequence, cells }
    }
}

/// What a feature takes of an event, if it takes it.
fn value_for(feature: &WindowFeature, event: &OwnedEvent) -> Option<Field> {
    let Some(name) = &feature.field else { return Some(Field::Other) };
    let value = event.values.iter().find(|(field, _)| field == name)?.1.clone();
    let fits = match (feature.function, &*feature.dtype.name(), &value) {
        (_, _, Field::Missing) => false,
        (F::Count, ..) => true,
        (_, "list<timestamp>", value) => moment(value).is_some(),
        (_, _, Field::Other | Field::Time(_)) => false,
        (F::ApproxDistinct, ..) => true,
        (_, "json", value) => !matches!(value, Field::Float(_)),
        (_, "int64" | "list<int64>", value) => matches!(value, Field::Int(_)),
        (_, "string" | "list<string>", value) => matches!(value, Field::Text(_)),
        (_, "bool" | "list<bool>", value) => matches!(value, Field::Bool(_)),
        (_, _, value) => matches!(value, Field::Int(_) | Field::Float(_)),
    };
    fits.then_some(value)
}

/// The moment that a value is, in microseconds.
fn moment(value: &Field) -> Option<i64> {
    match value {
        Field::Time(micros) => Some(*micros),
        Field::Text(text) => Timestamp::parse(text, Round::Down).ok().map(Timestamp::micros),
        _ => None,
    }
}

/// The most frequent values, by the rule's own words: sorted by count, then by value.
fn topk(taken: &[(i64, Field)], k: u32, dtype: Dtype) -> Value {
    let mut counts: Vec<(Field, u64)> = Vec::new();
    for (_, value) in taken {
        let value = match dtype {
            Dtype::List(Element::Timestamp) => Field::Time(moment(value).unwrap()),
            _ => value.clone(),
        };
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let place = |value: &Field| match value {
        Field::Bool(v) => (0, i64::from(*v), Vec::new()),
        Field::Int(v) | Field::Time(v) => (1, *v, Vec::new()),
        Field::Text(v) => (2, 0, v.as_bytes().to_vec()),
        _ => unreachable!(),
    };
    counts.sort_by_key(|(value, _)| place(value));
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(k as usize);
    if dtype == Dtype::Json {
        let json = |value: &Field| match value {
            Field::Bool(v) => serde_json::Value::from(*v),
            Field::Int(v) => (*v).into(),
            Field::Text(v) => v.as_str().into(),
            _ => unreachable!(),
        };
        let pairs = counts.iter().map(|(value, count)| serde_json::json!([json(value), count]));
        return Value::Json(serde_json::Value::from_iter(pairs).to_string());
    }
    let values = counts.into_iter().map(|(value, _)| value);
    Value::List(match dtype {
        Dtype::List(Element::Bool) => {
            List::Bool(values.map(|v| if let Field::Bool(v) = v { Some(v) } else { None }).collect())
        }
        Dtype::List(Element::Int64) => {
            List::Int64(values.map(|v| if let Field::Int(v) = v { Some(v) } else { None }).collect())
        }
        Dtype::List(Element::Timestamp) => {
            List::Timestamp(values.map(|v| moment(&v).map(Timestamp::from_stored)).collect())
        }
        _ => List::String(values.map(|v| if let Field::Text(v) = v { Some(v) } else { None }).collect()),
    })
}

fn cell(feature: &WindowFeature, events: &[OwnedEvent]) -> Cell {
    let taken: Vec<(i64, Field)> =
        events.iter().filter_map(|event| Some((event.timestamp, value_for(feature, event)?))).collect();
    let ints: Vec<i128> = taken
        .iter()
        .filter_map(|(_, value)| if let Field::Int(v) = value { Some(i128::from(*v)) } else { None })
        .collect();
    let floats: Vec<f64> = taken
        .iter()
        .filter_map(|(_, value)| match value {
            Field::Int(v) => Some(*v as f64),
            Field::Float(v) => Some(*v),
            _ => None,
        })
        .collect();
    let int = |value: i128| i64::try_from(value).map_or(Cell::Null, |v| Cell::Value(Value::Int64(v)));
    let float = |value: f64| if value.is_finite() { Cell::Value(Value::Float64(value)) } else { Cell::Null };
    let is_int = feature.dtype.name() == "int64";
    let count = taken.len() as i128;
    match feature.function {
        F::Count => int(count),
        F::Sum if is_int => int(ints.iter().sum()),
        F::Sum => float(floats.iter().sum()),
        _ if taken.is_empty() => Cell::Null,
        F::Mean => float(floats.iter().sum::<f64>() / floats.len() as f64),
        F::Min if is_int => int(*ints.iter().min().unwrap()),
        F::Max if is_int => int(*ints.iter().max().unwrap()),
        F::Min => float(floats.iter().copied().fold(f64::INFINITY, f64::min)),
        F::Max => float(floats.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        F::Variance | F::Stddev if floats.len() < 2 => Cell::Null,
        F::Variance | F::Stddev => {
            let mean = floats.iter().sum::<f64>() / floats.len() as f64;
            let variance =
                floats.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (floats.len() - 1) as f64;
            float(if feature.function == F::Stddev { variance.sqrt() } else { variance })
        }
        F::First | F::Last => {
            let mut ordered = taken.clone();
            ordered.sort_by_key(|(timestamp, _)| *timestamp);
            let chosen = if feature.function == F::First { ordered.first() } else { ordered.last() };
            match &chosen.unwrap().1 {
                Field::Int(v) if is_int => Cell::Value(Value::Int64(*v)),
                Field::Int(v) => float(*v as f64),
                Field::Float(v) => float(*v),
                Field::Bool(v) => Cell::Value(Value::Bool(*v)),
                Field::Text(v) => Cell::Value(Value::String(v.clone())),
                Field::Missing | Field::Time(_) | Field::Other => unreachable!(),
            }
        }
        F::ApproxDistinct => {
            let mut texts: Vec<String> = taken
                .iter()
                .map(|(_, value)| match value {
                    Field::Float(v) if v.fract() == 0.0 => format!("{:?}", Field::Int(*v as i64)),
                    value => format!("{value:?}"),
                })
                .collect();
            texts.sort();
            texts.dedup();
            int(texts.len() as i128)
        }
        F::TopK { k, .. } => Cell::Value(topk(&taken, k, feature.dtype)),
        F::Percentile { quantile } => {
            let mut ordered = floats.clone();
            ordered.sort_by(f64::total_cmp);
            float(ordered[(quantile * (ordered.len() - 1) as f64).floor() as usize])
        }
    }
}
