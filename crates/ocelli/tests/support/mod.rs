//! What the integration binaries share: how to wait, and the servers and networks that Ocelli is tried with.
//!
//! A binary takes it in at its root, with `#[path = "../support/mod.rs"] mod support;`. Nothing in here knows Ocelli.

pub(crate) mod hub;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod tutorial;

use std::time::Duration;

/// How long to wait for what must happen. Far longer than anything takes, also on a machine that compiles meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at something that nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks until `condition` holds. `what` says what was waited for if it never does.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    assert!(comes_to_hold(condition).await, "waited in vain until {what}");
}

/// Looks until `condition` holds, and says whether it ever did.
pub(crate) async fn comes_to_hold(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.is_ok()
}
