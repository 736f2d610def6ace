//! Fault scenarios with real processes under a steady load: `make chaos`.
//!
//! Each scenario starts two web processes and three workers over a separate Redis, runs clients against them, causes the
//! fault in its name, and counts the results of all requests. The table compares them with the guarantees; the exit status
//! is not 0 if they differ. `make chaos CHAOS_ARGS='killed-workers redis-back'` runs only these scenarios.
//!
//! `make test` does not run this, because it depends on the clock. `tests/it` tests the same faults without one.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot go on may end, as a test may"
)]

mod client;
mod counts;
mod jobs;
mod load;
#[path = "../it/harness/photos.rs"]
#[expect(dead_code, reason = "most photos are for tests")]
mod photos;
mod processes;
mod program;
mod report;
mod scenarios;
mod setup;
mod store;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "most of it is for tests")]
mod support;

use std::io;
use std::process::ExitCode;

use scenarios::Scenario;
use support::redis::Binary;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let named = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let chosen: Vec<_> = Scenario::ALL.iter().filter(|(name, _)| named(name)).collect();
    let Some(redis) = Binary::redis() else {
        return ExitCode::FAILURE;
    };
    if chosen.len() < wanted.len() {
        let names: Vec<_> = Scenario::ALL.iter().map(|(name, _)| *name).collect();
        panic!("no such scenario; there are: {}", names.join(" "));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let well = runtime.block_on(async {
        let mut all = Vec::new();
        for (_, scenario) in chosen {
            let played = scenario.play(&redis).await;
            report::details(io::stdout(), &played).unwrap();
            all.push(played);
        }
        for played in &mut all {
            played.wait_for_keys().await;
        }
        report::write(io::stdout(), &all).unwrap();
        all.iter().all(setup::Finished::is_well)
    });
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
