//! The probes of every process: alive, ready, metrics.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::error::Error;
use crate::metrics::Metrics;
use crate::process::lifecycle::{Lifecycle, Stage};

pub trait Health: Send + Sync {
    /// Whether the role can do its work now, or what it lacks.
    fn ready(&self) -> Result<(), Error>;

    /// A note for the operator while the role is ready.
    fn remark(&self) -> Option<&'static str> {
        None
    }

    /// What the start waits for, beside the models.
    fn awaits(&self) -> Option<Error> {
        None
    }

    /// Updates the metrics that are computed on request.
    fn report(&self, metrics: &Metrics);
}

/// What the probes read. Cheap to clone.
#[derive(Clone)]
pub struct Probe {
    pub lifecycle: Lifecycle,
    pub metrics: Arc<Metrics>,
    pub health: Arc<dyn Health>,
}

impl Probe {
    fn readiness(&self) -> Result<(), Error> {
        match self.lifecycle.stage() {
            Stage::Starting => {
                let loading = || Error::NotReady("it is loading its models");
                Err(self.health.awaits().unwrap_or_else(loading))
            }
            Stage::Draining | Stage::Closing | Stage::Closed => Err(Error::NotReady("it is stopping")),
            Stage::Serving => self.health.ready(),
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("lifecycle", &self.lifecycle)
            .finish_non_exhaustive()
    }
}

/// `GET /livez`.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`.
pub(super) async fn ready(State(probe): State<Probe>) -> Result<String, Error> {
    probe.readiness()?;
    Ok(match probe.health.remark() {
        Some(remark) => format!("ready; {remark}\n"),
        None => "ready\n".to_owned(),
    })
}

/// `GET /metrics`, in the OpenMetrics text format.
pub(super) async fn metrics(State(probe): State<Probe>) -> Result<Response, Error> {
    // One request at a time, so that none sees metrics that another has half updated.
    let _writing = probe.metrics.writing.lock();
    probe.health.report(&probe.metrics);
    probe.metrics.ready.set(i64::from(probe.readiness().is_ok()));
    let text = probe.metrics.encode().map_err(Error::internal)?;
    let mut response = text.into_response();
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(openmetrics));
    Ok(response)
}
