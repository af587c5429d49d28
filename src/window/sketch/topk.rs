//! The most frequent values, in bounded space.
//!
//! ```text
//!   few values        every value with its count                                        exact
//!   over the bound    the counts of the most frequent half, less the greatest count     MISRA–GRIES: what was taken off in
//!                     of the others; what was taken off adds up in `taken`              all is at most events / KEPT_VALUES
//! ```
//!
//! A value came between `count` and `count + taken` times, one that is not kept at most `taken` times
//! (Misra and Gries, <https://doi.org/10.1016/0167-6423(82)90012-0>). A pane is a function of its events in the log's
//! order, and sums of panes do not depend on theirs: commits, restarts and sizes of reads change nothing.

use crate::{
    event::FieldValue,
    feature::{List, Timestamp, Value, json, value::TEXT_BYTES_MAX},
    window::{
        layout::{Class, time},
        outcome::Outcome,
    },
};
use hashbrown::HashMap;
use std::{cmp::Reverse, io::Write};

/// A pane counts so many values, of so many bytes of text together, exactly.
const VALUES_MAX: usize = 2_048;
const TEXT_BYTES_MAX_OF_ALL: usize = 512 << 10;
/// Beyond, these stay.
const KEPT_VALUES: usize = VALUES_MAX / 2;
const KEPT_TEXT_BYTES: usize = TEXT_BYTES_MAX_OF_ALL / 2;
/// A longer list is no cell: a row has to fit into an answer.
const LIST_BYTES_MAX: usize = 1 << 20;
/// Format of the form that is kept.
const FORMAT: u8 = 1;

/// A value that is counted; the order is that of ties. Timestamps are their microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key<T> {
    Bool(bool),
    Int(i64),
    Text(T),
}

impl<'a> Key<&'a str> {
    fn of(class: Class, value: FieldValue<'a>) -> Option<Self> {
        match value {
            FieldValue::Bool(value) => Some(Key::Bool(value)),
            FieldValue::Int(value) => Some(Key::Int(value)),
            value if class == Class::Time => time(value).map(|time| Key::Int(time.micros())),
            FieldValue::Text(text) => Some(Key::Text(text)),
            _ => None,
        }
    }

    fn to_owned(self) -> Key<Box<str>> {
        match self {
            Key::Bool(value) => Key::Bool(value),
            Key::Int(value) => Key::Int(value),
            Key::Text(text) => Key::Text(text.into()),
        }
    }

    fn text(self) -> Option<&'a str> {
        if let Key::Text(text) = self { Some(text) } else { None }
    }

    fn int(self) -> Option<i64> {
        if let Key::Int(value) = self { Some(value) } else { None }
    }

    fn bool(self) -> Option<bool> {
        if let Key::Bool(value) = self { Some(value) } else { None }
    }

    fn text_bytes(self) -> usize {
        self.text().map_or(0, str::len)
    }
}

impl Key<Box<str>> {
    fn borrow(&self) -> Key<&str> {
        match self {
            Key::Bool(value) => Key::Bool(*value),
            Key::Int(value) => Key::Int(*value),
            Key::Text(text) => Key::Text(text),
        }
    }
}

/// How often each value came.
#[derive(Debug, Default)]
pub struct TopK {
    /// Ascending by value.
    counts: Vec<(Key<Box<str>>, u64)>,
    text_bytes: usize,
    /// Counts may be too small by so much. 0 = exact.
    taken: u64,
}

