//! Loads and unloads models while the process serves: the model repository extension of the Open Inference Protocol, at an
//! address of its own. Every client that reaches it may change the models.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::origin::{HostNames, only_own};
use super::path::Path;
use super::request::HttpRequest;
use super::response::{native_error, to_json};
use super::routes::Routes;
use super::{Cors, Probe, finished};
use crate::error::Error;
use crate::inference::Deadline;
use crate::model_manager::{ModelStatus, Models};

/// Bytes of a request's body: a few parameters.
const MAX_BODY: u64 = 64 * 1024;

const BODY_TIME: Duration = Duration::from_secs(10);

/// A hint for requests to unknown paths.
const INSTEAD: &str = "GET /v2/repository/index lists the models, POST /v2/repository/models/NAME/load and .../unload change \
                       them; photos and probes use the address in --listen";

/// The body of a request. Other fields, which Triton's clients send, are ignored.
#[derive(Debug, Default, Deserialize)]
struct RepositoryCall {
    #[serde(default)]
    parameters: Parameters,
    /// In the index: only ready models.
    #[serde(default)]
    ready: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    version: Option<String>,
}

#[derive(Serialize)]
struct View {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The routes that change the models.
///
/// There is no login, so requests that a browser may send for a page of another site are refused.
pub fn admin_router(models: Models, names: HostNames, probe: Probe) -> Router {
    let mut routes = Routes::new("", native_error)
        .get("/v2/repository/index", index)
        .post("/v2/repository/index", index)
        .post("/v2/repository/models/{model}/load", load)
        .post("/v2/repository/models/{model}/unload", unload)
        .with_state(models);
    routes.router = routes.router.layer(from_fn_with_state(names, only_own));
    // No page of another origin may read these, even if it may read those of the other address.
    finished(routes, probe, Cors::default(), INSTEAD)
}

/// `GET` or `POST /v2/repository/index`: all models, loaded or not.
async fn index(State(models): State<Models>, request: HttpRequest) -> Result<Response, Error> {
    let call = parse(&request).await?;
    show(&models, |status| !call.ready || status.state == "ready").await
}

/// `POST /v2/repository/models/{model}/load`: responds when requests find the model.
async fn load(
    State(models): State<Models>,
    Path(name): Path<String>,
    request: HttpRequest,
) -> Result<Response, Error> {
    let call = parse(&request).await?;
    models.load(&name, call.parameters.version.as_deref()).await?;
    show(&models, |status| status.name == name).await
}

/// `POST /v2/repository/models/{model}/unload`: responds when the model has answered its requests and is unloaded.
async fn unload(
    State(models): State<Models>,
    Path(name): Path<String>,
    request: HttpRequest,
) -> Result<Response, Error> {
    let call = parse(&request).await?;
    models.unload(&name, call.parameters.version.as_deref()).await?;
    show(&models, |status| status.name == name).await
}

async fn show(models: &Models, wanted: impl Fn(&ModelStatus) -> bool) -> Result<Response, Error> {
    let index = models.index().await?.into_iter().filter(wanted);
    let views = index.map(|status| View {
        name: status.name,
        version: status.version,
        state: status.state,
        reason: status.reason,
    });
    to_json(&views.collect::<Vec<View>>())
}

/// The parsed body; an empty one sets nothing.
async fn parse(request: &HttpRequest) -> Result<RepositoryCall, Error> {
    let deadline = Deadline::new(Instant::now(), BODY_TIME);
    let bytes = request.context.body.read(MAX_BODY, deadline, |_| Ok(())).await?;
    if bytes.trim_ascii().is_empty() {
        return Ok(RepositoryCall::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::InvalidRequest(format!(
            "the body is not valid for this route: {error}; send no body, or {{\"parameters\":{{\"version\":\"2\"}}}}"
        ))
    })
}
