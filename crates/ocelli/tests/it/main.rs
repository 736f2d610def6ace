//! The whole of Ocelli from the outside: servers in this process with an engine that tests steer, and the real
//! binary.
//!
//! No test sleeps for a set time: each waits until what it wants to see is so, and gives up after [`PATIENCE`].

#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests that fails may end the test, as in a test itself"
)]

mod api;
mod batching;
mod bench_command;
mod bodies;
mod client;
mod connections;
mod deadlines;
mod drain;
mod faults;
mod garbage;
mod images;
mod info;
mod leaving;
mod many;
mod memory;
mod parameters;
mod photos;
mod predict_command;
mod predicting;
mod process;
mod queue;
mod server;
mod startup;

use std::time::Duration;

/// How long to wait for what must happen. Far longer than anything takes, also on a machine that compiles meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at something that nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks until `condition` holds. `what` says what was waited for if it never does.
async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    assert!(comes_to_hold(condition).await, "waited in vain until {what}");
}

/// Looks until `condition` holds, and says whether it ever did.
async fn comes_to_hold(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.is_ok()
}
