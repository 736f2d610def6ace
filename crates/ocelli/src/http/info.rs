//! What the server says of what it serves: models, the API description.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::AppState;
use super::answer::{json, to_json};
use crate::error::Error;
use crate::model::ServedModel;
use ocelli_vision::{Activation, Task};

/// The description of the API, kept by hand and checked against the routes and the status table by a test.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

#[derive(Serialize)]
struct ModelList<'a> {
    models: Vec<ModelView<'a>>,
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
    json(OPENAPI.as_bytes().to_vec())
}

/// `GET /v1/models`.
pub(super) async fn models(State(state): State<AppState>) -> Result<Response, Error> {
    let (models, default) = (state.infer.catalog.all(), state.infer.catalog.default_name());
    let models = models.iter().map(|model| view(model, default.as_deref()));
    to_json(&ModelList {
        models: models.collect(),
    })
}

/// `GET /v1/models/{model}`.
pub(super) async fn model(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let model = state.infer.catalog.find(Some(&name))?;
    to_json(&view(&model, state.infer.catalog.default_name().as_deref()))
}

fn view<'a>(model: &'a ServedModel, default: Option<&str>) -> ModelView<'a> {
    let manifest = &model.card.manifest;
    let input = model.input();
    ModelView {
        name: &model.id.name,
        version: &model.id.version,
        digest: &model.id.digest,
        state: match model.ready() {
            Ok(()) => "ready",
            Err(Error::NoWorker(_)) => "no_worker",
            Err(_) => "loading",
        },
        default: default == Some(&model.id.name),
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
