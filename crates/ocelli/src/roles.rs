//! Where parts meet: from checked configuration to something that runs, and back to nothing.

mod pipeline;
mod serve;

pub use pipeline::{Pipeline, PipelineConfig, Running};
pub use serve::{DrainTimes, Ending, ServeConfig, serve};
