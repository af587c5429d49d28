//! What a plan knows of its answers in JSON, as text.

use crate::{
    feature::{CellStatus, json::append},
    registry::Plan,
    wire::json::JsonWriter,
};
use bytes::Bytes;
use std::ops::Range;

/// The texts of one plan.
pub(super) struct JsonLayout {
    /// The member `features` of the answer, and `feature_set` where one was asked for.
    pub schema: Bytes,
    /// The object of a row whose every cell is PRESENT.
    pub all_present: Bytes,
    /// `,"name":` for each feature.
    names: Vec<u8>,
    ends: Vec<u32>,
}

impl JsonLayout {
    pub fn new(plan: &Plan) -> Self {
        let mut layout = Self {
            schema: schema(plan).into(),
            all_present: Bytes::new(),
            names: Vec::new(),
            ends: Vec::new(),
        };
        for feature in &plan.features {
            layout.names.push(b',');
            write_key(&feature.name, &mut layout.names);
            layout.ends.push(u32::try_from(layout.names.len()).expect("names of one request are bounded"));
        }
        let mut all_present = vec![b'{'];
        for feature in 0..plan.features.len() {
            layout.write_name(feature, &mut all_present);
            write_status(CellStatus::Present, &mut all_present);
        }
        all_present.push(b'}');
        layout.all_present = all_present.into();
        layout
    }

    /// Writes the name and colon of a member, after a comma unless it is the first.
    #[inline]
    pub fn write_name(&self, feature: usize, out: &mut Vec<u8>) {
        append(&self.names[self.place(feature)], out);
    }

    /// Bytes of all names.
    pub fn names_len(&self) -> usize {
        self.names.len()
    }

    #[inline]
    fn place(&self, feature: usize) -> Range<usize> {
        match feature.checked_sub(1) {
            None => 1..self.ends[0] as usize,
            Some(before) => self.ends[before] as usize..self.ends[feature] as usize,
        }
    }
}

pub(super) fn write_status(status: CellStatus, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(status.name().as_bytes());
    out.push(b'"');
}

fn write_key(name: &str, out: &mut Vec<u8>) {
    crate::feature::json::write_string(name, out);
    out.push(b':');
}

fn schema(plan: &Plan) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = JsonWriter::new(&mut out);
    if let Some(set) = &plan.feature_set {
        writer.key("feature_set").string(set);
    }
    writer.key("features").object(|writer| {
        for feature in &plan.features {
            writer.key(&feature.name).object(|writer| {
                writer.key("ref").string(&feature.reference);
                writer.key("dtype").string(&feature.feature.dtype.name());
            });
        }
    });
    out
}
