//! What every process has: the stages of its life, its log, and the way it prints text that others wrote.

pub mod lifecycle;
pub mod printable;
pub(crate) mod progress;
pub mod telemetry;
pub(crate) mod tls;
