//! The one table of calls: every RPC of the contract, and every route of REST.
//!
//! The router, the labels of metrics, what the log samples, which calls may stream and the OpenAPI document all come from
//! here. A test holds the RPCs to the contract.

use super::{Shared, control::*, error::CODES, health, openapi, rest::*};
use crate::{
    access::Scope,
    telemetry::Labels,
    wire::{
        control::*,
        events::shape::{Event, Events, Published},
        historical::shape::{Binary, SpineLine, TrainingSet, TrainingSetQuery, TrainingSetQuestion},
        online::shape::{OnlineAnswer, OnlineQuestion, PackedAnswer, PackedQuestion},
        write::shape::{FeatureRow, PartialQuery, Rows, Written},
    },
};
use axum::{
    Router,
    routing::{MethodFilter, MethodRouter, on},
};
use hashbrown::HashMap;
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::sync::{Arc, LazyLock};

/// Where the contract's services are.
const GRPC_PACKAGE: &str = "/larder.v1.";
const REST_PREFIX: &str = "/api/v1/";
pub(super) const METRICS: &str = "/metrics";

pub(super) const JSON: &str = "application/json";
pub(super) const NDJSON: &str = "application/x-ndjson";
pub(super) const ARROW: &str = "application/vnd.apache.arrow.stream";
pub(super) const PARQUET: &str = "application/vnd.apache.parquet";

/// What is to be known of an RPC.
pub(super) struct RpcRow {
    pub service: &'static str,
    pub name: &'static str,
    /// What a key must have.
    pub scope: Scope,
    /// In gRPC it goes on for as long as its caller likes.
    pub streams: bool,
    /// So frequent that the log takes only some of its calls.
    pub sampled: bool,
}

/// In the order of the contract.
pub(super) const RPCS: [RpcRow; 21] = [
    feature("GetOnlineFeatures", Scope::Read).sampled(),
    feature("GetHistoricalFeatures", Scope::Read).streams(),
    feature("RegisterFeatures", Scope::Register),
    feature("SetFeatureStatus", Scope::Register),
    feature("GetFeature", Scope::Read),
    feature("ListFeatures", Scope::Read),
    feature("PutFeatureSet", Scope::Register),
    feature("GetFeatureSet", Scope::Read),
    feature("ListFeatureSets", Scope::Read),
    feature("WriteFeatures", Scope::Write).sampled(),
    feature("StreamWriteFeatures", Scope::Write).streams(),
    feature("PublishEvents", Scope::Write).sampled(),
    feature("StreamPublishEvents", Scope::Write).streams(),
    feature("GetFeatureHistory", Scope::Read),
    feature("GetFeatureStatistics", Scope::Read),
    feature("ExplainFeature", Scope::Read),
    feature("InvalidateCache", Scope::Write),
    admin("ListStreams", Scope::Operator),
    admin("ListBackfills", Scope::Admin),
    admin("ListLateEvents", Scope::Admin),
    admin("ListDeadLetters", Scope::Admin),
];

