//! The hand-written encodings against the contract: a reply that is made the plain way, cell by cell, out of the
//! generated types must have the same bytes, and JSON the same members.

use super::{layout::schema_message, *};
use crate::{
    feature::{
        Cell, Dtype, Duration, List, Timestamp, Value, columns::tests::value, definition::Describing, row,
    },
    registry::{FeatureList, Plan, testing},
    serving::online::{Entities, OnlineAnswer},
    store::{NO_ROW, StoredRow},
    wire::{codec::Encode, json::JsonWriter, proto},
};
use proptest::{collection::vec, option, prelude::*};
use prost::Message;
use serde_json::{Map, Value as Json, json};
use std::{sync::Arc, time::Instant};

const NOW: i64 = 1_000_000_000;

/// A request's outcome, before any encoding.
#[derive(Clone, Debug)]
struct Case {
    /// By feature: (dtype, group, ttl in µs, default).
    features: Vec<(Dtype, usize, Option<i64>, Option<Value>)>,
    /// The order in which they are asked for.
    order: Vec<usize>,
    /// By row and group: the age and the cells, of which a row written early may have fewer.
    rows: Vec<Vec<Option<AgedCells>>>,
    failed: Vec<usize>,
    max_age: Option<i64>,
    use_defaults: bool,
}

/// An age and the cells of a row.
type AgedCells = (i64, Vec<Cell>);

const GROUPS: usize = 3;

fn case() -> impl Strategy<Value = Case> {
    let dtypes: Vec<Dtype> = Dtype::all().collect();
    let age = || prop_oneof![0..12i64, Just(10)];
    let feature = (prop::sample::select(dtypes), 0..GROUPS, option::of(age()))
        .prop_flat_map(|(dtype, group, ttl)| (Just(dtype), Just(group), Just(ttl), option::of(value(dtype))));
    vec(feature, 1..9).prop_flat_map(move |features| {
        let order: Vec<usize> = (0..features.len()).collect();
        let group = |group: usize| {
            let dtypes: Vec<Dtype> =
                features.iter().filter(|feature| feature.1 == group).map(|feature| feature.0).collect();
            let cells: Vec<_> = dtypes
                .iter()
                .map(|dtype| {
                    prop_oneof![
                        1 => Just(Cell::Null),
                        1 => Just(Cell::LeftOut),
                        4 => value(*dtype).prop_map(Cell::Value),
                    ]
                })
                .collect();
            let given = 0..=dtypes.len();
            option::of((age(), cells, given).prop_map(|(age, mut cells, given)| {
                cells.truncate(given.max(1));
                (age, cells)
            }))
        };
        let row: Vec<_> = (0..GROUPS).map(group).collect();
        (
            Just(features),
            Just(order).prop_shuffle(),
            vec(row, 1..4),
            prop_oneof![3 => Just(Vec::new()), 1 => vec(0..GROUPS, 1)],
            option::of(age()),
            any::<bool>(),
        )
            .prop_map(|(features, order, rows, failed, max_age, use_defaults)| Case {
                features,
                order,
                rows,
                failed,
                max_age,
                use_defaults,
            })
    })
}

impl Case {
    fn name(feature: usize) -> String {
        format!("f{feature}")
    }

    fn plan(&self) -> Arc<Plan> {
        let names: Vec<String> = (0..self.features.len()).map(Self::name).collect();
        let groups: Vec<String> = (0..GROUPS).map(|group| format!("g{group}")).collect();
        let definitions: Vec<testing::Definition<'_>> = self
            .features
            .iter()
            .enumerate()
            .map(|(feature, (dtype, group, ttl, default))| {
                let ttl = ttl.map(|ttl| Duration::from_micros(ttl).unwrap());
                let describing = Describing { ttl, default: default.clone(), ..Default::default() };
                (names[feature].as_str(), groups[*group].as_str(), "user", *dtype, describing)
            })
            .collect();
        let asked: Vec<&str> = self.order.iter().map(|feature| names[*feature].as_str()).collect();
        testing::catalogue(&definitions).plan_of(&FeatureList::Names(&asked), 1_000).unwrap()
    }

