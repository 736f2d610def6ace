//! What the server says of itself: probes, models, metrics, the API description.

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::answer::json;
use crate::error::Error;
use crate::lifecycle::Stage;
use crate::model::ServedModel;

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
    classes: usize,
    input: InputView<'a>,
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
struct EngineView {
    name: &'static str,
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

/// `GET /livez`: the process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: requests will be computed.
pub(super) async fn ready(State(state): State<AppState>) -> Result<&'static str, Error> {
    match state.lifecycle.stage() {
        Stage::Starting => Err(Error::NotReady("it is loading its models")),
        Stage::Draining | Stage::Closing => Err(Error::NotReady("it is stopping")),
        Stage::Serving if state.infer.models.iter().all(|model| model.is_ready()) => Ok("ready\n"),
        Stage::Serving => Err(Error::NotReady("an engine is being rebuilt")),
    }
}

/// `GET /metrics`, in the OpenMetrics text format.
pub(super) async fn metrics(State(state): State<AppState>) -> Result<Response, Error> {
    let load = state.infer.admission.load();
    let metrics = &state.infer.metrics;
    metrics.admitted_images.set(load.jobs as i64);
    metrics.admitted_bytes.set(load.bytes as i64);
    metrics.queue_depth.set(state.infer.broker.depth() as i64);
    let ready =
        state.lifecycle.stage() == Stage::Serving && state.infer.models.iter().all(|model| model.is_ready());
    metrics.ready.set(i64::from(ready));
    for model in state.infer.models.iter() {
        if let Some(runtime) = model.runtime() {
            metrics.set_batch_costs(&model.id.name, runtime.cost.entries());
        }
    }
    let text = metrics.encode().map_err(|error| {
        tracing::error!(%error, "the metrics could not be encoded");
        Error::Internal
    })?;
    let mut response = text.into_response();
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(openmetrics));
    Ok(response)
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response {
    json(OPENAPI.as_bytes().to_vec())
}

/// `GET /v1/models`.
pub(super) async fn models(State(state): State<AppState>) -> Result<Response, Error> {
    let views = state.infer.models.iter().enumerate();
    to_json(&ModelList {
        models: views.map(|(index, model)| view(model, index == 0)).collect(),
    })
}

/// `GET /v1/models/{model}`.
pub(super) async fn model(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let model = state.infer.model(Some(&name))?;
    let default = state
        .infer
        .models
        .first()
        .is_some_and(|first| first.id == model.id);
    to_json(&view(model, default))
}

fn view(model: &ServedModel, default: bool) -> ModelView<'_> {
    let manifest = &model.package.manifest;
    let input = model.input();
    ModelView {
        name: &model.id.name,
        version: &model.id.version,
        digest: &model.id.digest,
        state: if model.is_ready() { "ready" } else { "loading" },
        default,
        classes: model.labels().len(),
        input: InputView {
            width: input.width,
            height: input.height,
            name: &input.name,
        },
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

fn to_json(body: &impl Serialize) -> Result<Response, Error> {
    serde_json::to_vec(body).map(json).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Error::Internal
    })
}
