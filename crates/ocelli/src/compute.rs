//! The machine: threads that decode and infer, the budget of cores, and the thread that loads models.

pub mod core_budget;
pub mod loader_thread;
pub mod pool;
pub(crate) mod threads;
