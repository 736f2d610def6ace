//! HTTP/1.1 and h2c on one port: routes, limits and the form of answers. Everything about images happens in
//! [`crate::inference`]; a handler only translates.

pub(crate) mod access_log;
mod admin;
mod body;
pub(crate) mod conn;
mod cors;
mod front_page;
pub(crate) mod image_body;
mod info;
mod jobs;
mod off_thread;
mod origin;
mod path;
mod predict;
mod probes;
pub(crate) mod query;
pub(crate) mod request;
pub(crate) mod response;

use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Request};
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};

use crate::async_jobs::Jobs;
use crate::error::Error;
use crate::inference::Infer;

pub use admin::admin_router;
pub use conn::receiving::{Receiving, ReceivingLimits};
pub use conn::sending::SendingLimits;
pub use conn::serve;
pub use cors::{Cors, CorsOrigin};
pub use off_thread::OffThread;
pub use origin::HostNames;
pub use probes::{Health, Probe};

/// Limits and times of requests.
#[derive(Clone, Copy, Debug)]
pub struct HttpConfig {
    /// Bytes of a request's body.
    pub max_body: u64,
    pub max_images: usize,
    /// From the end of the headers to the answer, unless the request says otherwise.
    pub deadline: Duration,
    /// The most that a request may ask for.
    pub max_deadline: Duration,
    /// Limits of bodies that are still arriving.
    pub receiving: ReceivingLimits,
}

/// Limits and times of connections, whatever is asked on them.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionConfig {
    /// For the head of a request, the sniffing of the protocol included.
    pub header_timeout: Duration,
    /// Between the requests of a connection.
    pub idle_timeout: Duration,
    /// Connections open at once; more wait to be accepted.
    pub max_connections: usize,
    /// Limits of responses that wait for their clients.
    pub sending: SendingLimits,
    /// Whether each request gets a line in the log, whatever the log's level is.
    pub access_log: bool,
}

#[derive(Clone, Debug)]
pub struct AppState {
    pub infer: Infer,
    pub jobs: Jobs,
    pub config: HttpConfig,
    /// Bodies that are still arriving.
    pub receiving: Receiving,
    /// Where large bodies are parsed.
    pub off_thread: OffThread,
    /// Whose web pages may read responses.
    pub cors: Cors,
    /// What the process says of its own state.
    pub probe: Probe,
}

impl FromRef<AppState> for Probe {
    fn from_ref(state: &AppState) -> Self {
        state.probe.clone()
    }
}

/// The routes, as metrics and the API description name them.
const ROUTES: [&str; 15] = [
    "/",
    "/predict",
    "/v1/jobs",
    "/v1/jobs/{id}",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/models/{model}/embed",
    "/v1/models/{model}/predict",
    "/v1/models/{model}/versions/{version}",
    "/v1/models/{model}/versions/{version}/embed",
    "/v1/models/{model}/versions/{version}/predict",
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
];

/// The README's address, in a form that `concat!` takes.
macro_rules! readme {
    () => {
        concat!(env!("CARGO_PKG_REPOSITORY"), "#readme")
    };
}

const README: &str = readme!();

/// What a client may have looked for at an address that nothing answers: health checks, the pages and the routes of other
/// servers.
const PUBLIC: &str = concat!(
    "GET /readyz says whether requests are answered, GET /v1/models lists the models, GET /openapi.json lists the routes, \
     and the README shows how to ask: ",
    readme!()
);

/// The same for a process that only computes.
const PROBES_ONLY: &str =
    "this address of a worker has /livez, /readyz and /metrics only; clients ask `ocelli web`";

/// Every route, with what all answers have in common around it.
pub fn router(state: AppState) -> Router {
    let (probe, cors) = (state.probe.clone(), state.cors.clone());
    let routes = Router::new()
        .route("/", get(front_page::show))
        .route("/predict", post(predict::predict))
        .route("/v1/jobs", post(jobs::submit))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/jobs/{id}", delete(jobs::forget))
        .route("/v1/models", get(info::models))
        .route("/openapi.json", get(info::openapi))
        .route("/v1/models/{model}", get(info::model))
        .route("/v1/models/{model}/embed", post(predict::embed))
        .route("/v1/models/{model}/predict", post(predict::predict_many))
        .route("/v1/models/{model}/versions/{version}", get(info::model))
        .route(
            "/v1/models/{model}/versions/{version}/embed",
            post(predict::embed),
        )
        .route(
            "/v1/models/{model}/versions/{version}/predict",
            post(predict::predict_many),
        )
        .with_state(state);
    surround(routes, probe, cors, PUBLIC)
}

/// The routes of a process that answers no requests for predictions, so that its host can watch it.
pub fn probe_router(probe: Probe) -> Router {
    surround(Router::new(), probe, Cors::default(), PROBES_ONLY)
}

/// Adds the probes, the answers for what is not there, and what all answers have in common.
fn surround(routes: Router, probe: Probe, cors: Cors, instead: &'static str) -> Router {
    let probes = Router::new()
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready))
        .route("/metrics", get(probes::metrics))
        .with_state(probe.clone());
    finished(routes.merge(probes), probe, cors, instead)
}

/// Adds the answers for what is not there, which say what is there `instead`, and what all answers have in common.
fn finished(routes: Router, probe: Probe, cors: Cors, instead: &'static str) -> Router {
    routes
        .method_not_allowed_fallback(async |request: Request| Error::MethodNotAllowed(shown_path(&request)))
        .fallback(async move |request: Request| Error::UnknownRoute {
            path: shown_path(&request),
            instead,
        })
        .layer(from_fn_with_state((probe, cors), response::finish))
}

/// A label of bounded variety: what clients make up is all one.
fn route_label(matched: Option<&str>) -> &'static str {
    matched
        .and_then(|path| {
            ROUTES
                .into_iter()
                .chain(admin::ROUTES)
                .find(|route| *route == path)
        })
        .unwrap_or("other")
}

fn shown_path(request: &Request) -> String {
    request.uri().path().chars().take(100).collect()
}
