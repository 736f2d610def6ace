//! Checks at the start of a process whether a Redis is suitable.

use ::redis::Value;

use super::connection::{Link, LinkError};
use super::needs::Needs;

/// The oldest version that has all commands: `XAUTOCLAIM` and `XADD NOMKSTREAM` came with it.
const OLDEST: (u32, u32) = (6, 2);

/// What this process may store in Redis.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a model's queue and its replies.
    pub queue_bytes: u64,
    /// Bytes of the results of asynchronous jobs.
    pub result_bytes: u64,
}

/// For what is written without a check of the limits: heartbeats, crash counts, buffers of connections. As in `room.lua`.
const SPARE: u64 = 1 << 20;

impl Limits {
    /// For a process that adds nothing to Redis.
    pub const NONE: Self = Self {
        queue_bytes: 0,
        result_bytes: 0,
    };

    fn needed(self) -> u64 {
        match self.queue_bytes.saturating_add(self.result_bytes) {
            0 => 0,
            bytes => bytes.saturating_add(SPARE),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("this Redis has version {0}; Ocelli needs Redis 6.2 or later, or Valkey 7.2 or later")]
    TooOld(String),
    #[error(
        "this Redis has maxmemory-policy {0} and would delete jobs when its memory is full; \
         set it to noeviction (CONFIG SET maxmemory-policy noeviction, and in its configuration file)"
    )]
    Evicts(String),
    #[error("Redis at {0} is a node of a cluster; write redis+cluster:// in the URL")]
    OfCluster(String),
    #[error(
        "this Redis may hold {maxmemory} bytes (maxmemory), and Ocelli may need {} of it: {} for a full queue and its \
         replies (--queue-bytes), {} for the results of asynchronous jobs (--max-job-bytes) and {SPARE} beside them; \
         lower these options or raise maxmemory",
        .limits.needed(), .limits.queue_bytes, .limits.result_bytes
    )]
    TooSmall { limits: Limits, maxmemory: u64 },
}

/// Refuses a Redis, or a cluster with a node, that would lose jobs, and tries every command that is needed.
pub async fn check(link: &Link, limits: Limits, needs: Option<&Needs>) -> Result<(), ServerError> {
    let answer: Value = link.query(&::redis::cmd("INFO")).await?;
    let mut texts = Vec::new();
    collect(answer, &mut texts);
    if !link.is_cluster() && texts.iter().any(|text| is_of_cluster(text)) {
        return Err(ServerError::OfCluster(link.target()));
    }
    texts.iter().try_for_each(|text| judge(text, limits))?;
    if let Some(needs) = needs {
        needs.check(link).await?;
    }
    Ok(())
}

/// The texts of all nodes, in whichever form the client library returns them.
fn collect(value: Value, texts: &mut Vec<String>) {
    match value {
        Value::BulkString(bytes) => texts.extend(String::from_utf8(bytes).ok()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => texts.push(text),
        Value::Array(values) => values.into_iter().for_each(|value| collect(value, texts)),
        Value::Map(pairs) => pairs.into_iter().for_each(|(_, value)| collect(value, texts)),
        _ => {}
    }
}

fn is_of_cluster(info: &str) -> bool {
    info.lines().any(|line| line.trim() == "redis_mode:cluster")
}

/// `info` is the answer of `INFO`.
fn judge(info: &str, limits: Limits) -> Result<(), ServerError> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
    };
    // Valkey reports the version of Redis that it is compatible with.
    if let Some(version) = field("redis_version") {
        let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
        let version_is = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version_is < OLDEST {
            return Err(ServerError::TooOld(version.to_owned()));
        }
    }
    if let Some(policy) = field("maxmemory_policy").filter(|policy| *policy != "noeviction") {
        return Err(ServerError::Evicts(policy.to_owned()));
    }
    let maxmemory = field("maxmemory").and_then(|bytes| bytes.parse().ok());
    match maxmemory {
        Some(maxmemory) if maxmemory > 0 && limits.needed() > maxmemory => {
            Err(ServerError::TooSmall { limits, maxmemory })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_a_cluster_is_known_by_its_mode() {
        assert!(is_of_cluster("# Server\r\nredis_mode:cluster\r\n"));
        assert!(!is_of_cluster(
            "# Server\r\nredis_mode:standalone\r\n# cluster\r\n"
        ));
    }

    fn judged(version: &str, policy: &str, maxmemory: u64) -> Result<(), String> {
        let info = format!(
            "# Server\r\nredis_version:{version}\r\n# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:0B\r\n\
             maxmemory_policy:{policy}\r\n"
        );
        let limits = Limits {
            queue_bytes: 1000,
            result_bytes: 200,
        };
        judge(&info, limits).map_err(|error| error.to_string())
    }

    #[test]
    fn only_a_redis_that_loses_nothing_is_used() {
        assert_eq!(judged("6.2.0", "noeviction", 0), Ok(()));
        assert_eq!(judged("7.0.15", "noeviction", SPARE + 1200), Ok(()));
        assert_eq!(judged("10.0", "noeviction", 0), Ok(()));
        let says = |result: Result<(), String>, words: &str| {
            let error = result.expect_err(words);
            assert!(error.contains(words), "{error}");
        };
        says(judged("6.0.16", "noeviction", 0), "6.2 or later");
        says(judged("5.0", "noeviction", 0), "6.2 or later");
        says(judged("7.2.4", "allkeys-lru", 0), "allkeys-lru");
        let small = judged("7.2.4", "noeviction", SPARE + 1199);
        says(small.clone(), "may hold 1049775 bytes");
        says(small, "may need 1049776 of it");
    }
}