    /// The case's group at a position in the plan.
    fn group_of(plan: &Plan, planned: usize) -> usize {
        let first = &plan.features[plan.groups[planned].features[0]].feature;
        first.group_name[1..].parse().unwrap()
    }

    fn answer(&self, plan: &Arc<Plan>) -> OnlineAnswer {
        let stored = |cells: &Option<(i64, Vec<Cell>)>| {
            let (age, cells) = cells.as_ref()?;
            let event_timestamp = Timestamp::from_stored(NOW - age);
            Some(StoredRow {
                event_timestamp,
                created: event_timestamp,
                sequence: 0,
                values: row::pack(cells).into(),
            })
        };
        let groups: Vec<usize> = (0..plan.groups.len()).map(|group| Self::group_of(plan, group)).collect();
        let rows: Vec<Vec<_>> =
            self.rows.iter().map(|row| groups.iter().map(|group| stored(&row[*group])).collect()).collect();
        let failed: Vec<usize> =
            (0..groups.len()).filter(|group| self.failed.contains(&groups[*group])).collect();
        let max_age = self.max_age.map(|age| Duration::from_micros(age).unwrap());
        OnlineAnswer::of_rows(
            plan.clone(),
            &rows,
            &failed,
            Timestamp::from_stored(NOW),
            max_age,
            self.use_defaults,
        )
    }

    /// The rules said again, plainly: status, value and event timestamp of one cell.
    fn cell(&self, row: usize, feature: usize) -> (proto::FeatureStatus, Option<Value>, Option<i64>) {
        use proto::FeatureStatus::*;
        let (_, group, ttl, default) = &self.features[feature];
        if self.failed.contains(group) {
            return (Error, None, None);
        }
        let default = default.clone().filter(|_| self.use_defaults);
        let Some((age, cells)) = &self.rows[row][*group] else { return (NotFound, default, None) };
        let column = self.features[..feature].iter().filter(|other| other.1 == *group).count();
        let stale = ttl.is_some_and(|ttl| *age >= ttl) || self.max_age.is_some_and(|most| *age >= most);
        let event = Some(NOW - age);
        match cells.get(column) {
            None | Some(Cell::LeftOut) => (NotFound, default, event),
            Some(_) if stale => (OutsideMaxAge, default, event),
            Some(Cell::Null) => (NullValue, default, event),
            Some(Cell::Value(value)) => (Present, Some(value.clone()), event),
        }
    }
}

/// The answer made out of the generated types.
fn plain(case: &Case, plan: &Plan, schema_id: u64) -> proto::GetOnlineFeaturesResponse {
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    for row in 0..case.rows.len() {
        let mut message = proto::Row::default();
        for planned in 0..plan.groups.len() {
            let group = Case::group_of(plan, planned);
            let event = case.rows[row][group].as_ref().filter(|_| !case.failed.contains(&group));
            message.event_timestamps_us.push(event.map_or(NO_ROW, |(age, _)| NOW - age));
        }
        for (position, feature) in case.order.iter().enumerate() {
            let (status, value, _) = case.cell(row, *feature);
            message.statuses.push(status as i32);
            push(&mut message, case.features[*feature].0, value);
            if status == proto::FeatureStatus::Error {
                let reason = "the disk is gone".into();
                errors.push(proto::CellError { row: row as u32, feature: position as u32, reason });
            }
        }
        rows.push(message);
    }
    proto::GetOnlineFeaturesResponse {
        schema_id: plan.schema_id,
        schema: (schema_id != plan.schema_id).then(|| schema_message(plan)),
        rows,
        errors,
        request_id: "r-1".into(),
        server_duration_us: 0,
        degraded: false,
    }
}

