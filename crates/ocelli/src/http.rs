//! HTTP/1.1 and h2c on one port: routes, limits and the form of answers. Everything about images happens in
//! [`crate::infer`]; a handler only translates.

mod answer;
mod body;
mod connections;
mod info;
mod inputs;
mod predict;
mod stream;

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::error::Error;
use crate::infer::Infer;
use crate::lifecycle::Lifecycle;

pub use connections::serve;
pub use predict::{LabelledPrediction, labelled, top_k};

/// Limits and times of the HTTP side.
#[derive(Clone, Copy, Debug)]
pub struct HttpConfig {
    /// Bytes of a request's body.
    pub max_body: u64,
    /// Images in one request.
    pub max_images: usize,
    /// From the end of the headers to the answer, unless the request says otherwise.
    pub deadline: Duration,
    /// The most that a request may ask for.
    pub max_deadline: Duration,
    /// For the head of a request, the sniffing of the protocol included.
    pub header_timeout: Duration,
    /// Between the requests of a connection.
    pub idle_timeout: Duration,
    /// Connections open at once; more wait to be accepted.
    pub max_connections: usize,
}

/// What handlers stand on.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The one path.
    pub infer: Infer,
    /// Limits and times.
    pub config: HttpConfig,
    /// What the process is doing.
    pub lifecycle: Lifecycle,
}

/// The routes, as metrics and the API description name them.
const ROUTES: [&str; 8] = [
    "/predict",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/models/{model}/predict",
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
];

/// Every route, with what all answers have in common around it.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/predict", post(predict::predict))
        .route("/v1/models", get(info::models))
        .route("/v1/models/{model}", get(info::model))
        .route("/v1/models/{model}/predict", post(predict::predict_many))
        .route("/livez", get(info::live))
        .route("/readyz", get(info::ready))
        .route("/metrics", get(info::metrics))
        .route("/openapi.json", get(info::openapi))
        .method_not_allowed_fallback(async |request: Request| Error::MethodNotAllowed(shown_path(&request)))
        .fallback(async |request: Request| Error::UnknownRoute(shown_path(&request)))
        .layer(from_fn_with_state(state.clone(), answer::finish))
        .with_state(state)
}

/// A label of bounded variety: what clients make up is all one.
fn route_label(matched: Option<&str>) -> &'static str {
    matched
        .and_then(|path| ROUTES.into_iter().find(|route| *route == path))
        .unwrap_or("other")
}

fn shown_path(request: &Request) -> String {
    request.uri().path().chars().take(100).collect()
}
