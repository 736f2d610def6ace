//! The whole of Ocelli from the outside: servers in this process with an engine that tests steer, and the real
//! binary.
//!
//! No test sleeps for a set time: each waits until what it wants to see is so, and gives up after [`PATIENCE`].

#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests that fails may end the test, as in a test itself"
)]

mod cli;
mod harness;
mod http;
mod jobs;
mod models;
mod queue;
mod redis;
#[path = "../../../ocelli-vision/tests/support/riff.rs"]
mod riff;
mod server;
#[path = "../support/mod.rs"]
mod support;
#[path = "../../../ocelli-vision/tests/support/webp_bomb.rs"]
mod webp_bomb;

use support::{PATIENCE, comes_to_hold, eventually};