fn push(row: &mut proto::Row, dtype: Dtype, value: Option<Value>) {
    match (dtype, value) {
        (Dtype::Bool, value) => row.bools.push(matches!(value, Some(Value::Bool(true)))),
        (_, Some(Value::Int64(v))) => row.int64s.push(v),
        (_, Some(Value::Float64(v))) => row.float64s.push(v),
        (_, Some(Value::Float32(v))) => row.float32s.push(v),
        (_, Some(Value::String(v))) => row.strings.push(v),
        (_, Some(Value::Json(v))) => row.jsons.push(v),
        (_, Some(Value::Bytes(v))) => row.bytes_values.push(v),
        (_, Some(Value::Timestamp(v))) => row.timestamps_us.push(v.micros()),
        (_, Some(Value::List(v))) => row.lists.push(list(&v)),
        (_, Some(Value::Decimal(v))) => row.decimals.extend(v.unscaled().to_le_bytes()),
        (Dtype::Decimal(_), _) => row.decimals.extend([0; 16]),
        (Dtype::Int64, _) => row.int64s.push(0),
        (Dtype::Float64, _) => row.float64s.push(f64::NAN),
        (Dtype::Float32, _) => row.float32s.push(f32::NAN),
        (Dtype::String, _) => row.strings.push(String::new()),
        (Dtype::Json, _) => row.jsons.push(String::new()),
        (Dtype::Bytes, _) => row.bytes_values.push(Vec::new()),
        (Dtype::Timestamp, _) => row.timestamps_us.push(0),
        (Dtype::List(_), _) => row.lists.push(proto::List::default()),
    }
}

fn list(list: &List) -> proto::List {
    fn items<T: Clone + Default>(list: &[Option<T>], null_positions: &mut Vec<u32>) -> Vec<T> {
        let nulls = list.iter().enumerate().filter(|(_, item)| item.is_none());
        null_positions.extend(nulls.map(|(position, _)| position as u32));
        list.iter().map(|item| item.clone().unwrap_or_default()).collect()
    }
    let mut message = proto::List::default();
    let nulls = &mut message.null_positions;
    match list {
        List::Bool(list) => message.bools = items(list, nulls),
        List::Int64(list) => message.int64s = items(list, nulls),
        List::Float64(list) => message.float64s = items(list, nulls),
        List::Float32(list) => message.float32s = items(list, nulls),
        List::String(list) => message.strings = items(list, nulls),
        List::Bytes(list) => message.bytes_values = items(list, nulls),
        List::Timestamp(list) => {
            let micros: Vec<Option<i64>> = list.iter().map(|time| time.map(Timestamp::micros)).collect();
            message.timestamps_us = items(&micros, nulls);
        }
    }
    message
}

/// The answer as JSON, made cell by cell.
fn plain_json(case: &Case, plan: &Plan) -> Json {
    let features: Map<_, _> = plan
        .features
        .iter()
        .map(|feature| {
            let dtype = feature.feature.dtype.name();
            (feature.name.clone(), json!({"ref": feature.reference, "dtype": dtype}))
        })
        .collect();
    let result = |row: usize| {
        let [mut values, mut statuses, mut times, mut errors]: [Map<String, Json>; 4] = Default::default();
        for feature in &case.order {
            let name = Case::name(*feature);
            let (status, value, event) = case.cell(row, *feature);
            let mut text = Vec::new();
            JsonWriter::new(&mut text).value(value.as_ref());
            values.insert(name.clone(), serde_json::from_slice(&text).unwrap());
            statuses.insert(name.clone(), status.as_str_name().into());
            let event = event.filter(|_| status != proto::FeatureStatus::NotFound);
            times.insert(name.clone(), json!(event.map(|at| Timestamp::from_stored(at).to_string())));
            if status == proto::FeatureStatus::Error {
                errors.insert(name, "the disk is gone".into());
            }
        }
        let id = format!("u\"{row}");
        let mut result =
            json!({"entity_id": id, "values": values, "statuses": statuses, "event_timestamps": times});
        if !errors.is_empty() {
            result["errors"] = errors.into();
        }
        result
    };
    let results: Vec<Json> = (0..case.rows.len()).map(result).collect();
    json!({"request_id": "r-1", "degraded": false, "features": features, "results": results})
}

fn envelope(bytes_max: usize) -> Envelope<'static> {
    // A start that lies ahead gives a duration of 0, which is not written.
    let started = Instant::now() + std::time::Duration::from_secs(3600);
    Envelope { request_id: "r-1", started, bytes_max }
}