/// Every route of REST. The reserved words of feature names keep `/features/online` and the like apart from
/// `/features/{name}`. Streamed writes and events come on the paths of unary ones, with lines in their bodies.
#[rustfmt::skip]
pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/api/v1/features/online", "GetOnlineFeatures", |m| on(m, get_online_features))
            .about("The newest features of entities, or those of a moment").takes::<OnlineQuestion>(JSON).gives::<OnlineAnswer>(JSON),
        post("/api/v1/features/online:packed", "GetOnlineFeatures", |m| on(m, get_online_features_packed))
            .about("The same, answered with the JSON of the proto message").takes::<PackedQuestion>(JSON).gives::<PackedAnswer>(JSON),
        post("/api/v1/features/batch", "GetHistoricalFeatures", |m| on(m, get_historical_features)).streams()
            .about("A training set: the features of every row of a spine, as they were at its timestamp").query::<TrainingSetQuery>()
            .takes::<TrainingSetQuestion>(JSON).takes::<SpineLine>(NDJSON).takes::<Binary>(ARROW)
            .gives::<TrainingSet>(JSON).gives::<SpineLine>(NDJSON).gives::<Binary>(ARROW).gives::<Binary>(PARQUET),
        post("/api/v1/features/register", "RegisterFeatures", |m| on(m, register_features))
            .about("Registers features and the entity types they need, all or nothing").takes::<Registration>(JSON).gives::<Registered>(JSON),
        post("/api/v1/features/{name}/status", "SetFeatureStatus", |m| on(m, set_feature_status))
            .about("Makes a version active, or deprecates it").takes::<StatusChange>(JSON).gives::<Feature>(JSON),
        get("/api/v1/features/{name}", "GetFeature", |m| on(m, get_feature))
            .about("One feature by name, group.name, or either with @version").gives::<Feature>(JSON),
        get("/api/v1/features", "ListFeatures", |m| on(m, list_features))
            .about("Every version of every feature that passes the filter").query::<FeaturesQuery>().gives::<FeatureList>(JSON),
        put("/api/v1/feature-sets/{name}", "PutFeatureSet", |m| on(m, put_feature_set))
            .about("Pins features under a name").takes::<FeatureSetContent>(JSON).gives::<FeatureSet>(JSON),
        get("/api/v1/feature-sets/{name}", "GetFeatureSet", |m| on(m, get_feature_set))
            .about("One feature set: fraud, or fraud@3").gives::<FeatureSet>(JSON),
        get("/api/v1/feature-sets", "ListFeatureSets", |m| on(m, list_feature_sets))
            .about("The newest version of every feature set").query::<FeatureSetsQuery>().gives::<FeatureSetList>(JSON),
        post("/api/v1/features/write", "WriteFeatures", |m| on(m, write_features)).streams()
            .about("Writes rows in one transaction; lines are judged one by one").query::<PartialQuery>().idempotent()
            .takes::<Rows>(JSON).takes::<FeatureRow>(NDJSON).gives::<Written>(JSON),
        post("/api/v1/events", "PublishEvents", |m| on(m, publish_events)).streams()
            .about("Takes events in: one, an array, or lines, which are judged one by one").query::<PartialQuery>()
            .takes::<Events>(JSON).takes::<Event>(NDJSON).gives::<Published>(JSON),
        get("/api/v1/features/{name}/history", "GetFeatureHistory", |m| on(m, get_feature_history))
            .about("All values of one feature of one entity over time").query::<HistoryQuery>().keys().gives::<History>(JSON),
        get("/api/v1/features/{name}/statistics", "GetFeatureStatistics", |m| on(m, get_feature_statistics))
            .about("How the values of one feature are spread, by hour of event time").query::<StatisticsQuery>().gives::<FeatureStatistics>(JSON),
        post("/api/v1/features/explain", "ExplainFeature", |m| on(m, explain_feature))
            .about("Why one cell is what it is").takes::<Question>(JSON).gives::<Explanation>(JSON),
        get("/api/v1/features/explain", "GetFeature", |m| on(m, get_feature_called_explain))
            .about("The feature that is called explain").gives::<Feature>(JSON),
        delete("/api/v1/cache/invalidate/{entity_id}", "InvalidateCache", |m| on(m, invalidate_entity))
            .about("Drops an entity from the caches").query::<EntityInvalidationQuery>().gives::<Invalidated>(JSON),
        post("/api/v1/cache/invalidate", "InvalidateCache", |m| on(m, invalidate_cache))
            .about("Drops an entity from the caches").takes::<Invalidation>(JSON).gives::<Invalidated>(JSON),
        get("/api/v1/admin/streams", "ListStreams", |m| on(m, list_streams))
            .about("How each partition of the event log is").gives::<StreamList>(JSON),
        get("/api/v1/admin/backfills", "ListBackfills", |m| on(m, list_backfills))
            .about("Backfills of the caller's tenant, under way and done").gives::<BackfillList>(JSON),
        get("/api/v1/admin/late-events", "ListLateEvents", |m| on(m, list_late_events))
            .about("Events that missed closed windows").query::<LateEventsQuery>().gives::<LateEventList>(JSON),
        get("/api/v1/admin/dead-letters", "ListDeadLetters", |m| on(m, list_dead_letters))
            .about("Records that could not be used").query::<DeadLettersQuery>().gives::<DeadLetterList>(JSON),
        open("/api/v1/openapi.json", |m| on(m, openapi::document)).about("This document").gives::<openapi::Document>(JSON),
        open("/health", |m| on(m, health::health)).on_metrics_listener().about("Whether the process is alive").gives::<health::Health>(JSON),
        open("/ready", |m| on(m, health::ready)).on_metrics_listener().about("Whether it can serve; 503 says which part cannot")
            .gives::<health::Readiness>(JSON).gives_unready::<health::Readiness>(),
        open(METRICS, |m| on(m, health::metrics)).on_metrics_listener().about("Metrics of Prometheus; for this machine, and for keys with the scope operator")
            .gives::<String>("text/plain"),
    ]
}

