//! What both roles need of Redis before they start.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Limits, Link, LinkError, Needs, RedisUrl, ServerError, check};

/// How long a command may take. Clients hear within a second that Redis is gone, so it cannot be longer.
const PATIENCE: Duration = Duration::from_millis(800);

/// How long a command may take that blocks for a second: a Redis that is slow is no reason to give up a read that took jobs.
const BLOCKING_PATIENCE: Duration = Duration::from_secs(3);

/// Between attempts to reach a Redis that is not there.
const PAUSE: Duration = Duration::from_millis(500);

/// The link of a process for all commands that do not block.
pub(crate) fn process_link(target: &RedisUrl, name: &str) -> Link {
    Link::logged(target.clone(), name.to_owned(), PATIENCE)
}

/// A link beside that of the process for commands that block: a command holds up those that follow it on its connection.
pub(crate) fn blocking(link: &Link, name: &str) -> Link {
    link.beside(format!("{name}-blocking"), BLOCKING_PATIENCE)
}

/// Waits until Redis is there. A process that starts before its Redis does no harm; one that ended would be started
/// again and again.
///
/// # Errors
/// [`ServerError`] for a Redis that must not be used, or that refuses the login or one of the commands that it `needs`.
pub(crate) async fn wait_for_redis(
    link: &Link,
    limits: Limits,
    needs: Option<&Needs>,
) -> Result<(), ServerError> {
    loop {
        match check(link, limits, needs).await {
            // The link has logged it.
            Err(ServerError::Link(LinkError::Down(_))) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
            Ok(()) => {
                link.start_logging_refusals();
                return Ok(());
            }
        }
    }
}

/// Waits for a reason to stop, and names it.
///
/// # Errors
/// When the tasks that talk to Redis end first: without them the process only looks alive.
pub(crate) async fn stopped(
    stop: impl Future<Output = &'static str>,
    tasks: &mut JoinHandle<()>,
) -> anyhow::Result<&'static str> {
    tokio::select! {
        signal = stop => Ok(signal),
        ended = tasks => Err(match ended {
            Ok(()) => anyhow::anyhow!("the tasks that talk to Redis ended"),
            Err(error) => anyhow::Error::new(error).context("the tasks that talk to Redis ended badly"),
        }),
    }
}
