//! The document of REST, held to the server that serves it.

use crate::support::{TestApp, send};
use larder::access::Scope;
use reqwest::Method;
use serde_json::{Value as Json, json};

/// Bodies that get as far as the judgement of the scope; other calls take an empty object.
const BODIES: [(&str, &str); 6] = [
    ("/api/v1/feature-sets/{name}", r#"{"features": []}"#),
    ("/api/v1/features/explain", r#"{"feature": "f"}"#),
    ("/api/v1/features/{name}/status", r#"{"status": "active"}"#),
    ("/api/v1/features/batch", r#"{"features": ["f"], "spine": []}"#),
    ("/api/v1/features/write", r#"{"rows": [{}]}"#),
    ("/api/v1/events", r#"{"entity_id": "u", "event_type": "buy", "timestamp": "2024-01-15T14:22:00Z"}"#),
];

#[tokio::test]
async fn anybody_may_read_the_document() {
    let app = TestApp::start().await;
    let answer = app.rest_with(None).get("/api/v1/openapi.json").await;
    let document = answer.json(200);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["components"]["securitySchemes"]["key"]["name"], "X-API-Key");
    app.rest_with(None).post("/api/v1/openapi.json", &json!({})).await.problem(405);
}

/// Every operation that is documented is there, needs the scope that it says, and documents how it was refused.
#[tokio::test]
async fn every_operation_needs_the_scope_that_it_says() {
    let app = TestApp::start().await;
    let document = app.rest().get("/api/v1/openapi.json").await.json(200);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["security"] == json!([]) {
                assert_eq!(app.rest_with(None).get(path).await.status, 200, "{path}");
                continue;
            }
            let description = operation["description"].as_str().unwrap();
            let scope =
                Scope::ALL.into_iter().find(|scope| description.contains(&format!("scope {}", scope.name())));
            let others: Vec<Scope> = Scope::ALL.into_iter().filter(|other| Some(*other) != scope).collect();
            let key = app.key_of("default", &others).await;
            for (key, status) in [(Some(key.as_str()), 403), (None, 401)] {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let at = path.replace("{name}", "f@1").replace("{entity_id}", "u");
                let body = BODIES.iter().find(|(known, _)| known == path).map_or("{}", |(_, body)| *body);
                let request =
                    app.rest_with(key).request(method, &at).header("content-type", "application/json");
                let answer = send(request.body(body)).await;
                assert_eq!(answer.status, status, "{path}: {}", answer.text);
                let documented = |status: u16| operation["responses"].get(status.to_string()).is_some();
                assert!(documented(answer.status) && documented(200), "{path}");
            }
        }
    }
}

/// Members of real answers are those of their schemas.
#[tokio::test]
async fn answers_have_the_members_that_are_documented() {
    let app = TestApp::start().await;
    let rest = app.rest();
    let window = json!({"event_type": "buy", "function": "percentile", "quantile": 0.5, "size": "5m", "field": "value"});
    let features = json!({"features": [
        {"name": "country", "entity_type": "user", "dtype": "string", "ttl": "1h"},
        {"name": "spent", "entity_type": "user", "dtype": "float64", "window": window},
    ]});
    let registered = rest.post("/api/v1/features/register", &features).await.json(200);
    let row =
        json!({"entity_id": "u", "event_timestamp": "2024-01-15T14:22:00Z", "values": {"country": "GB"}});
    let written = rest.post("/api/v1/features/write", &json!({"rows": [row]})).await.json(200);
    let set = rest.put("/api/v1/feature-sets/s", &json!({"features": ["country"]})).await.json(200);
    let question = json!({"entity_id": "u", "feature": "country"});
    let online = json!({"entity_ids": ["u"], "features": ["country"]});
    let spine = json!([{"entity_id": "u", "timestamp": "2024-01-15T15:00:00Z"}]);
    let answers = [
        ("Registered", registered),
        ("Written", written),
        ("FeatureSet", set),
        ("FeatureList", rest.get("/api/v1/features").await.json(200)),
        ("History", rest.get("/api/v1/features/country/history?entity_id=u").await.json(200)),
        ("FeatureStatistics", rest.get("/api/v1/features/country/statistics").await.json(200)),
        ("Explanation", rest.post("/api/v1/features/explain", &question).await.json(200)),
        ("OnlineAnswer", rest.post("/api/v1/features/online", &online).await.json(200)),
        (
            "TrainingSet",
            rest.post("/api/v1/features/batch", &json!({"features": ["country"], "spine": spine}))
                .await
                .json(200),
        ),
        ("StreamList", rest.get("/api/v1/admin/streams").await.json(200)),
        ("Problem", rest.get("/api/v1/features/none").await.json(404)),
    ];
    let document = rest.get("/api/v1/openapi.json").await.json(200);
    for (name, answer) in answers {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        check(&document, &schema, &answer, name);
    }
}

/// Whether an answer has every member that its schema requires, and none that it does not know.
fn check(document: &Json, schema: &Json, answer: &Json, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(&reference[1..]).unwrap_or_else(|| panic!("{at}: no {reference}"));
        return check(document, schema, answer, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let chosen = choices.iter().find(|choice| (choice["type"] == "null") == answer.is_null());
        return check(document, chosen.unwrap_or_else(|| panic!("{at}: {answer}")), answer, at);
    }
    match answer {
        Json::Object(members) => {
            let known = schema["properties"].as_object();
            let required = schema["required"].as_array().into_iter().flatten();
            required
                .for_each(|name| assert!(members.contains_key(name.as_str().unwrap()), "{at} lacks {name}"));
            for (name, member) in members {
                let schema = known.and_then(|known| known.get(name)).or(schema.get("additionalProperties"));
                let schema = schema.unwrap_or_else(|| panic!("{at}: {name} is not documented"));
                check(document, schema, member, &format!("{at}.{name}"));
            }
        }
        Json::Array(entries) => entries.iter().for_each(|entry| check(document, &schema["items"], entry, at)),
        leaf => {
            let types = &schema["type"];
            let of = |name: &str| match name {
                "null" => leaf.is_null(),
                "boolean" => leaf.is_boolean(),
                "string" => leaf.is_string(),
                "integer" => leaf.is_u64() || leaf.is_i64(),
                "number" => leaf.is_number(),
                other => panic!("{at}: {other}"),
            };
            let named: Vec<_> = types
                .as_str()
                .into_iter()
                .chain(types.as_array().into_iter().flatten().filter_map(Json::as_str))
                .collect();
            assert!(named.is_empty() || named.into_iter().any(of), "{at}: {leaf} is not {types}");
        }
    }
}