fn encode(reply: &Reply) -> Vec<u8> {
    let mut bytes = Vec::new();
    reply.encode(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn replies_are_the_contracts_own_bytes(case in case(), holds_schema in any::<bool>()) {
        let plan = case.plan();
        let schema_id = if holds_schema { plan.schema_id } else { 7 };
        let reply = Reply::new(case.answer(&plan), schema_id, &envelope(usize::MAX)).unwrap();
        let bytes = encode(&reply);
        prop_assert_eq!(bytes.len(), reply.encoded_len());
        prop_assert_eq!(bytes, plain(&case, &plan, schema_id).encode_to_vec());
    }

    #[test]
    fn json_says_the_same(case in case()) {
        let plan = case.plan();
        let ids: Vec<String> = (0..case.rows.len()).map(|row| format!("u\"{row}")).collect();
        let body = serde_json::to_vec(&json!({"entity_ids": ids})).unwrap();
        let request = JsonRequest::read(&body).unwrap();
        let text = write_json(&case.answer(&plan), &request, &envelope(usize::MAX)).unwrap().concat();
        let read: Json = serde_json::from_slice(&text).unwrap();
        prop_assert_eq!(read, plain_json(&case, &plan));
    }

    #[test]
    fn packed_json_reads_back_as_the_reply(case in case()) {
        let plan = case.plan();
        let reply = Reply::new(case.answer(&plan), 0, &envelope(usize::MAX)).unwrap();
        let json: Json = serde_json::from_slice(&write_packed(&reply, usize::MAX).unwrap()).unwrap();
        let rows = json["rows"].as_array().unwrap();
        prop_assert_eq!(rows.len(), case.rows.len());
        for (row, message) in rows.iter().enumerate() {
            for (position, feature) in case.order.iter().enumerate() {
                let status = case.cell(row, *feature).0.as_str_name();
                prop_assert_eq!(&message["statuses"][position], status);
            }
        }
    }

    #[test]
    fn replies_at_their_limit_and_one_byte_past(case in case()) {
        let plan = case.plan();
        let len = Reply::new(case.answer(&plan), 0, &envelope(usize::MAX)).unwrap().encoded_len();
        prop_assert!(Reply::new(case.answer(&plan), 0, &envelope(len)).is_ok());
        let error = Reply::new(case.answer(&plan), 0, &envelope(len - 1)).unwrap_err();
        prop_assert_eq!(error.kind, crate::error::Kind::TooLarge);
        if case.failed.is_empty() {
            let fit = error.message.split("the first ").nth(1).unwrap();
            let fit: usize = fit.split(' ').next().unwrap().parse().unwrap();
            let mut fewer = case.clone();
            fewer.rows.truncate(fit);
            prop_assert!(fit < case.rows.len());
            prop_assert!(Reply::new(fewer.answer(&plan), 0, &envelope(len - 1)).is_ok());
        }
    }

    #[test]
    fn requests_read_as_the_generated_type_does(
        features in vec("[a-z]{0,5}", 0..5), set in "[a-z]{0,2}", ids in vec("[a-z:é]{0,5}", 0..4),
        columns in prop::collection::hash_map("[a-c]", vec("[a-z]{0,3}", 0..3), 0..3),
        as_of in option::of((0i64..10_000_000_000, 0i32..1_000_000_000)),
        max_age in option::of((0i64..1_000_000, 0i32..1_000_000)),
        use_defaults in any::<bool>(), schema_id in any::<u64>(), in_pieces in any::<bool>(),
    ) {
        let message = proto::GetOnlineFeaturesRequest {
            features: features.clone(),
            feature_set: if features.is_empty() { set.clone() } else { String::new() },
            entity_ids: if columns.is_empty() { ids.clone() } else { Vec::new() },
            entities: columns.iter().map(|(key, ids)| (key.clone(), proto::EntityIds { ids: ids.clone() })).collect(),
            as_of: as_of.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }),
            max_age: max_age.map(|(seconds, micros)| prost_types::Duration { seconds, nanos: micros * 1_000 }),
            use_defaults,
            schema_id,
        };
        let mut bytes = message.encode_to_vec();
        let mut expected = features.clone();
        if in_pieces && !features.is_empty() {
            prost::encoding::string::encode(1, &"later".to_owned(), &mut bytes);
            prost::encoding::string::encode(99, &"unknown".to_owned(), &mut bytes);
            expected.push("later".into());
        }
        let request = Request::from(bytes::Bytes::from(bytes));
        let parts = request.parts().unwrap();
        let online = parts.to_online().unwrap();
        match &online.features {
            FeatureList::Encoded { bytes, names, .. } => {
                prop_assert_eq!(names(bytes).unwrap(), expected.iter().map(String::as_str).collect::<Vec<_>>());
            }
            FeatureList::Set(name) => prop_assert_eq!(*name, &message.feature_set),
            FeatureList::Names(names) => prop_assert!(names.is_empty() && message.feature_set.is_empty()),
        }
        match &online.entities {
            Entities::Ids(read) => prop_assert_eq!(read.to_vec(), message.entity_ids),
            Entities::Columns(read) => {
                let mut read = read.to_vec();
                read.sort();
                let mut expected: Vec<_> =
                    columns.iter().map(|(key, ids)| (key.as_str(), ids.iter().map(String::as_str).collect())).collect();
                expected.sort();
                prop_assert_eq!(read, expected);
            }
        }
        let micros = as_of.map(|(seconds, nanos)| seconds * 1_000_000 + i64::from(nanos) / 1_000);
        prop_assert_eq!(online.as_of.map(Timestamp::micros), micros);
        let micros = max_age.map(|(seconds, micros)| seconds * 1_000_000 + i64::from(micros));
        prop_assert_eq!(online.max_age.map(Duration::micros), micros);
        prop_assert_eq!((online.use_defaults, parts.schema_id), (use_defaults, schema_id));
    }

    #[test]
    fn no_bytes_make_the_request_panic(bytes in vec(any::<u8>(), 0..60)) {
        let request = Request::from(bytes::Bytes::from(bytes));
        if let Ok(parts) = request.parts()
            && let Ok(online) = parts.to_online()
            && let FeatureList::Encoded { bytes, names, .. } = online.features
        {
            let _ = names(bytes);
        }
    }
}

