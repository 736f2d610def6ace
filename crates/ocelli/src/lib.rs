//! Ocelli serves image models: send it a photo, it answers with labels.
//!
//! This crate joins the parts: roles, command line, HTTP, broker, batcher, worker, metrics. Pixels are
//! `ocelli-vision`'s business and engines are `ocelli-engine`'s. `ARCHITECTURE.md` at the repository's root says how
//! the parts fit.

#![allow(
    missing_docs,
    reason = "the modules are public for the binary and its tests only; a name that says it all needs no sentence"
)]

pub mod async_jobs;
pub mod cli;
pub mod commands;
pub mod compute;
pub mod error;
pub mod executor;
pub mod http;
pub mod hub;
pub mod inference;
pub mod metrics;
pub mod model_manager;
pub mod models;
pub mod output;
pub mod process;
pub mod queue;
pub mod server;