impl TopK {
    pub fn add(&mut self, class: Class, value: FieldValue<'_>) {
        let Some(key) = Key::of(class, value) else { return };
        match self.counts.binary_search_by(|(known, _)| known.borrow().cmp(&key)) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => {
                self.text_bytes += key.text_bytes();
                self.counts.insert(at, (key.to_owned(), 1));
                if self.counts.len() > VALUES_MAX || self.text_bytes > TEXT_BYTES_MAX_OF_ALL {
                    self.reduce();
                }
            }
        }
    }

    /// Keeps the most frequent values.
    fn reduce(&mut self) {
        let mut order: Vec<usize> = (0..self.counts.len()).collect();
        order.sort_unstable_by_key(|at| (Reverse(self.counts[*at].1), *at));
        let mut text_bytes = 0;
        let fits = |at: &&usize| {
            text_bytes += self.counts[**at].0.borrow().text_bytes();
            text_bytes <= KEPT_TEXT_BYTES
        };
        let kept = order.iter().take(KEPT_VALUES).take_while(fits).count();
        let cut = order.get(kept).map_or(0, |at| self.counts[*at].1);
        let mut stays = vec![false; self.counts.len()];
        order[..kept].iter().for_each(|at| stays[*at] = true);
        let mut stays = stays.into_iter();
        self.counts.retain(|_| stays.next() == Some(true));
        // A count may become 0: the value is as good as any that is not kept, and better than none.
        self.counts.iter_mut().for_each(|(_, count)| *count = count.saturating_sub(cut));
        self.text_bytes = self.counts.iter().map(|(key, _)| key.borrow().text_bytes()).sum();
        self.taken += cut;
    }

    /// The `k` most frequent values of several parts together, ties by ascending value: as a list of the class's type, or
    /// with their counts as JSON.
    pub fn outcome<'a>(
        parts: impl Iterator<Item = &'a TopK> + Clone,
        class: Class,
        k: usize,
        counts: bool,
    ) -> Outcome {
        let best = best(parts, k);
        if best.is_empty() {
            return Outcome::None;
        }
        if counts {
            let text = as_json(&best);
            return match text.len() {
                0..=TEXT_BYTES_MAX => Outcome::Value(Value::Json(text)),
                _ => Outcome::TooLarge,
            };
        }
        if best.iter().map(|(key, _)| key.text_bytes()).sum::<usize>() > LIST_BYTES_MAX {
            return Outcome::TooLarge;
        }
        let keys = best.into_iter().map(|(key, _)| key);
        Outcome::Value(Value::List(match class {
            Class::Bool => List::Bool(keys.map(Key::bool).collect()),
            Class::Int => List::Int64(keys.map(Key::int).collect()),
            Class::Time => List::Timestamp(keys.map(|key| key.int().map(Timestamp::from_stored)).collect()),
            _ => List::String(keys.map(|key| key.text().map(str::to_owned)).collect()),
        }))
    }

    pub fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<(Key<Box<str>>, u64)>() + self.text_bytes
    }

    /// `[1][taken: u64]` and for each value, ascending, `[count: u64][0][bool: u8]`, `[count: u64][1][int: i64]` or
    /// `[count: u64][2][length: u32][text]`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.extend_from_slice(&self.taken.to_le_bytes());
        for (key, count) in &self.counts {
            out.extend_from_slice(&count.to_le_bytes());
            match key {
                Key::Bool(value) => out.extend_from_slice(&[0, u8::from(*value)]),
                Key::Int(value) => {
                    out.push(1);
                    out.extend_from_slice(&value.to_le_bytes());
                }
                Key::Text(text) => {
                    out.push(2);
                    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (FORMAT, mut rest) = bytes.split_first().map(|(format, rest)| (*format, rest))? else {
            return None;
        };
        let mut topk = TopK { taken: u64::from_le_bytes(take(&mut rest)?), ..TopK::default() };
        while !rest.is_empty() {
            let count = u64::from_le_bytes(take(&mut rest)?);
            let key = match take(&mut rest)? {
                [0] => Key::Bool(take(&mut rest)? != [0]),
                [1] => Key::Int(i64::from_le_bytes(take(&mut rest)?)),
                [2] => {
                    let length = u32::from_le_bytes(take(&mut rest)?) as usize;
                    let (text, after) = rest.split_at_checked(length)?;
                    rest = after;
                    Key::Text(std::str::from_utf8(text).ok()?)
                }
                _ => return None,
            };
            if topk.counts.last().is_some_and(|(last, _)| last.borrow() >= key) {
                return None;
            }
            topk.text_bytes += key.text_bytes();
            topk.counts.push((key.to_owned(), count));
        }
        Some(topk)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// The `k` most frequent values of several parts with their counts, in the order of the answer.
fn best<'a>(parts: impl Iterator<Item = &'a TopK> + Clone, k: usize) -> Vec<(Key<&'a str>, u64)> {
    // The same for every value: each of them may have lost it.
    let taken: u64 = parts.clone().map(|part| part.taken).sum();
    let mut together = HashMap::new();
    for (key, count) in parts.flat_map(|part| &part.counts) {
        *together.entry(key.borrow()).or_insert(taken) += count;
    }
    let mut all: Vec<_> = together.into_iter().collect();
    let rank = |(key, count): &(Key<&'a str>, u64)| (Reverse(*count), *key);
    if all.len() > k {
        all.select_nth_unstable_by_key(k, rank);
        all.truncate(k);
    }
    all.sort_unstable_by_key(rank);
    all
}

/// `[["a",3],["b",1]]`, canonical.
fn as_json(best: &[(Key<&str>, u64)]) -> String {
    let mut out = vec![b'['];
    for (at, (key, count)) in best.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
        match key {
            Key::Bool(value) => write!(out, "{value}").expect("writing to a Vec"),
            Key::Int(value) => write!(out, "{value}").expect("writing to a Vec"),
            Key::Text(text) => json::write_string(text, &mut out),
        }
        write!(out, ",{count}]").expect("writing to a Vec");
    }
    out.push(b']');
    String::from_utf8(out).expect("JSON is written as UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::BTreeMap;

    fn of(values: impl IntoIterator<Item = i64>) -> TopK {
        let mut topk = TopK::default();
        values.into_iter().for_each(|value| topk.add(Class::Int, FieldValue::Int(value)));
        topk
    }

    fn again(topk: &TopK) -> TopK {
        let mut bytes = Vec::new();
        topk.encode(&mut bytes);
        TopK::decode(&bytes).unwrap()
    }

    #[test]
    fn as_many_values_as_the_bound_are_exact() {
        let most = VALUES_MAX as i64;
        let parts = [of((0..most).chain(5..9)), of(most..2 * most), of([7, 7, most + 1])];
        let found = best(parts.iter(), 4);
        assert_eq!(found, [(7, 4), (5, 2), (6, 2), (8, 2)].map(|(value, count)| (Key::Int(value), count)));
        assert_eq!(parts.iter().map(|part| part.taken).sum::<u64>(), 0);
        assert_eq!(of(0..=most).taken, 1, "one more");
    }

    #[test]
    fn ties_go_by_ascending_value_and_text_by_its_bytes() {
        let mut topk = TopK::default();
        for text in ["é", "z", "Z", "", "10", "9"] {
            topk.add(Class::Text, FieldValue::Text(text));
        }
        let Outcome::Value(Value::List(List::String(texts))) =
            TopK::outcome([&topk].into_iter(), Class::Text, 6, false)
        else {
            panic!()
        };
        assert_eq!(texts, ["", "10", "9", "Z", "z", "é"].map(|text| Some(text.to_owned())));
    }

    #[test]
    fn counts_are_json_of_every_type() {
        let mut topk = TopK::default();
        let values = [
            FieldValue::Text("a\"\n"),
            FieldValue::Int(i64::MIN),
            FieldValue::Bool(true),
            FieldValue::Text("2024-01-15T14:22:00Z"),
            FieldValue::Bool(false),
        ];
        values
            .into_iter()
            .chain([FieldValue::Bool(true)])
            .for_each(|value| topk.add(Class::Countable, value));
        let Outcome::Value(Value::Json(text)) = TopK::outcome([&topk].into_iter(), Class::Countable, 9, true)
        else {
            panic!()
        };
        let expected =
            r#"[[true,2],[false,1],[-9223372036854775808,1],["2024-01-15T14:22:00Z",1],["a\"\n",1]]"#;
        assert_eq!(text, expected);
        assert_eq!(json::canonical(expected).unwrap(), expected);
    }

    #[test]
    fn what_no_cell_can_hold_is_too_large() {
        let mut topk = TopK::default();
        let texts: Vec<String> = (0..20u8).map(|i| char::from(b'a' + i).to_string().repeat(60_000)).collect();
        let outcome = |topk: &TopK, k, counts| TopK::outcome([topk].into_iter(), Class::Text, k, counts);
        texts[..4].iter().for_each(|text| topk.add(Class::Text, FieldValue::Text(text)));
        assert!(matches!(outcome(&topk, 1, true), Outcome::Value(_)));
        assert!(matches!(outcome(&topk, 2, true), Outcome::TooLarge));
        assert!(matches!(outcome(&topk, 4, false), Outcome::Value(_)));
        let parts: Vec<TopK> = texts
            .iter()
            .map(|text| {
                let mut part = TopK::default();
                part.add(Class::Text, FieldValue::Text(text));
                part
            })
            .collect();
        assert!(matches!(TopK::outcome(parts.iter(), Class::Text, 20, false), Outcome::TooLarge));
    }

    /// The bound of the module's head, and memory, over streams of many values.
    #[test]
    fn many_values_are_counted_within_the_bound() {
        let (mut topk, mut exact) = (TopK::default(), BTreeMap::new());
        let mut random = 1u64;
        let events = 200_000u64;
        for _ in 0..events {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let unit = (random >> 11) as f64 / (1u64 << 53) as f64;
            // Few values come often, many seldom.
            let value = (20_000.0 * unit.powi(6)) as i64;
            topk.add(Class::Int, FieldValue::Int(value));
            *exact.entry(value).or_insert(0u64) += 1;
        }
        assert!(exact.len() > 4 * VALUES_MAX, "{}", exact.len());
        let bound = events / KEPT_VALUES as u64;
        assert!(topk.taken > 0 && topk.taken <= bound, "{} {bound}", topk.taken);
        assert!(topk.bytes() <= 4 * VALUES_MAX * size_of::<(Key<Box<str>>, u64)>());
        let mut first: Vec<_> = exact.iter().map(|(value, count)| (Reverse(*count), *value)).collect();
        first.sort_unstable();
        for ((key, count), (Reverse(expected), value)) in best([&topk].into_iter(), 50).into_iter().zip(first)
        {
            let Key::Int(own) = key else { panic!() };
            assert!(exact[&own] + bound >= expected, "{own} is none of the most frequent; {value} is");
            assert!((exact[&own]..=exact[&own] + bound).contains(&count), "{own}: {count}");
        }
    }

    #[test]
    fn long_texts_are_bounded_by_their_bytes() {
        let mut topk = TopK::default();
        for i in 0..400 {
            for text in [format!("{i:05}").repeat(2_000), "often".repeat(1_000)] {
                topk.add(Class::Text, FieldValue::Text(&text));
            }
            assert!(topk.text_bytes <= TEXT_BYTES_MAX_OF_ALL);
        }
        let found = best([&topk].into_iter(), 1);
        assert_eq!(found[0].0, Key::Text(&*"often".repeat(1_000)));
        assert!((400..=400 + topk.taken).contains(&found[0].1), "{}", found[0].1);
    }

    proptest! {
        /// Wherever it was saved and loaded, it goes on as it would have.
        #[test]
        fn saved_and_loaded_it_goes_on(
            values in vec((0i64..9_000, any::<bool>()), 0..6_000),
            at in any::<proptest::sample::Index>(),
        ) {
            let at = at.index(values.len() + 1);
            let add = |topk: &mut TopK, (value, as_text): &(i64, bool)| match as_text {
                true => topk.add(Class::Countable, FieldValue::Text(&value.to_string())),
                false => topk.add(Class::Countable, FieldValue::Int(*value)),
            };
            let (mut whole, mut cut) = (TopK::default(), TopK::default());
            values.iter().for_each(|value| add(&mut whole, value));
            values[..at].iter().for_each(|value| add(&mut cut, value));
            let mut cut = again(&cut);
            values[at..].iter().for_each(|value| add(&mut cut, value));
            prop_assert_eq!(best([&cut].into_iter(), 100), best([&whole].into_iter(), 100));
            prop_assert_eq!((cut.taken, cut.text_bytes), (whole.taken, whole.text_bytes));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..64)) {
            TopK::decode(&bytes);
            TopK::decode(&[&[FORMAT, 0, 0, 0, 0, 0, 0, 0, 0], &bytes[..]].concat());
        }
    }
}