#[test]
fn what_excludes_each_other_is_refused() {
    let both = proto::GetOnlineFeaturesRequest {
        features: vec!["a".into()],
        feature_set: "s".into(),
        ..Default::default()
    };
    let request = Request::from(bytes::Bytes::from(both.encode_to_vec()));
    let error = request.parts().unwrap().to_online().unwrap_err();
    assert_eq!(error.field.as_deref(), Some("feature_set"));

    for (body, field) in [
        (r#"{"features":["a"],"feature_set":"s"}"#, "feature_set"),
        (r#"{"features":["a"],"entity_ids":["u"],"entities":{"user":["u"]}}"#, "entities"),
    ] {
        let request = JsonRequest::read(body.as_bytes()).unwrap();
        let error = request.to_online(&request.entities()).unwrap_err();
        assert_eq!(error.field.as_deref(), Some(field));
    }
}

#[test]
fn json_bodies_that_break_a_rule_name_it() {
    for (body, field) in [
        (r#"{"features":["a"],"fetures":["b"]}"#, "fetures"),
        (r#"{"features":"a"}"#, "features"),
        (r#"{"entity_ids":["a",1.5]}"#, "entity_ids[1]"),
        (r#"{"entities":{"user":["a",true]}}"#, "entities.user[1]"),
        (r#"{"as_of":"2024-01-15T14:22:00"}"#, "as_of"),
        (r#"{"as_of":1705328520}"#, "as_of"),
        (r#"{"max_age":"-5m"}"#, "max_age"),
        (r#"{"use_defaults":"yes"}"#, "use_defaults"),
        (r#"{"int64":"text"}"#, "int64"),
        (r#"{"as_of":null,"as_of":null}"#, "as_of"),
    ] {
        assert_eq!(JsonRequest::read(body.as_bytes()).unwrap_err().field.as_deref(), Some(field), "{body}");
    }
    for (body, field) in
        [(r#"{"features":["a",1]}"#, "features[1]"), (r#"{"features":["a" "b"]}"#, "features")]
    {
        let request = JsonRequest::read(body.as_bytes()).unwrap();
        let entities = request.entities();
        let FeatureList::Encoded { bytes, names, .. } = request.to_online(&entities).unwrap().features else {
            panic!("{body}")
        };
        assert_eq!(names(bytes).unwrap_err().field.as_deref(), Some(field), "{body}");
    }
}
