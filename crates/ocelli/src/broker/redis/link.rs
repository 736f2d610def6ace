//! A connection to Redis that comes back: one server, the master that sentinels name, or a cluster.
//!
//! A link is down from the first failure until a command succeeds again. While it is down, callers are told at once and
//! only one of them tries to connect, now and then. Commands that block have a link of their own, whose patience is
//! longer than they block.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster_async::ClusterConnection;
use ::redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisFuture, ServerErrorKind, Value};
use parking_lot::Mutex;

use super::scripts::Call;
use super::target::Target;
use crate::error::Error;

/// For a connection to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// Between attempts to connect: the first pause, doubled each time up to the last. Short, so that a Redis that is back is
/// noticed soon; one attempt costs next to nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// How long every command to a cluster may fail until the connection to all of it is made anew.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(2);

/// A connection that comes back. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    target: Target,
    name: String,
    patience: Duration,
    /// Held while connecting, so that one does and the others wait for what comes of it.
    connection: tokio::sync::Mutex<Slot>,
    trouble: Mutex<Option<Trouble>>,
}

/// What keeps a link from working, and since when.
#[derive(Clone, Debug)]
struct Trouble {
    text: String,
    since: Instant,
}

#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    /// Tells connections apart, so that a late failure of an old one does not end a new one.
    generation: u64,
    pause: Option<(Instant, Duration)>,
    /// No command has succeeded since.
    failing_since: Option<Instant>,
}

#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Why a command has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// Redis cannot be reached, does not answer in time, or is not yet or no longer in charge.
    #[error("{0}")]
    Down(String),
    /// Redis holds as much as it may.
    #[error("Redis is out of memory; raise maxmemory, lower --queue-bytes, or add workers")]
    OutOfMemory,
    /// The stream or its group is gone: somebody emptied Redis, or a failover lost it.
    #[error("the consumer group is gone")]
    NoGroup,
    /// Redis refuses the user or the password.
    #[error("Redis refuses the login: {0}; check the user and the password in the URL")]
    Login(String),
    /// Anything else that Redis refuses; a fault of this program or a server that is not like Redis.
    #[error("Redis refuses a command: {0}")]
    Refused(String),
}

impl LinkError {
    fn from_redis(error: &RedisError) -> Self {
        let text = error.to_string();
        let code = error.code().unwrap_or_default();
        if text.contains("OOM command not allowed") || code == "OOM" {
            return Self::OutOfMemory;
        }
        if text.contains("READONLY") {
            // Redis 6.2 wraps what a command in a script says.
            return Self::Down(text);
        }
        match (error.kind(), code) {
            (_, "NOGROUP") => Self::NoGroup,
            // A script or a module keeps it from answering.
            (_, "BUSY") => Self::Down(text),
            (ErrorKind::AuthenticationFailed, _) | (_, "NOAUTH" | "WRONGPASS" | "NOPERM") => {
                Self::Login(text)
            }
            (
                ErrorKind::Server(
                    ServerErrorKind::ReadOnly
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::BusyLoading
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::Moved
                    | ServerErrorKind::Ask,
                ),
                _,
            ) => Self::Down(text),
            (ErrorKind::Server(_) | ErrorKind::UnexpectedReturnType | ErrorKind::Parse, _) => {
                Self::Refused(text)
            }
            _ if text.contains("NOGROUP") => Self::NoGroup,
            (ErrorKind::Extension, _) => Self::Refused(text),
            _ => Self::Down(text),
        }
    }
}

/// What clients hear of it.
impl From<LinkError> for Error {
    fn from(error: LinkError) -> Self {
        Self::BrokerUnavailable(error.to_string())
    }
}

