//! Shared by the integration test binaries: waiting, servers and networks.
//!
//! A binary includes it at its root, with `#[path = "../support/mod.rs"] mod support;`. Nothing here knows Ocelli.

pub(crate) mod hub;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod tutorial;

use std::time::Duration;

/// Maximum time to wait for a condition: far longer than anything takes, even on a machine that is compiling.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Interval between checks of a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until `condition` holds, or panics with `what`.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    assert!(comes_to_hold(condition).await, "timed out waiting until {what}");
}

/// Waits until `condition` holds; returns whether it did in time.
pub(crate) async fn comes_to_hold(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.is_ok()
}
