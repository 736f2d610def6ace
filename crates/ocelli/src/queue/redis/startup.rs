//! Connecting to Redis at the start of a process.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Limits, Link, LinkError, Needs, RedisUrl, ServerError, check};

/// The timeout of a command. Requests are refused within a second of an outage, so it cannot be longer.
const PATIENCE: Duration = Duration::from_millis(800);

/// The timeout of a command that blocks for a second. Generous, because a read that is given up may have taken jobs.
const BLOCKING_PATIENCE: Duration = Duration::from_secs(3);

const PAUSE: Duration = Duration::from_millis(500);

/// The link of a process for all commands that do not block.
pub(crate) fn process_link(target: &RedisUrl, name: &str) -> Link {
    Link::logged(target.clone(), name.to_owned(), PATIENCE)
}

/// A link beside that of the process for commands that block: a command holds up those that follow it on its connection.
pub(crate) fn blocking(link: &Link, name: &str) -> Link {
    link.beside(format!("{name}-blocking"), BLOCKING_PATIENCE)
}

/// Waits until Redis can be reached. A process that ended instead would be restarted again and again.
///
/// # Errors
/// [`ServerError`] for a Redis that must not be used, or that refuses the login or one of the commands in `needs`.
pub(crate) async fn wait_for_redis(
    link: &Link,
    limits: Limits,
    needs: Option<&Needs>,
) -> Result<(), ServerError> {
    loop {
        match check(link, limits, needs).await {
            // The link logs it.
            Err(ServerError::Link(LinkError::Down(_))) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
            Ok(()) => {
                link.start_logging_refusals();
                return Ok(());
            }
        }
    }
}

/// Waits for a reason to stop.
///
/// # Errors
/// When the tasks that talk to Redis end first.
pub(crate) async fn stopped(
    stop: impl Future<Output = &'static str>,
    tasks: &mut JoinHandle<()>,
) -> anyhow::Result<&'static str> {
    tokio::select! {
        signal = stop => Ok(signal),
        ended = tasks => Err(match ended {
            Ok(()) => anyhow::anyhow!("the tasks that talk to Redis ended"),
            Err(error) => anyhow::Error::new(error).context("the tasks that talk to Redis panicked"),
        }),
    }
}
