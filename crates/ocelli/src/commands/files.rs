//! The budget of open files: everything that may be open at once is added up at the start, and the process's limit is raised
//! to that. So no client, and no receiver of webhooks, can use up the files that another part of the process needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::ConnectionConfig;

/// What any command opens: standard streams, signals, timers, the library, a model's file.
const LEAST_FILES: u64 = 32;

/// Models, the library, logs, timers, and what threads have open while they read.
const OTHER_FILES: u64 = 128;

/// Links to Redis and what they become while they are made anew, to each node of a cluster.
const REDIS_FILES: u64 = 64;

/// A call has a connection, and looks up a name before that. A lookup may outlive its call.
const FILES_PER_CALL: u64 = 2;

/// Connections to `--admin-listen`, which few tools use.
pub(super) const ADMIN_CONNECTIONS: usize = 64;

/// With fewer connections than this a process is of no use.
const LEAST_CONNECTIONS: u64 = 16;

/// What a process opens besides connections to `--listen`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// Calls of webhooks at once.
    pub(super) webhook_calls: usize,
    /// Whether it talks to Redis.
    pub(super) redis: bool,
    /// Whether it has an admin address.
    pub(super) admin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget {
    /// Connections to `--listen`.
    connections: u64,
    files: u64,
}

impl Needs {
    fn files(self) -> u64 {
        let redis = if self.redis { REDIS_FILES } else { 0 };
        let admin = if self.admin { ADMIN_CONNECTIONS as u64 } else { 0 };
        OTHER_FILES + redis + admin + self.webhook_calls as u64 * FILES_PER_CALL
    }

    /// What may be open where no more than `hard` files can be: fewer connections than wanted, but never less of the rest.
    /// `Err` gives the files that are needed at least.
    fn budget(self, connections: u64, hard: Option<u64>) -> Result<Budget, u64> {
        let others = self.files();
        let room = hard.map_or(connections, |hard| hard.saturating_sub(others));
        if room < connections.min(LEAST_CONNECTIONS) {
            return Err(others + connections.min(LEAST_CONNECTIONS));
        }
        let connections = connections.min(room);
        Ok(Budget {
            connections,
            files: connections + others,
        })
    }
}

/// Raises the process's limit of open files to what any command needs.
///
/// # Errors
/// When the hard limit is less than that.
pub(super) fn allow_least() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|hard| hard < LEAST_FILES) {
        return Err(too_few(LEAST_FILES, limit.maximum, ""));
    }
    raise(limit, LEAST_FILES)
}

/// Raises the process's limit of open files by what is needed, or lowers the number of connections to what it allows.
///
/// # Errors
/// When that leaves too few connections.
pub(super) fn allow(config: ConnectionConfig, needs: Needs) -> anyhow::Result<ConnectionConfig> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = config.max_connections as u64;
    let budget = needs
        .budget(wanted, limit.maximum)
        .map_err(|least| too_few(least, limit.maximum, ", or lower --max-webhook-calls"))?;
    raise(limit, budget.files)?;
    if budget.connections < wanted {
        tracing::warn!(
            connections = budget.connections,
            wanted,
            files = limit.maximum,
            "fewer connections than --max-connections are accepted at once: the hard limit of open files (ulimit -Hn) allows \
             no more"
        );
    }
    Ok(ConnectionConfig {
        max_connections: budget.connections as usize,
        ..config
    })
}

fn too_few(least: u64, hard: Option<u64>, remedy: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "this process needs at least {least} open files, and may have {}; raise the hard limit (ulimit -Hn, LimitNOFILE= in \
         systemd){remedy}",
        hard.unwrap_or_default()
    )
}

fn raise(limit: Rlimit, files: u64) -> anyhow::Result<()> {
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let current = Some(files);
    setrlimit(Resource::Nofile, Rlimit { current, ..limit })
        .map_err(|error| anyhow::anyhow!("the limit of open files cannot be raised: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_rest_leaves() {
        let needs = Needs {
            webhook_calls: 50,
            redis: true,
            admin: true,
        };
        let others = OTHER_FILES + REDIS_FILES + ADMIN_CONNECTIONS as u64 + 100;
        let budget = |connections, hard| {
            needs
                .budget(connections, hard)
                .map(|found| (found.connections, found.files))
        };
        assert_eq!(budget(4096, None), Ok((4096, 4096 + others)));
        assert_eq!(budget(4096, Some(4096 + others)), Ok((4096, 4096 + others)));
        assert_eq!(budget(4096, Some(4096)), Ok((4096 - others, 4096)));
        assert_eq!(budget(4096, Some(others + 16)), Ok((16, others + 16)));
        assert_eq!(budget(4096, Some(others + 15)), Err(others + 16));
        assert_eq!(budget(4096, Some(0)), Err(others + 16));
        // Who wants few gets few.
        assert_eq!(budget(2, Some(others + 2)), Ok((2, others + 2)));
        assert_eq!(Needs::default().files(), OTHER_FILES);
    }
}
