//! The load generator against real servers on loopback ports that the system chooses.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests that fails may end the test, as in a test itself"
)]

mod failures;
mod load;
mod server;
mod wire;
