//! Where each feature of a plan stands in a row of the answer, and the schema as it is sent. Made once for each plan.

use super::{
    array::{Array, packed_len},
    json_layout::JsonLayout,
};
use crate::{
    feature::{Cell, Element, row},
    registry::{Plan, PlanFeature},
    wire::{
        proto,
        value::{decimal_to, dtype_to},
    },
};
use prost::encoding::{WireType, encode_key, encode_varint};
use std::{ops::Range, sync::OnceLock};

/// Everything about an answer's rows that depends on the plan alone.
pub(super) struct Layout {
    /// Field 2 of the answer, key and length included.
    pub schema: Vec<u8>,
    /// Features of one group that stand together, in the order of the plan.
    pub statuses: Vec<(usize, Range<usize>)>,
    /// The arrays that are not empty, in the order of their fields.
    pub arrays: Vec<ArrayLayout>,
    /// Bytes of a row's fields whose length does not depend on its values.
    pub fixed_len: usize,
    /// Every feature's default as one packed row; features without one are left out.
    pub defaults: Vec<u8>,
    json: OnceLock<JsonLayout>,
}

pub(super) struct ArrayLayout {
    pub array: Array,
    /// By slot.
    pub cells: Vec<CellPlace>,
    pub runs: Vec<Run>,
    /// The array's key and length, where the length is known.
    pub head: Vec<u8>,
}

#[derive(Clone, Copy)]
pub(super) struct CellPlace {
    /// Position in the plan.
    pub feature: usize,
    /// Position in the group's rows.
    pub column: usize,
    /// What lists hold.
    pub element: Option<Element>,
}

/// Neighbours in an array that are of one group.
pub(super) struct Run {
    /// Position in the plan's groups.
    pub group: usize,
    /// Slots.
    pub slots: Range<usize>,
    /// The columns follow one another as the slots do.
    pub in_order: bool,
}

impl Layout {
    pub fn of(plan: &Plan) -> &Self {
        plan.derived.get_or_make(|| Self::new(plan))
    }

    /// The same for JSON, made when it is first asked for.
    pub fn json(&self, plan: &Plan) -> &JsonLayout {
        self.json.get_or_init(|| JsonLayout::new(plan))
    }

    /// Whether every row has the same length.
    pub fn has_fixed_rows(&self) -> bool {
        self.arrays.iter().all(|of| of.array.width().is_some())
    }

    fn new(plan: &Plan) -> Self {
        let mut statuses: Vec<(usize, Range<usize>)> = Vec::new();
        for (position, feature) in plan.features.iter().enumerate() {
            match statuses.last_mut() {
                Some((group, features)) if *group == feature.group => features.end = position + 1,
                _ => statuses.push((feature.group, position..position + 1)),
            }
        }
        let arrays: Vec<_> = Array::ALL.iter().filter_map(|array| ArrayLayout::new(plan, *array)).collect();
        let fixed_arrays = arrays.iter().filter_map(|of| {
            let bytes = of.array.width()? * of.cells.len();
            Some(packed_len(of.array.field(), bytes))
        });
        let fixed_len = packed_len(1, plan.features.len())
            + packed_len(2, 8 * plan.groups.len())
            + fixed_arrays.sum::<usize>();
        let default = |feature: &PlanFeature| {
            feature.feature.describing.default.clone().map_or(Cell::LeftOut, Cell::Value)
        };
        let defaults: Vec<Cell> = plan.features.iter().map(default).collect();
        Self {
            schema: schema(plan),
            statuses,
            arrays,
            fixed_len,
            defaults: row::pack(&defaults),
            json: OnceLock::new(),
        }
    }
}

impl ArrayLayout {
    fn new(plan: &Plan, array: Array) -> Option<Self> {
        let features = plan.features.iter().enumerate();
        let in_array = features.filter(|(_, feature)| Array::of(feature.feature.dtype) == array);
        let mut cells: Vec<CellPlace> = Vec::new();
        let mut runs: Vec<Run> = Vec::new();
        for (slot, (position, feature)) in in_array.enumerate() {
            let column = feature.feature.column as usize;
            let element = feature.feature.dtype.element();
            match runs.last_mut() {
                Some(run) if run.group == feature.group => {
                    run.in_order &= cells.last().is_some_and(|before| before.column + 1 == column);
                    run.slots.end = slot + 1;
                }
                _ => runs.push(Run { group: feature.group, slots: slot..slot + 1, in_order: true }),
            }
            cells.push(CellPlace { feature: position, column, element });
        }
        let mut head = Vec::new();
        if let Some(width) = array.width() {
            encode_key(array.field(), WireType::LengthDelimited, &mut head);
            encode_varint((width * cells.len()) as u64, &mut head);
        }
        (!cells.is_empty()).then_some(Self { array, cells, runs, head })
    }
}

/// The schema as the contract has it.
pub fn schema_message(plan: &Plan) -> proto::Schema {
    let feature = |feature: &PlanFeature| proto::schema::Feature {
        name: feature.name.clone(),
        r#ref: feature.reference.clone(),
        dtype: dtype_to(feature.feature.dtype) as i32,
        slot: feature.slot,
        group: feature.group as u32,
        has_default: feature.feature.describing.default.is_some(),
        decimal_type: decimal_to(feature.feature.dtype),
    };
    proto::Schema {
        feature_set: plan.feature_set.clone().unwrap_or_default(),
        features: plan.features.iter().map(feature).collect(),
    }
}

fn schema(plan: &Plan) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::message::encode(2, &schema_message(plan), &mut bytes);
    bytes
}
