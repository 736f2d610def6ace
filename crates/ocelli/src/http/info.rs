//! The models that are served, and the API description.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;

use super::AppState;
use super::path::Path;
use super::response::{json, to_json};
use super::target::ModelPath;
use crate::error::{Error, UnavailableReason};
use crate::models::catalog::Catalog;
use crate::models::served_model::ServedModel;
use ocelli_vision::{Activation, Task};

/// Written by hand; tests compare it with the routes and the status table.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

#[derive(Serialize)]
struct ModelList<'a> {
    models: Vec<AnyView<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnyView<'a> {
    Served(Box<ModelView<'a>>),
    Unavailable(AbsentView<'a>),
}

#[derive(Serialize)]
struct AbsentView<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct ModelView<'a> {
    name: &'a str,
    version: &'a str,
    digest: &'a str,
    state: &'static str,
    default: bool,
    task: Task,
    classes: usize,
    input: InputView<'a>,
    outputs: Vec<OutputView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<EngineView>,
}

#[derive(Serialize)]
struct InputView<'a> {
    width: u32,
    height: u32,
    name: &'a str,
}

#[derive(Serialize)]
struct OutputView<'a> {
    name: &'a str,
    activation: Activation,
    classes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels_source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f32>,
    normalize: bool,
}

#[derive(Serialize)]
struct EngineView {
    name: String,
    version: String,
    instances: usize,
    threads_per_instance: usize,
    max_batch: usize,
    batch_cost_ms: Vec<BatchCost>,
}

#[derive(Serialize)]
struct BatchCost {
    batch: usize,
    ms: f64,
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response {
    json(Bytes::from_static(OPENAPI.as_bytes()))
}

/// `GET /v1/models`.
pub(super) async fn models(State(state): State<AppState>) -> Result<Response, Error> {
    let catalog = &state.infer.catalog;
    let (models, absent) = (catalog.all(), catalog.absent());
    let models = models
        .iter()
        .map(|model| AnyView::Served(Box::new(view(model, catalog))));
    let absent = absent.iter().map(|absent| {
        AnyView::Unavailable(AbsentView {
            name: &absent.name,
            version: absent.version.as_deref(),
            state: absent.reason.name(),
            reason: match &absent.reason {
                UnavailableReason::Failed(why) => Some(why),
                UnavailableReason::Loading | UnavailableReason::Unloading => None,
            },
        })
    });
    to_json(&ModelList {
        models: models.chain(absent).collect(),
    })
}

/// `GET /v1/models/{model}`, with or without a version.
pub(super) async fn model(
    State(state): State<AppState>,
    Path(path): Path<ModelPath>,
) -> Result<Response, Error> {
    let model = path.find(&state.infer.catalog)?;
    to_json(&view(&model, &state.infer.catalog))
}

fn view<'a>(model: &'a ServedModel, catalog: &Catalog) -> ModelView<'a> {
    let manifest = &model.card.manifest;
    let input = model.input();
    ModelView {
        name: &model.id.name,
        version: &model.id.version,
        digest: &model.id.digest,
        state: model.state(),
        default: catalog.is_default(model),
        task: manifest.task,
        classes: model.labels_of(0).len(),
        input: InputView {
            width: input.width,
            height: input.height,
            name: &input.name,
        },
        outputs: manifest
            .outputs
            .iter()
            .enumerate()
            .map(|(index, output)| OutputView {
                name: &output.name,
                activation: output.activation,
                classes: model.labels_of(index).len(),
                labels_source: output.labels_source.as_deref().or(output.labels.as_deref()),
                threshold: model.threshold_of(index),
                normalize: output.normalize,
            })
            .collect(),
        license: manifest.license.as_deref(),
        source: manifest.source.as_deref(),
        engine: model.runtime().map(|runtime| EngineView {
            name: runtime.engine,
            version: runtime.engine_version,
            instances: runtime.instances,
            threads_per_instance: runtime.threads_per_instance,
            max_batch: runtime.max_batch,
            batch_cost_ms: runtime
                .cost
                .entries()
                .map(|(batch, cost)| BatchCost {
                    batch,
                    ms: cost.as_secs_f64() * 1e3,
                })
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::error::Cause;

    /// An error with each code.
    fn errors() -> Vec<Error> {
        let (text, time) = (String::new, Duration::ZERO);
        vec![
            Error::InvalidRequest(text()),
            Error::InvalidImage(text()),
            Error::NotInRepository {
                name: text(),
                known: text(),
            },
            Error::UnknownRoute {
                path: text(),
                instead: "",
            },
            Error::UnknownJob,
            Error::MethodNotAllowed(text()),
            Error::HeaderTimeout(time),
            Error::BodyTimeout(text()),
            Error::IdempotencyInProgress,
            Error::IdempotencyConflict,
            Error::TooLarge(text()),
            Error::UnsupportedMediaType(text()),
            Error::LoadFailed(text()),
            Error::QueueFull { retry_after: time },
            Error::DeadlineUnreachable {
                predicted: time,
                timeout: time,
                retry_after: time,
            },
            Error::TooManyJobs { retry_after: time },
            Error::DeadlineExceeded(time),
            Error::Unloaded,
            Error::NoWorker(text()),
            Error::BrokerUnavailable(text()),
            Error::Poisonous,
            Error::Forbidden(text()),
            Error::Internal(Cause::new("")),
        ]
    }

    #[test]
    fn the_description_names_every_error_and_no_other() {
        let description: Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let known: BTreeSet<(u64, &str)> = errors()
            .iter()
            .map(|error| (error.status().http.into(), error.status().code))
            .collect();
        let codes = &description["components"]["schemas"]["Error"]["properties"]["code"]["enum"];
        let codes: BTreeSet<&str> = codes
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(codes, known.iter().map(|(_, code)| *code).collect());
        // The text lists them by status: `400 invalid_request, invalid_image; 404 ...`.
        let text = description["components"]["responses"]["Error"]["description"].as_str();
        let mut listed = BTreeSet::new();
        for group in text.expect("a text").trim_end_matches('.').split("; ") {
            let (status, codes) = group.split_once(' ').expect("a status and its codes");
            for code in codes.split(", ") {
                let code = code.split(' ').next().unwrap_or_default();
                listed.insert((status.parse().expect("a number"), code));
            }
        }
        assert_eq!(listed, known);
    }
}
