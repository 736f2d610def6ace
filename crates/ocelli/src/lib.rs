//! Ocelli serves image models: send it a photo, it answers with labels.
//!
//! This crate joins the parts: roles, command line, HTTP, broker, batcher, worker, metrics. Pixels are
//! `ocelli-vision`'s business and engines are `ocelli-engine`'s. `ARCHITECTURE.md` at the repository's root says how
//! the parts fit.

pub mod admission;
pub mod background;
pub mod batcher;
pub mod broker;
pub mod catalog;
pub mod cli;
pub mod commands;
pub mod cores;
pub mod crew;
pub mod decoders;
pub mod error;
pub mod http;
pub mod hub;
pub mod infer;
pub mod job;
pub mod jobs;
pub mod lifecycle;
pub mod metrics;
pub mod model;
pub mod models;
pub mod outcome;
pub mod printable;
pub mod probe;
mod progress;
pub mod repository;
pub mod results;
pub mod roles;
pub mod telemetry;
pub mod timing;
mod tls;
mod turns;
pub mod wish;
pub mod worker;