/// What a request asks for. Labels metrics and log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpc(u8);

impl Rpc {
    /// Health, reflection, metrics, and whatever no path is for.
    pub(super) const OTHER: Rpc = Rpc(RPCS.len() as u8);

    pub(super) fn of_number(number: u8) -> Self {
        Self(number.min(Self::OTHER.0))
    }

    pub(super) fn number(self) -> u8 {
        self.0
    }

    pub(super) fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    /// None = other.
    pub(super) fn row(self) -> Option<&'static RpcRow> {
        RPCS.get(usize::from(self.0))
    }

    fn named(name: &str) -> Self {
        let number = RPCS.iter().position(|row| row.name == name);
        Self(number.unwrap_or_else(|| panic!("no RPC is called {name}")) as u8)
    }

    /// The RPC of a gRPC path.
    pub(super) fn of_grpc(path: &str) -> Self {
        TABLE.grpc.get(path).copied().unwrap_or(Self::OTHER)
    }

    /// The RPC of a REST route, by the pattern that the router matched.
    pub(super) fn of_rest(method: &Method, pattern: &str) -> Self {
        TABLE.route(method, pattern).and_then(|route| route.rpc).unwrap_or(Self::OTHER)
    }
}

/// The language a request and its answer are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Grpc,
    Rest,
}

/// How metrics name what they count.
pub(super) const LABELS: Labels = Labels { transports: &["grpc", "rest"], verbs: &NAMES, codes: &CODES };

/// By number.
const NAMES: [&str; RPCS.len() + 1] = {
    let mut names = ["other"; RPCS.len() + 1];
    let mut number = 0;
    while number < RPCS.len() {
        names[number] = RPCS[number].name;
        number += 1;
    }
    names
};

/// Whether only callers with a key may ask here, whatever there is.
pub(super) fn is_guarded(path: &str) -> bool {
    let is_open =
        || TABLE.rest.get(path).is_some_and(|routes| routes.iter().all(|route| route.rpc.is_none()));
    let in_contract = || {
        let service = path.strip_prefix(GRPC_PACKAGE).and_then(|path| path.split_once('/'));
        service.is_some_and(|(service, _)| RPCS.iter().any(|row| row.service == service))
    };
    (path.starts_with(REST_PREFIX) && !is_open()) || in_contract()
}

/// Whether a request of REST may go on for as long as its caller likes, if its body or its answer is a stream.
pub(super) fn may_stream(method: &Method, path: &str) -> bool {
    TABLE.route(method, path).is_some_and(|route| route.streams)
}

/// What a route takes, for those who sent something else.
pub(super) fn media_types(method: &Method, path: &str) -> String {
    let takes = TABLE.route(method, path).map(|route| route.shape.takes.as_slice()).unwrap_or_default();
    let names: Vec<_> = takes.iter().map(|(media_type, _)| *media_type).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "no body".to_owned(),
    }
}

