//! The budget of open files. At startup, the process adds up everything that can be open at once and raises its limit to
//! that, so clients and webhook receivers cannot use up the files that another part of the process needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::ConnectionConfig;

/// What any command opens: standard streams, signals, timers, the library, a model's file.
const LEAST_FILES: u64 = 32;

/// Models, the library, logs, timers, and what threads have open while they read.
const OTHER_FILES: u64 = 128;

/// Connections to Redis, to each node of a cluster, and those that replace them during a reconnect.
const REDIS_FILES: u64 = 64;

/// A webhook call has a connection and a name lookup, which may outlive the call.
const FILES_PER_CALL: u64 = 2;

/// Maximum connections to `--admin-listen`, which few tools use.
pub(super) const ADMIN_CONNECTIONS: usize = 64;

/// With fewer connections than this, the process refuses to start.
const LEAST_CONNECTIONS: u64 = 16;

/// The files that a process opens besides connections to `--listen`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// Maximum concurrent webhook calls.
    pub(super) webhook_calls: usize,
    pub(super) redis: bool,
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

    /// The budget within the hard limit `hard`, which can reduce the connections but nothing else. `Err` is the minimum
    /// number of files.
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

/// Raises the process's limit of open files to what it needs, or lowers the number of connections to what the hard limit
/// allows.
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
            "the hard limit of open files (ulimit -Hn) allows fewer connections than --max-connections"
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
    fn connections_get_the_files_that_remain() {
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
        // A limit below the minimum is kept.
        assert_eq!(budget(2, Some(others + 2)), Ok((2, others + 2)));
        assert_eq!(Needs::default().files(), OTHER_FILES);
    }
}
