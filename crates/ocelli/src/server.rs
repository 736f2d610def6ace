//! Builds each role from its checked configuration, runs it, and shuts it down.

pub(crate) mod admin;
pub(crate) mod http_listener;
pub(crate) mod pipeline;
pub(crate) mod serve;
pub(crate) mod web;
pub(crate) mod worker;

pub use crate::queue::transport::web::WebWire;
pub use crate::queue::transport::worker::WorkerWire;
pub use admin::admin;
pub use http_listener::{DrainTimes, ServeConfig, ServeEnd};
pub use pipeline::{Pipeline, PipelineConfig, Running};
pub use serve::serve;
pub use web::{WebTier, WebTierConfig, web};
pub use worker::{WorkerTier, WorkerTierConfig, worker};
