//! The candidates. All but the first row are plain prost messages, filled cell by cell.

use larder::{
    feature::{CellStatus, Dtype, PackedRow},
    serving::online::OnlineAnswer,
    store::NO_ROW,
    wire::{
        codec::Encode,
        online::{Envelope, Reply},
        proto,
        value::value_to,
    },
};
use prost::Message;
use std::{collections::HashMap, time::Instant};

pub struct Layout {
    pub name: &'static str,
    pub encode: fn(OnlineAnswer) -> Vec<u8>,
    pub decode: fn(&[u8]),
}

pub const LAYOUTS: &[Layout] = &[
    Layout {
        name: "**row per entity, typed arrays, written by hand**",
        encode: by_hand,
        decode: decode::<proto::GetOnlineFeaturesResponse>,
    },
    Layout {
        name: "the same through the generated types",
        encode: rows,
        decode: decode::<proto::GetOnlineFeaturesResponse>,
    },
    Layout { name: "flat arrays over all entities", encode: flat, decode: decode::<Flat> },
    Layout { name: "column per feature", encode: columns, decode: decode::<Columns> },
    Layout { name: "map<string, Value>", encode: maps, decode: decode::<Maps> },
];

/// Typed arrays over all entities: entity × slot.
#[derive(Clone, PartialEq, Message)]
struct Flat {
    #[prost(fixed64, tag = "1")]
    schema_id: u64,
    #[prost(message, optional, tag = "2")]
    arrays: Option<proto::Row>,
}

/// An array for each feature.
#[derive(Clone, PartialEq, Message)]
struct Columns {
    #[prost(fixed64, tag = "1")]
    schema_id: u64,
    #[prost(message, repeated, tag = "2")]
    columns: Vec<proto::Row>,
}

/// A map for each entity.
#[derive(Clone, PartialEq, Message)]
struct Maps {
    #[prost(message, repeated, tag = "1")]
    rows: Vec<MapRow>,
}

#[derive(Clone, PartialEq, Message)]
struct MapRow {
    #[prost(map = "string, message", tag = "1")]
    cells: HashMap<String, MapCell>,
}

#[derive(Clone, PartialEq, Message)]
struct MapCell {
    #[prost(message, optional, tag = "1")]
    value: Option<proto::Value>,
    #[prost(enumeration = "proto::FeatureStatus", tag = "2")]
    status: i32,
    #[prost(sfixed64, tag = "3")]
    event_timestamp_us: i64,
}

fn decode<M: Message + Default>(bytes: &[u8]) {
    std::hint::black_box(M::decode(bytes).expect("an own message"));
}

fn by_hand(answer: OnlineAnswer) -> Vec<u8> {
    let envelope = Envelope { request_id: "", started: Instant::now(), bytes_max: usize::MAX };
    let schema_id = answer.plan.schema_id;
    let reply = Reply::new(answer, schema_id, &envelope).expect("without a limit");
    let mut bytes = Vec::with_capacity(reply.encoded_len());
    reply.encode(&mut bytes);
    bytes
}

fn rows(answer: OnlineAnswer) -> Vec<u8> {
    let rows = (0..answer.rows).map(|row| {
        let mut message = proto::Row::default();
        push_row(&answer, row, &mut message);
        message
    });
    let rows = rows.collect();
    proto::GetOnlineFeaturesResponse { schema_id: answer.plan.schema_id, rows, ..Default::default() }
        .encode_to_vec()
}

fn flat(answer: OnlineAnswer) -> Vec<u8> {
    let mut arrays = proto::Row::default();
    (0..answer.rows).for_each(|row| push_row(&answer, row, &mut arrays));
    Flat { schema_id: answer.plan.schema_id, arrays: Some(arrays) }.encode_to_vec()
}

fn columns(answer: OnlineAnswer) -> Vec<u8> {
    let columns = answer.plan.features.iter().enumerate().map(|(position, feature)| {
        let mut column = proto::Row::default();
        for row in 0..answer.rows {
            let cells = answer.cells(row, feature.group);
            let status = answer.status(position, &cells);
            column.statuses.push(status as i32);
            column.event_timestamps_us.push(cells.event().unwrap_or(NO_ROW));
            let present = cells.row().filter(|_| status == CellStatus::Present);
            push(&mut column, feature.feature.dtype, present, feature.feature.column as usize);
        }
        column
    });
    Columns { schema_id: answer.plan.schema_id, columns: columns.collect() }.encode_to_vec()
}

fn maps(answer: OnlineAnswer) -> Vec<u8> {
    let row = |row| {
        let cells = answer.plan.features.iter().enumerate().map(|(position, feature)| {
            let cells = answer.cells(row, feature.group);
            let status = answer.status(position, &cells);
            let present = cells.row().filter(|_| status == CellStatus::Present);
            let cell = present.map(|row| row.cell(feature.feature.column as usize, feature.feature.dtype));
            let cell = MapCell {
                value: cell.map(|cell| value_to(cell.value())),
                status: status as i32,
                event_timestamp_us: cells.event().unwrap_or(NO_ROW),
            };
            (feature.name.clone(), cell)
        });
        MapRow { cells: cells.collect() }
    };
    Maps { rows: (0..answer.rows).map(row).collect() }.encode_to_vec()
}

fn push_row(answer: &OnlineAnswer, row: usize, arrays: &mut proto::Row) {
    for group in 0..answer.plan.groups.len() {
        arrays.event_timestamps_us.push(answer.cells(row, group).event().unwrap_or(NO_ROW));
    }
    for (position, feature) in answer.plan.features.iter().enumerate() {
        let cells = answer.cells(row, feature.group);
        let status = answer.status(position, &cells);
        arrays.statuses.push(status as i32);
        let present = cells.row().filter(|_| status == CellStatus::Present);
        push(arrays, feature.feature.dtype, present, feature.feature.column as usize);
    }
}

fn push(arrays: &mut proto::Row, dtype: Dtype, row: Option<PackedRow<'_>>, column: usize) {
    let bits = row.map(|row| u64::from_le_bytes(row.slot(column)));
    let text = || row.map(|row| row.text(column).to_owned()).unwrap_or_default();
    match dtype {
        Dtype::Bool => arrays.bools.push(bits.unwrap_or_default() != 0),
        Dtype::Int64 => arrays.int64s.push(bits.unwrap_or_default() as i64),
        Dtype::Float64 => arrays.float64s.push(bits.map_or(f64::NAN, f64::from_bits)),
        Dtype::Float32 => arrays.float32s.push(bits.map_or(f32::NAN, |bits| f32::from_bits(bits as u32))),
        Dtype::Timestamp => arrays.timestamps_us.push(bits.unwrap_or_default() as i64),
        Dtype::String => arrays.strings.push(text()),
        Dtype::Json => arrays.jsons.push(text()),
        Dtype::Bytes => {
            arrays.bytes_values.push(row.map(|row| row.heap(column).to_vec()).unwrap_or_default())
        }
        Dtype::List(_) => {
            let cell = row.map(|row| row.cell(column, dtype));
            let value = cell.map(|cell| value_to(cell.value()));
            let list = match value.and_then(|value| value.kind) {
                Some(proto::value::Kind::ListValue(list)) => list,
                _ => proto::List::default(),
            };
            arrays.lists.push(list);
        }
        Dtype::Decimal(_) => arrays.decimals.extend(row.map_or(&[0; 16][..], |row| row.heap(column))),
    }
}
