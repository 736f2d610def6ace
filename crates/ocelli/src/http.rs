//! HTTP/1.1 and h2c on one port: routes, limits and response formats. Handlers only translate; [`crate::inference`] computes
//! images.

pub(crate) mod access_log;
mod admin;
mod admit;
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
mod request;
pub(crate) mod response;
mod routes;
mod target;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;

use crate::async_jobs::Jobs;
use crate::error::Error;
use crate::inference::Infer;
use response::{Surroundings, native_error};
use routes::{Routes, shown_path};

pub use admin::admin_router;
pub use conn::receiving::{Receiving, ReceivingLimits};
pub use conn::sending::SendingLimits;
pub use conn::serve;
pub use cors::{Cors, CorsOrigin};
pub use off_thread::OffThread;
pub use origin::HostNames;
pub use probes::{Health, Probe};
pub use routes::Route;

#[derive(Clone, Copy, Debug)]
pub struct HttpConfig {
    pub max_body: u64,
    pub max_images: usize,
    /// From the end of the headers to the response, unless the request sets another.
    pub deadline: Duration,
    /// The longest that a request may set.
    pub max_deadline: Duration,
    pub receiving: ReceivingLimits,
}

#[derive(Clone, Copy, Debug)]
pub struct ConnectionConfig {
    /// For the head of a request, including protocol detection.
    pub header_timeout: Duration,
    /// Between the requests of a connection.
    pub idle_timeout: Duration,
    /// Connections open at once; more wait to be accepted.
    pub max_connections: usize,
    pub sending: SendingLimits,
    /// Whether each request is logged at every log level.
    pub access_log: bool,
}

#[derive(Clone, Debug)]
pub struct AppState {
    pub infer: Infer,
    pub jobs: Jobs,
    pub config: HttpConfig,
    pub receiving: Receiving,
    pub off_thread: OffThread,
    pub cors: Cors,
    pub probe: Probe,
}

/// The README's address, in a form that `concat!` takes.
macro_rules! readme {
    () => {
        concat!(env!("CARGO_PKG_REPOSITORY"), "#readme")
    };
}

const README: &str = readme!();

/// A hint for requests to unknown paths, such as health checks and the routes of other servers.
const PUBLIC: &str = concat!(
    "GET /readyz tells whether the server is ready, GET /v1/models lists the models, GET /openapi.json lists the routes, \
     and the README has examples: ",
    readme!()
);

/// The same for a worker.
const PROBES_ONLY: &str = "a worker has only /livez, /readyz and /metrics; send requests to `ocelli web`";

fn native_routes() -> Routes<AppState> {
    Routes::new("", native_error)
        .get("/", front_page::show)
        .post("/predict", predict::predict)
        .post("/v1/jobs", jobs::submit)
        .get("/v1/jobs/{id}", jobs::show)
        .delete("/v1/jobs/{id}", jobs::forget)
        .get("/v1/models", info::models)
        .get("/v1/models/{model}", info::model)
        .post("/v1/models/{model}/embed", predict::embed)
        .post("/v1/models/{model}/predict", predict::predict_many)
        .get("/v1/models/{model}/versions/{version}", info::model)
        .post("/v1/models/{model}/versions/{version}/embed", predict::embed)
        .post(
            "/v1/models/{model}/versions/{version}/predict",
            predict::predict_many,
        )
        .get("/openapi.json", info::openapi)
}

fn probe_routes() -> Routes<Probe> {
    Routes::new("", native_error)
        .get("/livez", probes::live)
        .get("/readyz", probes::ready)
        .get("/metrics", probes::metrics)
}

/// Every route that the API description has to name.
#[must_use]
pub fn public_routes() -> Vec<Route> {
    let mut routes = native_routes().table.into_routes();
    routes.extend(probe_routes().table.into_routes());
    routes
}

/// The routes of a process that serves clients.
pub fn router(state: AppState) -> Router {
    let (probe, cors) = (state.probe.clone(), state.cors.clone());
    let routes = native_routes().with_state(state);
    finished(
        routes.merge(probe_routes().with_state(probe.clone())),
        probe,
        cors,
        PUBLIC,
    )
}

/// The routes of a worker.
pub fn probe_router(probe: Probe) -> Router {
    let routes = probe_routes().with_state(probe.clone());
    finished(routes, probe, Cors::default(), PROBES_ONLY)
}

/// Adds the responses for unknown paths, which name the routes to use `instead`, and the middleware.
fn finished(routes: Routes<()>, probe: Probe, cors: Cors, instead: &'static str) -> Router {
    let Routes { router, table } = routes;
    let surroundings = Arc::new(Surroundings::new(probe, cors, table));
    router
        .method_not_allowed_fallback(async |request: Request| Error::MethodNotAllowed(shown_path(&request)))
        .fallback(async move |request: Request| Error::UnknownRoute {
            path: shown_path(&request),
            instead,
        })
        .layer(from_fn_with_state(surroundings, response::finish))
}
