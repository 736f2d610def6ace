//! Where parts meet: from checked configuration to something that runs, and back to nothing.

mod engines;
mod pipeline;
mod redis;
mod serve;
mod threads;
mod web;
mod worker;

pub use engines::StartError;
pub use pipeline::{Pipeline, PipelineConfig, Running};
pub use serve::{DrainTimes, Ending, ServeConfig, serve};
pub use web::{WebTier, WebTierConfig, web};
pub use worker::{WorkerTier, WorkerTierConfig, worker};
