//! The API description: every answer that any test here gets is held against it, and it against the routes.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use hyper::Method;
use serde_json::Value;

use crate::harness::client::Answer;
use crate::harness::server::Server;

static DESCRIPTION: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../src/http/openapi.json")).unwrap());

/// Holds an answer against the description: its route, its status, its content type and its body.
#[track_caller]
pub(crate) fn check(method: &Method, target: &str, answer: &Answer) {
    let responses = operation(method, target).map(|operation| &operation["responses"]);
    let response = match responses {
        Some(responses) => responses
            .get(answer.status.as_str())
            .or_else(|| responses.get("default"))
            .unwrap_or_else(|| panic!("{method} {target} may not answer {answer:?}")),
        None => {
            assert!(matches!(answer.status.as_u16(), 404 | 405), "{answer:?}");
            &DESCRIPTION["components"]["responses"]["Error"]
        }
    };
    let response = resolve(response);
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let optional = name == "Retry-After";
        assert!(
            optional || answer.headers.contains_key(name),
            "{header} is missing in {answer:?}"
        );
    }
    if response["content"].is_null() {
        assert!(
            answer.body.is_empty(),
            "{method} {target} may not answer {answer:?}"
        );
        return;
    }
    let essence = answer.header("content-type").split(';').next().unwrap();
    let schema = &response["content"][essence]["schema"];
    assert!(!schema.is_null(), "{method} {target} may not answer {essence}");
    if essence == "application/json" {
        validate(&answer.json(), schema).unwrap_or_else(|wrong| panic!("{wrong} in {answer:?}"));
    }
}

/// The description of the route that takes this request.
fn operation(method: &Method, target: &str) -> Option<&'static Value> {
    let path: Vec<&str> = target.split('?').next().unwrap().split('/').collect();
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    let (_, operations) = paths.iter().find(|(template, _)| {
        let template: Vec<&str> = template.split('/').collect();
        template.len() == path.len()
            && template
                .iter()
                .zip(&path)
                .all(|(wanted, part)| wanted.starts_with('{') || wanted == part)
    })?;
    operations.get(method.as_str().to_lowercase())
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => resolve(DESCRIPTION.pointer(&reference[1..]).unwrap()),
        None => value,
    }
}

/// As much of JSON Schema as the description uses.
fn validate(value: &Value, schema: &'static Value) -> Result<(), String> {
    let schema = resolve(schema).as_object().unwrap();
    let wrong = |rule: &str| Err(format!("{value} breaks {rule}: {}", schema[rule]));
    for (rule, wanted) in schema {
        let holds = match rule.as_str() {
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                other => panic!("the description names the unknown type {other}"),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_f64() >= wanted.as_f64(),
            "maximum" => value.as_f64() <= wanted.as_f64(),
            "required" => wanted
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "oneOf" => {
                let schemas = wanted.as_array().unwrap();
                let fitting = schemas.iter().filter(|schema| validate(value, schema).is_ok());
                fitting.count() == 1
            }
            "items" => {
                let mut items = value.as_array().into_iter().flatten();
                items.try_for_each(|item| validate(item, wanted))?;
                true
            }
            "properties" => {
                let properties = wanted.as_object().unwrap();
                // The description is complete: an answer says nothing that it does not name.
                for (name, value) in value.as_object().into_iter().flatten() {
                    let property = properties.get(name).ok_or(format!("{name} is not described"))?;
                    validate(value, property)?;
                }
                true
            }
            "description" => true,
            other => panic!("the description uses the rule {other}, which this test does not know"),
        };
        if !holds {
            return wrong(rule);
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_description_is_served_as_it_is() {
    let server = Server::start().await;
    assert_eq!(server.get("/openapi.json").send().await.ok(), *DESCRIPTION);
}

#[test]
fn the_description_names_every_route_and_no_other() {
    let routes: BTreeSet<(String, String)> = ocelli::http::public_routes()
        .into_iter()
        .map(|route| (route.path.to_owned(), route.method.as_str().to_lowercase()))
        .collect();
    let described: BTreeSet<(String, String)> = DESCRIPTION["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, operations)| {
            let methods = operations.as_object().unwrap().keys();
            methods.map(move |method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(described, routes);
}

#[tokio::test]
async fn every_described_route_is_counted_under_its_own_name() {
    let server = Server::start().await;
    for (path, operations) in DESCRIPTION["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let target = path.replace("{model}", "efficientnet-lite0");
            let target = target.replace("{version}", "1").replace("{id}", "0");
            let call = match method.as_str() {
                "get" => server.get(&target),
                "post" => server.post(&target),
                "delete" => server.delete(&target),
                other => panic!("{other} is not tested yet"),
            };
            let answer = call.send().await;
            let code = if answer.status == 200 {
                "ok".to_owned()
            } else {
                answer.json()["code"].as_str().unwrap().to_owned()
            };
            let status = answer.status.as_u16();
            let name =
                format!("ocelli_requests_total{{route=\"{path}\",status=\"{status}\",code=\"{code}\"}}");
            assert!(server.metric(&name).await >= 1.0, "{name} is missing");
        }
    }
}
