//! The load generator behind `ocelli bench`: photos in, a [`Report`] out.
//!
//! This crate owns the schedule of starts (closed and open loop), a lean HTTP/1.1 client, the latency
//! histogram, the account of failures and the report. It speaks only the wire: it knows no other crate of
//! Ocelli, so that it measures any server that answers the tutorial's `POST /predict` or Ocelli's
//! `POST /v1/models/{model}/predict`. It deliberately has no command line, prints nothing, starts no
//! thread and no task, and chooses no runtime: [`run()`] is one future that the caller drives, and a
//! current-thread runtime is the cheapest place for it.
//!
//! What its figures mean:
//!
//! - An open loop counts latency from the *intended* start of each request, so that a stall of the server
//!   shows in every request that should have started meanwhile (the "coordinated omission" of Gil Tene's
//!   talk "How NOT to Measure Latency"). A closed loop has no intended starts and hides such a stall by
//!   its nature.
//! - Latencies are those of good answers. Failures are counted by kind beside them, not mixed in: a quick
//!   refusal would flatter the percentiles.
//! - The generator shares the machine with the server in the usual case, so the report contains how much CPU
//!   it took, and warns where that spoils the figures.

#![allow(
    missing_docs,
    reason = "its one caller is `ocelli bench`; a name that says it all needs no sentence"
)]

mod account;
mod answer;
mod body;
mod config;
mod cpu;
mod error;
mod failure;
mod link;
mod pacer;
mod photo;
mod report;
mod run;
mod schedule;
mod stream;
mod summary;
mod table;
mod target;
mod url;
mod warm_up;

pub use config::{
    BenchConfig, BodyForm, Load, MAX_CONNECTIONS, MAX_DURATION, MAX_RATE, MAX_REQUESTS, MIN_RATE, Stop,
};
pub use error::BenchError;
pub use failure::{Failure, FailureKind};
pub use photo::Photo;
pub use report::{FailureCount, Generator, LatencyMs, LoadReport, REPORT_SCHEMA, Report, ServerTiming};
pub use run::{Phase, Progress, run, run_until};