impl Link {
    /// A link to `target` that is not connected yet. Redis lists it as `name`. A command that takes longer than
    /// `patience` has failed.
    #[must_use]
    pub fn new(target: Target, name: String, patience: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                target,
                name,
                patience,
                connection: tokio::sync::Mutex::default(),
                trouble: Mutex::new(Some(Trouble {
                    text: "not connected yet".to_owned(),
                    since: Instant::now(),
                })),
            }),
        }
    }

    /// What keeps the link from working, if anything does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.shared.trouble.lock();
        trouble.as_ref().map(|trouble| trouble.text.clone())
    }

    /// How long the link has not worked; `None` while it does.
    #[must_use]
    pub fn down_for(&self) -> Option<Duration> {
        let trouble = self.shared.trouble.lock();
        trouble.as_ref().map(|trouble| trouble.since.elapsed())
    }

    /// Refuses to wait for a Redis that was out of reach when it was last asked.
    pub(super) fn expect_up(&self) -> Result<(), LinkError> {
        self.trouble()
            .map_or(Ok(()), |trouble| Err(LinkError::Down(trouble)))
    }

    /// Where Redis is, without a login.
    #[must_use]
    pub fn target(&self) -> String {
        self.shared.target.to_string()
    }

    /// Whether Redis is a cluster, where keys of different slots cannot be used together.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.shared.target, Target::Cluster(_))
    }

    /// Runs a command.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LinkError> {
        let (mut connection, generation) = self.connection().await?;
        let result = command.query_async(&mut connection).await;
        self.settle(result, generation).await
    }

    /// Runs a script, which Redis is sent only if it does not know it yet.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn script<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, LinkError> {
        let (mut connection, generation) = self.connection().await?;
        let mut result = call.by_hash().query_async(&mut connection).await;
        let unknown = |error: &RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
        if result.as_ref().is_err_and(unknown) {
            result = call.whole().query_async(&mut connection).await;
        }
        self.settle(result, generation).await
    }

    async fn connection(&self) -> Result<(Connection, u64), LinkError> {
        let mut slot = match (self.shared.connection.try_lock(), self.trouble()) {
            (Ok(slot), _) => slot,
            // Somebody is connecting, which may take longer than a caller should wait to be refused.
            (Err(_), Some(trouble)) => return Err(LinkError::Down(trouble)),
            (Err(_), None) => self.shared.connection.lock().await,
        };
        if let Some(connection) = &slot.connection {
            return Ok((connection.clone(), slot.generation));
        }
        if let Some((until, _)) = slot.pause
            && Instant::now() < until
        {
            let trouble = self.trouble().unwrap_or_default();
            return Err(LinkError::Down(trouble));
        }
        match self.connect().await {
            Ok(connection) => {
                slot.generation += 1;
                slot.connection = Some(connection.clone());
                slot.pause = None;
                slot.failing_since = None;
                // To be connected took an answer.
                self.note_success();
                Ok((connection, slot.generation))
            }
            Err(error) => {
                let pause = slot
                    .pause
                    .map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LAST_PAUSE));
                slot.pause = Some((Instant::now() + pause, pause));
                let error = LinkError::from_redis(&error);
                self.note_trouble(&error);
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        let connecting = self.shared.target.connect(self.shared.patience, CONNECT_TIMEOUT);
        let late = || RedisError::from((ErrorKind::Io, "no connection within the time for it"));
        // Sentinels are asked one after the other.
        let mut connection = tokio::time::timeout(CONNECT_TIMEOUT * 2, connecting)
            .await
            .map_err(|_| late())??;
        if let Connection::Single(single) = &mut connection {
            let mut name = ::redis::cmd("CLIENT");
            name.arg("SETNAME").arg(&self.shared.name);
            name.exec_async(single).await?;
        }
        Ok(connection)
    }

    /// Notes what a command's outcome says of the link.
    async fn settle<T>(&self, result: Result<T, RedisError>, generation: u64) -> Result<T, LinkError> {
        let error = match result {
            Ok(value) => {
                if self.is_cluster() {
                    self.shared.connection.lock().await.failing_since = None;
                }
                self.note_success();
                return Ok(value);
            }
            Err(error) => LinkError::from_redis(&error),
        };
        if let LinkError::Down(_) = error {
            let mut slot = self.shared.connection.lock().await;
            let now = Instant::now();
            let since = *slot.failing_since.get_or_insert(now);
            // One node of a cluster that does not answer says nothing of the others, which the client goes on using.
            let one_node = self.is_cluster() && now.saturating_duration_since(since) < CLUSTER_PATIENCE;
            if !one_node {
                self.note_trouble(&error);
                if slot.generation == generation {
                    slot.connection = None;
                }
            }
        }
        Err(error)
    }

    fn note_success(&self) {
        if let Some(trouble) = self.shared.trouble.lock().take() {
            tracing::info!(link = self.shared.name, was = trouble.text, "connected to Redis");
        }
    }

    fn note_trouble(&self, error: &LinkError) {
        let text = error.to_string();
        let mut trouble = self.shared.trouble.lock();
        let since = trouble
            .as_ref()
            .map_or_else(Instant::now, |trouble| trouble.since);
        let now = Trouble {
            text: text.clone(),
            since,
        };
        let before = trouble.replace(now);
        drop(trouble);
        if before.is_none_or(|before| before.text != text) {
            tracing::warn!(link = self.shared.name, error = text, target = %self.shared.target, "Redis cannot be used");
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a ::redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
