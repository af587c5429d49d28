//! What is stored and what is asked: 10 groups of 25 doubles for 10 000 entities.

use larder::wire::proto;
use prost::Message;
use std::fmt::Write;

pub const GROUPS: usize = 10;
pub const COLUMNS: usize = 25;
pub const ENTITIES: usize = 10_000;
pub const SET: &str = "all";

/// One case.
pub struct Shape {
    pub entities: usize,
    pub form: Form,
}

/// How the question is put.
pub enum Form {
    Grpc {
        /// The caller holds the schema from an earlier answer.
        schema_held: bool,
        /// By the name of a feature set instead of 250 names.
        set: bool,
    },
    Rest,
}

pub fn group(group: usize) -> String {
    format!("purchases_{group}")
}

pub fn feature(group: usize, column: usize) -> String {
    format!("purchase_mean_{group}_{column}d")
}

pub fn features() -> Vec<String> {
    (0..GROUPS).flat_map(|group| (0..COLUMNS).map(move |column| feature(group, column))).collect()
}

pub fn entity(number: usize) -> String {
    format!("user_{number}")
}

/// Bodies of random entities, put in turn.
pub fn requests(shape: &Shape, schema_id: u64) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..256)
        .map(|_| {
            let ids: Vec<String> = (0..shape.entities).map(|_| entity(random.usize(..ENTITIES))).collect();
            match shape.form {
                Form::Grpc { schema_held, set } => proto::GetOnlineFeaturesRequest {
                    features: if set { Vec::new() } else { features() },
                    feature_set: if set { SET.to_owned() } else { String::new() },
                    entity_ids: ids,
                    schema_id: if schema_held { schema_id } else { 0 },
                    ..Default::default()
                }
                .encode_to_vec(),
                Form::Rest => {
                    let mut body = String::new();
                    write!(body, "{{\"entity_ids\":{ids:?},\"features\":{:?}}}", features())
                        .expect("a String");
                    body.into_bytes()
                }
            }
        })
        .collect()
}
