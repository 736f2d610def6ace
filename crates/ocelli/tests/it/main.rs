//! The whole of Ocelli from the outside: servers in this process with an engine that tests steer, and the real
//! binary.
//!
//! No test sleeps for a set time: each waits until what it wants to see is so, and gives up after [`PATIENCE`].

#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests that fails may end the test, as in a test itself"
)]

mod access_log;
mod addresses;
mod api;
mod batching;
mod bench_command;
mod bodies;
mod brokers;
mod client;
mod command_line;
mod connections;
mod cors;
mod cross_site;
mod deadlines;
mod default_model;
mod drain;
mod drain_worker;
mod faults;
mod faults_redis;
mod garbage;
mod heads;
mod hub;
mod idempotency;
mod images;
mod info;
mod inputs;
mod jobs;
mod leaving;
mod log_lines;
mod many;
mod memory;
mod messages;
mod models;
mod parameters;
mod parity;
mod photos;
mod predict_command;
mod predicting;
mod priorities;
mod process;
mod proxy;
mod queue;
mod queue_command;
mod queue_watch;
mod receiving;
mod redis_full;
mod redis_jobs;
mod redis_notices;
mod redis_refusals;
mod redis_servers;
mod repository;
mod repository_admin;
mod repository_memory;
mod repository_reload;
mod repository_stop;
mod repository_under_load;
mod repository_worker;
mod reserves;
mod responses;
#[path = "../../../ocelli-vision/tests/support/riff.rs"]
mod riff;
mod scale_out;
mod server;
mod startup;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
mod terminal;
mod tutorial;

mod webhook_bounds;
mod webhooks;
#[path = "../../../ocelli-vision/tests/support/webp_bomb.rs"]
mod webp_bomb;

use support::{PATIENCE, comes_to_hold, eventually};
