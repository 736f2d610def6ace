//! Loading and unloading models while the process serves: the model repository extension of the Open Inference Protocol, at
//! an address of its own. Whoever reaches it may change what is served.

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

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What there is here, for those who ask for something else.
const INSTEAD: &str = "GET /v2/repository/index lists the models, POST /v2/repository/models/NAME/load and .../unload change \
                       them; photos and probes are for the address in --listen";

/// What may be asked for. What Triton's clients say beside it concerns nothing here.
#[derive(Debug, Default, Deserialize)]
struct RepositoryCall {
    #[serde(default)]
    parameters: Parameters,
    /// In the index: only those that serve.
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
/// Reaching them is all that it takes to change what is served, so requests that a browser may send for a page of another
/// site are refused.
pub fn admin_router(models: Models, names: HostNames, probe: Probe) -> Router {
    let mut routes = Routes::new("", native_error)
        .get("/v2/repository/index", index)
        .post("/v2/repository/index", index)
        .post("/v2/repository/models/{model}/load", load)
        .post("/v2/repository/models/{model}/unload", unload)
        .with_state(models);
    routes.router = routes.router.layer(from_fn_with_state(names, only_own));
    // No page of another origin reads anything here, whatever the other address allows.
    finished(routes, probe, Cors::default(), INSTEAD)
}

/// `GET` or `POST /v2/repository/index`: everything that is there, loaded or not.
async fn index(State(models): State<Models>, request: HttpRequest) -> Result<Response, Error> {
    let asked = asked(&request).await?;
    show(&models, |standing| !asked.ready || standing.state == "ready").await
}

/// `POST /v2/repository/models/{model}/load`: answers when requests find the model.
async fn load(
    State(models): State<Models>,
    Path(name): Path<String>,
    request: HttpRequest,
) -> Result<Response, Error> {
    let asked = asked(&request).await?;
    models.load(&name, asked.parameters.version.as_deref()).await?;
    show(&models, |standing| standing.name == name).await
}

/// `POST /v2/repository/models/{model}/unload`: answers when what the model had is answered and it is gone.
async fn unload(
    State(models): State<Models>,
    Path(name): Path<String>,
    request: HttpRequest,
) -> Result<Response, Error> {
    let asked = asked(&request).await?;
    models.unload(&name, asked.parameters.version.as_deref()).await?;
    show(&models, |standing| standing.name == name).await
}

async fn show(models: &Models, wanted: impl Fn(&ModelStatus) -> bool) -> Result<Response, Error> {
    let index = models.index().await?.into_iter().filter(wanted);
    let views = index.map(|standing| View {
        name: standing.name,
        version: standing.version,
        state: standing.state,
        reason: standing.reason,
    });
    to_json(&views.collect::<Vec<View>>())
}

/// What the body says; none says nothing.
async fn asked(request: &HttpRequest) -> Result<RepositoryCall, Error> {
    let deadline = Deadline::new(Instant::now(), BODY_TIME);
    let bytes = request.context.body.read(MAX_BODY, deadline, |_| Ok(())).await?;
    if bytes.trim_ascii().is_empty() {
        return Ok(RepositoryCall::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::InvalidRequest(format!(
            "the body is not what this route takes: {error}; send nothing, or {{\"parameters\":{{\"version\":\"2\"}}}}"
        ))
    })
}
