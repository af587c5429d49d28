//! A store in memory with the rows that the questions are about.

use arrow::array::StringArray;
use larder::{
    access::{ApiKeySecret, Scope},
    app::{App, DEFAULT_TENANT, Storage},
    clock::Clock,
    config::Config,
    feature::{
        ColumnBuilder, Decimal, Dtype, Element, List, Timestamp, Value,
        definition::{Describing, FeatureDefinition},
    },
    registry::FeatureList,
    serving::{
        online::{Entities, OnlineAnswer, OnlineRequest},
        register::Registration,
    },
    store::{
        Commit, RowBatch,
        embedded::{EmbeddedStore, Options},
    },
};
use std::sync::Arc;

const ENTITIES: usize = 1_000;
const GROUPS: usize = 10;
const COLUMNS: usize = 25;

pub struct Question {
    pub name: &'static str,
    entities: usize,
    /// (kind, groups, columns of each)
    features: (Kind, usize, usize),
}

/// What the groups hold.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Doubles,
    /// All dtypes in turn.
    Mixed,
    /// Doubles, a tenth of the groups without a row, and a tenth stale.
    Gaps,
}

pub const QUESTIONS: &[Question] = &[
    Question { name: "1×10 doubles, 1 group", entities: 1, features: (Kind::Doubles, 1, 10) },
    Question { name: "1×250 doubles, 10 groups", entities: 1, features: (Kind::Doubles, GROUPS, COLUMNS) },
    Question {
        name: "100×250 doubles, 10 groups",
        entities: 100,
        features: (Kind::Doubles, GROUPS, COLUMNS),
    },
    Question {
        name: "1×250 of 12 dtypes, 10 groups", entities: 1, features: (Kind::Mixed, GROUPS, COLUMNS)
    },
    Question {
        name: "100×250 of 12 dtypes, 10 groups",
        entities: 100,
        features: (Kind::Mixed, GROUPS, COLUMNS),
    },
    Question {
        name: "100×250 doubles, a tenth never written, a tenth stale",
        entities: 100,
        features: (Kind::Gaps, GROUPS, COLUMNS),
    },
];

pub struct World {
    app: App,
    key: ApiKeySecret,
    /// By question: names and ids.
    asked: Vec<(Vec<String>, Vec<String>)>,
}

impl World {
    pub async fn new() -> Self {
        let store = Arc::new(EmbeddedStore::in_memory(Options::default()).expect("a store"));
        let storage = Storage::of(store);
        let config = Config { listen: ([127, 0, 0, 1], 0).into(), in_memory: true, ..Config::default() };
        let app = App::build_on(&config, storage, Clock::system(), None).await.expect("an app");
        let key = app.create_key(DEFAULT_TENANT, &Scope::ALL).await.expect("a key");
        let asked = QUESTIONS.iter().map(|question| {
            let (kind, groups, columns) = question.features;
            let names =
                (0..groups).flat_map(|group| (0..columns).map(move |column| feature(kind, group, column)));
            (names.collect(), (0..question.entities).map(|entity| format!("user_{}", entity * 7)).collect())
        });
        let world = Self { asked: asked.collect(), app, key };
        for kind in [Kind::Doubles, Kind::Mixed, Kind::Gaps] {
            world.fill(kind).await;
        }
        world
    }

    /// One question as a transport puts it: key, plan, rows.
    pub async fn ask(&self, question: &Question) -> OnlineAnswer {
        let position =
            QUESTIONS.iter().position(|known| std::ptr::eq(known, question)).expect("a known question");
        let (names, ids) = &self.asked[position];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let service = self.app.service();
        let caller = service.registry.authenticate(self.key.reveal(), service.clock.now()).expect("a caller");
        let request = OnlineRequest {
            features: FeatureList::Names(&names),
            entities: Entities::Ids(&ids),
            as_of: None,
            max_age: None,
            use_defaults: false,
        };
        service.online(&caller, request).await.expect("an answer")
    }

