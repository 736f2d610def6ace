//! Where parts meet: from checked configuration to something that runs, and back to nothing.

mod admin;
mod engines;
mod front;
mod models;
mod pipeline;
mod redis;
mod seats;
mod serve;
mod threads;
mod web;
mod web_side;
mod worker;
mod worker_side;

pub use admin::admin;
pub use engines::StartError;
pub use front::{DrainTimes, Ending, ServeConfig};
pub use models::{ModelSet, Models, ModelsError, RepositoryConfig, Selection, Standing};
pub use pipeline::{Pipeline, PipelineConfig, Running};
pub use serve::serve;
pub use web::{WebTier, WebTierConfig, web};
pub use web_side::WebWire;
pub use worker::{WorkerTier, WorkerTierConfig, worker};
pub use worker_side::WorkerWire;
