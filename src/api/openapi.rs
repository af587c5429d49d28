//! `GET /api/v1/openapi.json`: OpenAPI 3.1, made from the table of routes and the schemas of their shapes.

use super::{
    error::{ErrorCode, Problem},
    routes::{JSON, METRICS, Route, RouteShape, SchemaOf, routes},
};
use crate::access::Scope;
use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::LazyLock};

const PROBLEM: &str = "application/problem+json";

/// An OpenAPI document.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub(super) struct Document(#[expect(dead_code, reason = "only its schema is used")] BTreeMap<String, Value>);

/// The document of this server; anybody may read it.
pub(super) async fn document() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(build().to_string()));
    ([(header::CONTENT_TYPE, JSON)], DOCUMENT.clone()).into_response()
}

/// Schemas of what is read and of what is written: a member that may be left out of a request is there in an answer.
struct Schemas {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

fn build() -> Value {
    let settings = |settings: SchemaSettings| {
        let within_document = settings.with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        within_document.into_generator()
    };
    let mut schemas = Schemas {
        taken: settings(SchemaSettings::draft2020_12().for_deserialize()),
        given: settings(SchemaSettings::draft2020_12().for_serialize()),
    };
    let problem = schemas.given.subschema_for::<Problem<'static>>();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes() {
        let method = route.method.as_str().to_lowercase();
        paths.entry(route.path).or_default().insert(method, operation(&route, &mut schemas));
    }
    let mut components = schemas.given.take_definitions(true);
    components.extend(schemas.taken.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Larder",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A feature store that serves. Errors are problems (RFC 9457); every answer carries x-request-id.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                "Problem": {
                    "description": "Why the call was refused.",
                    "content": {PROBLEM: {"schema": problem}},
                },
            },
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let RouteShape { summary, takes, gives, gives_unready, .. } = &route.shape;
    let row = route.rpc.and_then(|rpc| rpc.row());
    let mut responses = Map::new();
    let answer = |description: &str, gives: &[(&str, SchemaOf)], schemas: &mut Schemas| json!({"description": description, "content": content(gives, &mut schemas.given)});
    responses.insert("200".to_owned(), answer("The answer.", gives, schemas));
    for cause in causes(route) {
        responses.insert(
            cause.mapping().http.as_str().to_owned(),
            json!({"$ref": "#/components/responses/Problem"}),
        );
    }
    if let Some(schema) = gives_unready {
        responses.insert("503".to_owned(), answer("A part cannot work.", &[(JSON, *schema)], schemas));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": summary,
        "tags": [row.map_or("server", |row| row.service)],
        "parameters": parameters(route, &mut schemas.taken),
        "responses": responses,
    });
    match row {
        Some(row) => {
            operation["description"] = match row.scope {
                Scope::Operator => "Needs a key with the scope operator.".into(),
                scope => format!("Needs a key with the scope {}. RPC: {}.", scope.name(), row.name).into(),
            }
        }
        None => operation["security"] = json!([]),
    }
    if !takes.is_empty() {
        operation["requestBody"] = json!({"required": true, "content": content(takes, &mut schemas.taken)});
    }
    operation
}

fn content(shapes: &[(&str, SchemaOf)], generator: &mut SchemaGenerator) -> Value {
    let by_media_type =
        shapes.iter().map(|(name, schema)| ((*name).to_owned(), json!({"schema": schema(generator)})));
    Value::Object(by_media_type.collect())
}

/// Why a call of this route may be refused.
fn causes(route: &Route) -> Vec<ErrorCode> {
    use crate::error::Kind::*;
    let mut causes = vec![
        ErrorCode::UriTooLong,
        ErrorCode::HeadersTooLarge,
        ErrorCode::Kind(Internal),
        ErrorCode::Kind(DeadlineExceeded),
    ];
    if route.rpc.is_some() {
        let kinds = [InvalidArgument, Unauthenticated, PermissionDenied, NotFound, RateLimited, Unavailable];
        causes.extend(kinds.map(ErrorCode::Kind));
    }
    if !route.shape.takes.is_empty() {
        causes.extend([AlreadyExists, Aborted, TooLarge].map(ErrorCode::Kind));
        causes.extend([ErrorCode::BodyTimeout, ErrorCode::UnsupportedMediaType]);
    }
    if route.shape.gives.len() > 1 {
        causes.push(ErrorCode::NotAcceptable);
    }
    if route.path == METRICS {
        causes.extend([Unauthenticated, PermissionDenied].map(ErrorCode::Kind));
    }
    causes
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
        .collect();
    if let Some(query) = route.shape.query {
        let schema = query(generator);
        let members = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        parameters.extend(members.into_iter().map(|(name, schema)| query_parameter(&name, schema)));
    }
    if route.shape.takes_keys {
        parameters.push(json!({
            "name": "keys", "in": "query", "style": "form", "explode": true,
            "description": "A composite key: one parameter for each of its keys, such as user=u1&merchant=m7.",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }));
    }
    if route.shape.takes_idempotency_key {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": {"type": "string"},
            "description": "Kept 24 hours: the same key with the same body returns the first answer, with another body it is 409.",
        }));
    }
    parameters
}

/// A query has no null: what is not given is left out.
fn query_parameter(name: &str, mut schema: Value) -> Value {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|known| known != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.as_object_mut().map(|schema| schema.remove("default"));
    }
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    json!({"name": name, "in": "query", "schema": schema, "description": description.unwrap_or_else(|| "".into())})
}

/// `post_features_online_packed`
fn operation_id(route: &Route) -> String {
    let words = route.path.trim_start_matches("/api/v1").split(|char: char| !char.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    format!("{}_{}", route.method.as_str().to_lowercase(), words.join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let document = build();
        let paths = document["paths"].as_object().unwrap();
        let documented: usize = paths.values().map(|methods| methods.as_object().unwrap().len()).sum();
        assert_eq!(documented, routes().len());
        let mut ids: Vec<_> = Vec::new();
        for route in routes() {
            let operation = &paths[route.path][route.method.as_str().to_lowercase()];
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
            assert_eq!(
                operation.get("requestBody").is_some(),
                !route.shape.takes.is_empty(),
                "{}",
                route.path
            );
            assert_eq!(operation["security"] == json!([]), route.rpc.is_none(), "{}", route.path);
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), documented);
    }

    #[test]
    fn every_reference_leads_to_a_component() {
        let document = build();
        let text = document.to_string();
        let references: Vec<_> =
            text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(references.len() > 50);
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    /// A shape that is read has another name than one that is written.
    #[test]
    fn no_two_schemas_share_a_name() {
        let settings = |settings: SchemaSettings| settings.into_generator();
        let mut schemas = Schemas {
            taken: settings(SchemaSettings::draft2020_12().for_deserialize()),
            given: settings(SchemaSettings::draft2020_12().for_serialize()),
        };
        routes().iter().for_each(|route| drop(operation(route, &mut schemas)));
        let (taken, given) = (schemas.taken.take_definitions(true), schemas.given.take_definitions(true));
        let both: Vec<_> = taken
            .iter()
            .filter(|(name, schema)| given.get(*name).is_some_and(|other| other != *schema))
            .collect();
        assert!(both.is_empty(), "{both:?}");
    }
}