/// The router of REST, or of those routes that the listener of metrics has too.
pub(super) fn router(shared: &Arc<Shared>, metrics_listener: bool) -> Router {
    let routes = routes().into_iter().filter(|route| route.on_metrics_listener || !metrics_listener);
    let add = |router: Router<_>, route: Route| {
        let method = MethodFilter::try_from(route.method).expect("axum routes every method of the table");
        router.route(route.path, (route.handler)(method))
    };
    routes.fold(Router::new(), add).with_state(shared.clone())
}

/// A route of REST.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    /// None = anybody may ask, without a key.
    pub rpc: Option<Rpc>,
    /// Its body or its answer may be a stream.
    pub streams: bool,
    pub on_metrics_listener: bool,
    handler: Handler,
    pub shape: RouteShape,
}

/// What a route takes and gives, for the document.
#[derive(Default)]
pub(super) struct RouteShape {
    pub summary: &'static str,
    pub query: Option<SchemaOf>,
    /// Takes the keys of a composite entity as further parameters.
    pub takes_keys: bool,
    pub takes_idempotency_key: bool,
    /// By media type.
    pub takes: Vec<(&'static str, SchemaOf)>,
    /// By media type.
    pub gives: Vec<(&'static str, SchemaOf)>,
    /// With status 503.
    pub gives_unready: Option<SchemaOf>,
}

pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;
type Handler = fn(MethodFilter) -> MethodRouter<Arc<Shared>>;

/// The table as look-ups.
struct Table {
    /// By path.
    grpc: HashMap<String, Rpc>,
    /// By path, with parameters in braces.
    rest: HashMap<&'static str, Vec<Route>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let path = |row: &RpcRow| format!("{GRPC_PACKAGE}{}/{}", row.service, row.name);
    let grpc = RPCS.iter().zip(0..).map(|(row, number)| (path(row), Rpc(number)));
    let mut rest: HashMap<_, Vec<_>> = HashMap::new();
    for route in routes() {
        rest.entry(route.path).or_default().push(route);
    }
    Table { grpc: grpc.collect(), rest }
});

impl Table {
    fn route(&self, method: &Method, path: &str) -> Option<&Route> {
        self.rest.get(path)?.iter().find(|route| route.method == *method)
    }
}

impl Route {
    fn new(method: Method, path: &'static str, rpc: Option<Rpc>, handler: Handler) -> Self {
        let shape = RouteShape::default();
        Self { method, path, rpc, streams: false, on_metrics_listener: false, handler, shape }
    }

    fn streams(self) -> Self {
        Self { streams: true, ..self }
    }

    fn on_metrics_listener(self) -> Self {
        Self { on_metrics_listener: true, ..self }
    }

    fn about(mut self, summary: &'static str) -> Self {
        self.shape.summary = summary;
        self
    }

    fn query<T: JsonSchema>(mut self) -> Self {
        self.shape.query = Some(T::json_schema);
        self
    }

    fn keys(mut self) -> Self {
        self.shape.takes_keys = true;
        self
    }

    fn idempotent(mut self) -> Self {
        self.shape.takes_idempotency_key = true;
        self
    }

    fn takes<T: JsonSchema>(mut self, media_type: &'static str) -> Self {
        self.shape.takes.push((media_type, SchemaGenerator::subschema_for::<T>));
        self
    }

    fn gives<T: JsonSchema>(mut self, media_type: &'static str) -> Self {
        self.shape.gives.push((media_type, SchemaGenerator::subschema_for::<T>));
        self
    }

    fn gives_unready<T: JsonSchema>(mut self) -> Self {
        self.shape.gives_unready = Some(SchemaGenerator::subschema_for::<T>);
        self
    }
}

const fn feature(name: &'static str, scope: Scope) -> RpcRow {
    RpcRow { service: "FeatureService", name, scope, streams: false, sampled: false }
}

const fn admin(name: &'static str, scope: Scope) -> RpcRow {
    RpcRow { service: "AdminService", name, scope, streams: false, sampled: false }
}

impl RpcRow {
    const fn sampled(self) -> Self {
        Self { sampled: true, ..self }
    }