    async fn fill(&self, kind: Kind) {
        let service = self.app.service();
        let caller = service.registry.authenticate(self.key.reveal(), service.clock.now()).expect("a caller");
        let definition = |group, column| FeatureDefinition {
            name: feature(kind, group, column),
            entity_type: "user".into(),
            dtype: dtype(kind, column),
            group: Some(group_name(kind, group)),
            version: None,
            describing: Describing { ttl: Some("30d".parse().expect("a span")), ..Describing::default() },
            allow_non_finite: false,
            window: None,
        };
        let features =
            (0..GROUPS).flat_map(|group| (0..COLUMNS).map(move |column| definition(group, column)));
        let registration =
            Registration { entity_types: vec![], features: features.collect(), dry_run: false };
        service.register_features(&caller, registration).await.expect("registered");
        let catalogue = service.registry.catalogue(&caller);
        let mut random = fastrand::Rng::with_seed(1);
        let mut batches = Vec::new();
        for group in 0..GROUPS {
            if kind == Kind::Gaps && group == 3 {
                continue;
            }
            let age = if kind == Kind::Gaps && group == 7 { 31 * 86_400_000_000 } else { 0 };
            let columns = (0..COLUMNS).map(|column| {
                let mut builder = ColumnBuilder::new(dtype(kind, column), ENTITIES);
                (0..ENTITIES).for_each(|_| builder.push_value(&value(dtype(kind, column), &mut random)));
                builder.finish()
            });
            batches.push(RowBatch {
                columns: columns.collect(),
                group: catalogue.group(&group_name(kind, group)).expect("registered").schema.clone(),
                keys: StringArray::from_iter_values((0..ENTITIES).map(|entity| format!("user_{entity}"))),
                event_timestamps: vec![service.clock.now().micros() - age; ENTITIES].into(),
                sequences: (0..ENTITIES as u32).collect::<Vec<_>>().into(),
            });
        }
        let commit = Commit { tenant: caller.tenant(), batches, idempotency: None };
        service.store.commit(commit).await.expect("committed");
    }
}

fn prefix(kind: Kind) -> &'static str {
    match kind {
        Kind::Doubles => "purchase",
        Kind::Mixed => "profile",
        Kind::Gaps => "session",
    }
}

fn group_name(kind: Kind, group: usize) -> String {
    format!("{}s_{group}", prefix(kind))
}

fn feature(kind: Kind, group: usize, column: usize) -> String {
    format!("{}_mean_{group}_{column}d", prefix(kind))
}

fn dtype(kind: Kind, column: usize) -> Dtype {
    if kind != Kind::Mixed {
        return Dtype::Float64;
    }
    let dtypes = [
        Dtype::Float64,
        Dtype::Int64,
        Dtype::String,
        Dtype::Bool,
        Dtype::Float32,
        Dtype::Timestamp,
        Dtype::Bytes,
        Dtype::Json,
        Dtype::Float64,
        Dtype::Int64,
        Dtype::List(Element::Float32),
        Dtype::List(Element::String),
    ];
    dtypes[column % dtypes.len()]
}

fn value(dtype: Dtype, random: &mut fastrand::Rng) -> Value {
    match dtype {
        Dtype::Bool => Value::Bool(random.bool()),
        Dtype::Int64 => Value::Int64(random.i64(0..1_000_000)),
        Dtype::Float64 => Value::Float64(random.f64() * 1_000.0),
        Dtype::Float32 => Value::Float32(random.f32()),
        Dtype::String => Value::String(format!("country_{}", random.u8(..))),
        Dtype::Bytes => Value::Bytes(vec![random.u8(..); 8]),
        Dtype::Timestamp => Value::Timestamp(Timestamp::from_stored(random.i64(0..1_700_000_000_000_000))),
        Dtype::Json => Value::Json("{\"plan\":\"gold\"}".into()),
        Dtype::List(Element::String) => Value::List(List::String(vec![Some("a".into()), Some("bc".into())])),
        Dtype::List(_) => Value::List(List::Float32((0..16).map(|_| Some(random.f32())).collect())),
        Dtype::Decimal(of) => Value::Decimal(Decimal::new(random.i128(0..10), of).expect("one digit")),
    }
}
