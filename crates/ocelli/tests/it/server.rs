//! The process: starting, batching, faults of the engine, memory, its log, draining.

pub(crate) mod batching;
pub(crate) mod causes;
pub(crate) mod drain;
pub(crate) mod drain_worker;
pub(crate) mod engine_faults;
pub(crate) mod log_failures;
pub(crate) mod memory;
pub(crate) mod startup;
