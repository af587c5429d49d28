//! The verbs, in the order of the contract: what each is called in gRPC and in REST.

use crate::telemetry::Labels;
use http::Method;
use tonic::Code;

macro_rules! verbs {
    ($($service:ident { $($verb:ident)* })*) => {
        /// What a request asks for. Labels metrics and log lines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Verb {
            $($($verb,)*)*
            /// Health, reflection, metrics, and whatever no path is for.
            Other,
        }

        /// By number.
        pub(super) const VERBS: &[Verb] = &[$($(Verb::$verb,)*)* Verb::Other];
        /// By number.
        const NAMES: &[&str] = &[$($(stringify!($verb),)*)* "other"];
        /// The services of the contract, each with its verbs.
        const SERVICES: &[(&str, &[Verb])] = &[$((stringify!($service), &[$(Verb::$verb,)*]),)*];
    };
}

verbs! {
    FeatureService {
        GetOnlineFeatures
        GetHistoricalFeatures
        RegisterFeatures
        SetFeatureStatus
        GetFeature
        ListFeatures
        PutFeatureSet
        GetFeatureSet
        ListFeatureSets
        WriteFeatures
        StreamWriteFeatures
        PublishEvents
        StreamPublishEvents
        GetFeatureHistory
        GetFeatureStatistics
        ExplainFeature
        InvalidateCache
    }
    AdminService {
        ListStreams
        ListBackfills
        ListLateEvents
        ListDeadLetters
    }
}

use Verb::*;

/// Every path of REST with the verb it stands for. Streamed writes and events come on
/// the same paths, with lines in their bodies.
pub(super) const ROUTES: [(Method, &str, Verb); 23] = [
    (Method::POST, "/api/v1/features/online", GetOnlineFeatures),
    (Method::POST, "/api/v1/features/online:packed", GetOnlineFeatures),
    (Method::POST, "/api/v1/features/batch", GetHistoricalFeatures),
    (Method::POST, "/api/v1/features/register", RegisterFeatures),
    (Method::POST, "/api/v1/features/{name}/status", SetFeatureStatus),
    (Method::GET, "/api/v1/features/{name}", GetFeature),
    (Method::GET, "/api/v1/features", ListFeatures),
    (Method::PUT, "/api/v1/feature-sets/{name}", PutFeatureSet),
    (Method::GET, "/api/v1/feature-sets/{name}", GetFeatureSet),
    (Method::GET, "/api/v1/feature-sets", ListFeatureSets),
    (Method::POST, "/api/v1/features/write", WriteFeatures),
    (Method::POST, "/api/v1/events", PublishEvents),
    (Method::GET, "/api/v1/features/{name}/history", GetFeatureHistory),
    (Method::GET, "/api/v1/features/{name}/statistics", GetFeatureStatistics),
    (Method::POST, "/api/v1/features/explain", ExplainFeature),
    (Method::GET, "/api/v1/features/explain", GetFeature),
    (Method::DELETE, "/api/v1/cache/invalidate/{entity_id}", InvalidateCache),
    (Method::POST, "/api/v1/cache/invalidate", InvalidateCache),
    (Method::GET, "/api/v1/admin/streams", ListStreams),
    (Method::GET, "/api/v1/admin/backfills", ListBackfills),
    (Method::GET, "/api/v1/admin/late-events", ListLateEvents),
    (Method::GET, "/api/v1/admin/dead-letters", ListDeadLetters),
    (Method::GET, "/metrics", Other),
];

/// Where the contract's services lie.
const GRPC_PACKAGE: &str = "/larder.v1.";
const REST_PREFIX: &str = "/api/v1/";

/// Whether only callers with a key may ask here, whatever there is.
pub(super) fn is_guarded(path: &str) -> bool {
    path.starts_with(REST_PREFIX) || method(path).is_some()
}

/// The verbs of a service of the contract, and which of its methods a path names.
fn method(path: &str) -> Option<(&'static [Verb], &str)> {
    let (service, method) = path.strip_prefix(GRPC_PACKAGE)?.split_once('/')?;
    let (_, verbs) = SERVICES.iter().find(|(name, _)| *name == service)?;
    Some((verbs, method))
}

/// The language a request and its answer are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Grpc,
    Rest,
}

/// How metrics name what they count.
pub(super) const LABELS: Labels = Labels { transports: &["grpc", "rest"], verbs: NAMES, codes: &CODES };

/// By number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Verb {
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    pub(super) fn of_number(number: u8) -> Self {
        VERBS.get(usize::from(number)).copied().unwrap_or(Other)
    }

    /// The verb of a gRPC path.
    pub(super) fn of_grpc(path: &str) -> Self {
        let Some((verbs, method)) = method(path) else { return Other };
        verbs.iter().copied().find(|verb| verb.name() == method).unwrap_or(Other)
    }

    /// The verb of a REST route, by the pattern that the router matched.
    pub(super) fn of_rest(method: &Method, pattern: &str) -> Self {
        ROUTES
            .iter()
            .find(|(taken, path, _)| taken == method && *path == pattern)
            .map_or(Other, |(_, _, verb)| *verb)
    }
}

pub(super) fn code_name(code: Code) -> &'static str {
    CODES[code as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::DESCRIPTORS;
    use prost_reflect::DescriptorPool;

    #[test]
    fn the_verbs_are_those_of_the_contract_in_its_order() {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let ours = |service: &prost_reflect::ServiceDescriptor| service.package_name() == "larder.v1";
        assert_eq!(pool.services().filter(ours).count(), SERVICES.len());
        for (name, verbs) in SERVICES {
            let service = pool.get_service_by_name(&format!("larder.v1.{name}")).unwrap();
            let methods: Vec<_> = service.methods().map(|method| method.name().to_owned()).collect();
            assert_eq!(methods, verbs.iter().map(|verb| verb.name()).collect::<Vec<_>>());
            for (method, verb) in methods.iter().zip(*verbs) {
                assert_eq!(Verb::of_grpc(&format!("/larder.v1.{name}/{method}")), *verb);
            }
        }
        assert_eq!(SERVICES.iter().map(|(_, verbs)| verbs.len()).sum::<usize>(), VERBS.len() - 1);
        for (verb, number) in VERBS.iter().copied().zip(0..) {
            assert_eq!(verb as u8, number);
            assert_eq!(Verb::of_number(number), verb);
        }
    }

    #[test]
    fn every_service_is_guarded_and_answers_for_its_own_verbs() {
        for path in ["/larder.v1.FeatureService/other", "/larder.v1.AdminService/GetFeature"] {
            assert!(is_guarded(path));
            assert_eq!(Verb::of_grpc(path), Other);
        }
        for path in
            ["/larder.v1.FeatureService", "/larder.v1.Other/GetFeature", "/grpc.health.v1.Health/Check", "/"]
        {
            assert!(!is_guarded(path));
            assert_eq!(Verb::of_grpc(path), Other);
        }
        assert!(is_guarded("/api/v1/nowhere"));
    }

    #[test]
    fn codes_are_named_by_number() {
        for number in 0..17 {
            let code = Code::from_i32(number);
            assert_eq!(format!("{code:?}").to_uppercase(), code_name(code).replace('_', ""));
        }
    }
}