    const fn streams(self) -> Self {
        Self { streams: true, ..self }
    }
}

fn get(path: &'static str, rpc: &str, handler: Handler) -> Route {
    Route::new(Method::GET, path, Some(Rpc::named(rpc)), handler)
}

fn post(path: &'static str, rpc: &str, handler: Handler) -> Route {
    Route::new(Method::POST, path, Some(Rpc::named(rpc)), handler)
}

fn put(path: &'static str, rpc: &str, handler: Handler) -> Route {
    Route::new(Method::PUT, path, Some(Rpc::named(rpc)), handler)
}

fn delete(path: &'static str, rpc: &str, handler: Handler) -> Route {
    Route::new(Method::DELETE, path, Some(Rpc::named(rpc)), handler)
}

fn open(path: &'static str, handler: Handler) -> Route {
    Route::new(Method::GET, path, None, handler)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::DESCRIPTORS;
    use prost_reflect::DescriptorPool;

    #[test]
    fn the_rpcs_are_those_of_the_contract_in_its_order() {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let services = pool.services().filter(|service| service.package_name() == "larder.v1");
        let mut methods: Vec<_> =
            services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
        // Files come in the order of their names.
        methods.sort_by_key(|method| method.parent_service().name() == "AdminService");
        assert_eq!(methods.len(), RPCS.len());
        for (number, (method, row)) in methods.iter().zip(&RPCS).enumerate() {
            assert_eq!((method.parent_service().name(), method.name()), (row.service, row.name));
            assert_eq!(method.is_client_streaming(), row.streams, "{}", row.name);
            assert_eq!(method.is_server_streaming(), row.streams, "{}", row.name);
            let rpc = Rpc::of_grpc(&format!("/larder.v1.{}/{}", row.service, row.name));
            assert_eq!((rpc.name(), usize::from(rpc.number())), (row.name, number));
            assert_eq!(Rpc::of_number(rpc.number()), rpc);
        }
        assert_eq!(Rpc::of_number(200), Rpc::OTHER);
    }

    #[test]
    fn every_unary_rpc_has_a_route_and_every_route_is_found() {
        for row in RPCS.iter().filter(|row| !row.name.starts_with("Stream")) {
            let rpc = Rpc::named(row.name);
            assert!(routes().iter().any(|route| route.rpc == Some(rpc)), "{}", row.name);
        }
        for route in routes() {
            assert_eq!(
                Rpc::of_rest(&route.method, route.path),
                route.rpc.unwrap_or(Rpc::OTHER),
                "{}",
                route.path
            );
            assert!(!route.shape.gives.is_empty() && !route.shape.summary.is_empty(), "{}", route.path);
            // Streams are told before the router has matched.
            assert!(!route.streams || !route.path.contains('{'), "{}", route.path);
            assert_eq!(is_guarded(route.path), route.rpc.is_some(), "{}", route.path);
        }
        assert_eq!(Rpc::of_rest(&Method::PATCH, "/api/v1/features"), Rpc::OTHER);
        assert_eq!(Rpc::of_rest(&Method::GET, "/api/v1/nowhere"), Rpc::OTHER);
    }

    #[test]
    fn every_service_is_guarded_and_answers_for_its_own_rpcs() {
        for path in ["/larder.v1.FeatureService/other", "/larder.v1.AdminService/GetFeature"] {
            assert!(is_guarded(path));
            assert_eq!(Rpc::of_grpc(path), Rpc::OTHER);
        }
        for path in
            ["/larder.v1.FeatureService", "/larder.v1.Other/GetFeature", "/grpc.health.v1.Health/Check", "/"]
        {
            assert!(!is_guarded(path));
            assert_eq!(Rpc::of_grpc(path), Rpc::OTHER);
        }
        assert!(is_guarded("/api/v1/nowhere"));
    }
}
