//! What the server says of what it serves: models, the API description.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::AppState;
use super::path::Path;
use super::response::{json, to_json};
use crate::error::{Error, UnavailableReason};
use crate::models::catalog::Catalog;
use crate::models::served_model::ServedModel;
use ocelli_vision::{Activation, Task};

/// The description of the API, kept by hand and checked against the routes and the status table by a test.
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

/// A model that does not answer.
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

/// The model that a path names: `/v1/models/{model}/..` or `/v1/models/{model}/versions/{version}/..`.
#[derive(Deserialize)]
pub(super) struct Named {
    model: String,
    #[serde(default)]
    version: Option<String>,
}

impl Named {
    /// That model.
    ///
    /// # Errors
    /// As [`Catalog::find`].
    pub(super) fn find(&self, catalog: &Catalog) -> Result<Arc<ServedModel>, Error> {
        match &self.version {
            Some(version) => catalog.find_version(&self.model, version),
            None => catalog.find(Some(&self.model)),
        }
    }
}

/// `GET /v1/models/{model}`, with or without a version.
pub(super) async fn model(
    State(state): State<AppState>,
    Path(named): Path<Named>,
) -> Result<Response, Error> {
    let model = named.find(&state.infer.catalog)?;
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
