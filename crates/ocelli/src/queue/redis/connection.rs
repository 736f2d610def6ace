//! A connection to Redis that reconnects: one server, the master that sentinels name, or a cluster.
//!
//! A link is down from the first failure until a command succeeds again. Meanwhile callers fail at once, and only one of them
//! at a time tries to connect. A command that Redis does not allow this user is no outage: the link is in trouble until that
//! command is allowed. Commands that block need a link of their own, with a timeout that is longer than they block.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use parking_lot::Mutex;

use super::notices::{Notices, RETRY_EVERY, Step};
pub use super::refusal::{LinkError, Outage};
use super::scripts::{Call, SCRIPT};
use super::socket::Socket;
use super::url::RedisUrl;
use crate::error::{Cause, Error};

/// For connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// Between attempts to connect: the first pause, doubled each time up to [`RETRY_EVERY`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// How long all commands to a cluster must fail before the link reconnects to all nodes.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(2);

/// Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Link {
    shared: Arc<ConnectionShared>,
}

struct ConnectionShared {
    target: RedisUrl,
    name: String,
    patience: Duration,
    /// Locked while one caller connects.
    connection: tokio::sync::Mutex<ConnectionSlot>,
    trouble: Mutex<Option<Trouble>>,
    refusal: Mutex<Option<Refusal>>,
    /// Shared with other links of the process; `None` where callers report failures.
    notices: Option<(u64, Arc<Notices>)>,
}

/// A command that this user may not send.
#[derive(Debug)]
struct Refusal {
    command: String,
    text: String,
    /// Whether the command itself is refused, not one that a script sends.
    exact: bool,
}

impl Refusal {
    /// Notes another refusal. The first exact one stays until that command is allowed, so that the missing rights of a user are
    /// reported one after the other.
    fn note(known: &mut Option<Self>, other: Self) -> bool {
        let is_news = !known.as_ref().is_some_and(|known| known.exact);
        if is_news {
            *known = Some(other);
        }
        is_news
    }
}

#[derive(Clone, Debug)]
struct Trouble {
    outage: Outage,
    since: Instant,
}

#[derive(Default)]
struct ConnectionSlot {
    connection: Option<Socket>,
    /// The number of this connection, so that a late failure of an old one does not close a new one.
    generation: u64,
    pause: Option<(Instant, Duration)>,
    /// No command has succeeded since then.
    failing_since: Option<Instant>,
}

impl From<LinkError> for Error {
    fn from(error: LinkError) -> Self {
        Self::BrokerFailed(Cause::new(error))
    }
}

impl Link {
    /// A link to `target` that is not connected yet and logs nothing. Redis lists it as `name`. `patience` is the timeout of a
    /// command.
    pub fn new(target: RedisUrl, name: String, patience: Duration) -> Self {
        Self::with(target, name, patience, None)
    }

    /// The same for a process that serves: it logs outages.
    pub fn logged(target: RedisUrl, name: String, patience: Duration) -> Self {
        let notices = Arc::new(Notices::new(&target));
        Self::with(target, name, patience, Some(notices))
    }

    /// Another link of the same process to the same Redis.
    pub fn beside(&self, name: String, patience: Duration) -> Self {
        let notices = self.shared.notices.as_ref();
        let notices = notices.map(|(_, notices)| Arc::clone(notices));
        Self::with(self.shared.target.clone(), name, patience, notices)
    }

    fn with(target: RedisUrl, name: String, patience: Duration, notices: Option<Arc<Notices>>) -> Self {
        Self {
            shared: Arc::new(ConnectionShared {
                target,
                name,
                patience,
                connection: tokio::sync::Mutex::default(),
                trouble: Mutex::new(Some(Trouble {
                    outage: Outage::not_now("not connected yet".to_owned()),
                    since: Instant::now(),
                })),
                refusal: Mutex::default(),
                notices: notices.map(|notices| (notices.number(), notices)),
            }),
        }
    }

    /// Called at the end of the start, which refused commands end, so that they are logged from now on.
    pub fn start_logging_refusals(&self) {
        if let Some((_, notices)) = &self.shared.notices {
            notices.start();
        }
    }

    /// Why the link does not work, if so.
    pub fn trouble(&self) -> Option<String> {
        self.down().map(|outage| outage.to_string()).or_else(|| {
            let refusal = self.shared.refusal.lock();
            refusal.as_ref().map(|refusal| refusal.text.clone())
        })
    }

    fn down(&self) -> Option<Outage> {
        let trouble = self.shared.trouble.lock();
        trouble.as_ref().map(|trouble| trouble.outage.clone())
    }

    pub(super) fn is_refused(&self) -> bool {
        self.shared.refusal.lock().is_some()
    }

    pub(super) fn forgive(&self) {
        *self.shared.refusal.lock() = None;
    }

    pub(super) fn name(&self) -> &str {
        &self.shared.name
    }

    /// How long the link has been down; `None` while it is not.
    pub fn down_for(&self) -> Option<Duration> {
        let trouble = self.shared.trouble.lock();
        trouble.as_ref().map(|trouble| trouble.since.elapsed())
    }

    /// Fails at once where the link is down.
    pub(super) fn expect_up(&self) -> Result<(), LinkError> {
        self.down().map_or(Ok(()), |outage| Err(LinkError::Down(outage)))
    }

    /// Where Redis is, without a login.
    pub fn target(&self) -> String {
        self.shared.target.to_string()
    }

    /// Whether Redis is a cluster, where keys of different slots cannot be used together.
    pub fn is_cluster(&self) -> bool {
        matches!(self.shared.target, RedisUrl::Cluster(_))
    }

    /// Connects, where that is needed. Commands that are sent together while another one connects are refused.
    pub(super) async fn connect(&self) -> Result<(), LinkError> {
        self.connection().await.map(drop)
    }

    /// Runs a command.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LinkError> {
        let (mut connection, generation) = self.connection().await?;
        let result = command.query_async(&mut connection).await;
        let name = || match command.args_iter().next() {
            Some(::redis::Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
            _ => "a command".to_owned(),
        };
        self.settle(result, generation, name).await
    }

    /// Runs a script; its code is sent only if Redis does not know it yet.
    pub async fn script<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, LinkError> {
        let (mut connection, generation) = self.connection().await?;
        let mut result = call.by_hash().query_async(&mut connection).await;
        let unknown = |error: &RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
        if result.as_ref().is_err_and(unknown) {
            result = call.whole().query_async(&mut connection).await;
        }
        self.settle(result, generation, || call.to_string()).await
    }

    async fn connection(&self) -> Result<(Socket, u64), LinkError> {
        let mut slot = match (self.shared.connection.try_lock(), self.down()) {
            (Ok(slot), _) => slot,
            // Another caller is connecting, which may take longer than this one should wait.
            (Err(_), Some(outage)) => return Err(LinkError::Down(outage)),
            (Err(_), None) => self.shared.connection.lock().await,
        };
        if let Some(connection) = &slot.connection {
            return Ok((connection.clone(), slot.generation));
        }
        if let Some((until, _)) = slot.pause
            && Instant::now() < until
            && let Some(outage) = self.down()
        {
            return Err(LinkError::Down(outage));
        }
        match self.open().await {
            Ok(connection) => {
                slot.generation += 1;
                slot.connection = Some(connection.clone());
                slot.pause = None;
                slot.failing_since = None;
                self.note_success();
                Ok((connection, slot.generation))
            }
            Err(error) => {
                let pause = slot
                    .pause
                    .map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(RETRY_EVERY));
                slot.pause = Some((Instant::now() + pause, pause));
                // The command of connecting that a user may not be allowed to send.
                let command = if self.is_cluster() {
                    "CLUSTER SLOTS"
                } else {
                    "SELECT"
                };
                let error = self.read(&error, command);
                self.note_trouble(&error, Step::Connecting);
                Err(error)
            }
        }
    }

    async fn open(&self) -> Result<Socket, RedisError> {
        let connecting = self.shared.target.connect(self.shared.patience, CONNECT_TIMEOUT);
        let late = || RedisError::from((ErrorKind::Io, "no connection within the time for it"));
        // Sentinels are asked one after the other.
        let mut connection = tokio::time::timeout(CONNECT_TIMEOUT * 2, connecting)
            .await
            .map_err(|_| late())??;
        if let Socket::Single(single) = &mut connection {
            let mut name = ::redis::cmd("CLIENT");
            name.arg("SETNAME").arg(&self.shared.name);
            // The name is only shown in CLIENT LIST, and a user may not be allowed to set it.
            match name.exec_async(single).await {
                Err(error) if !self.read(&error, "CLIENT").is_permanent() => return Err(error),
                _ => {}
            }
        }
        Ok(connection)
    }

    fn read(&self, error: &RedisError, command: &str) -> LinkError {
        LinkError::new(error, &self.shared.target, self.is_cluster(), command)
    }

    /// Notes what the result of a command means for the link.
    async fn settle<T>(
        &self,
        result: Result<T, RedisError>,
        generation: u64,
        command: impl Fn() -> String,
    ) -> Result<T, LinkError> {
        let error = match result {
            Ok(value) => {
                if self.is_cluster() {
                    self.shared.connection.lock().await.failing_since = None;
                }
                self.note_success();
                self.note_allowed(command);
                return Ok(value);
            }
            Err(error) => self.read(&error, &command()),
        };
        if let LinkError::Denied(text) = &error {
            self.note_refusal(command(), text, &error);
        }
        // After a refused login another connection is needed.
        if let LinkError::Down(_) | LinkError::Login(_) = error {
            let mut slot = self.shared.connection.lock().await;
            let now = Instant::now();
            let since = *slot.failing_since.get_or_insert(now);
            // When one node of a cluster does not answer, the client goes on using the others.
            let one_node = self.is_cluster() && now.saturating_duration_since(since) < CLUSTER_PATIENCE;
            if !one_node {
                self.note_trouble(&error, Step::Command);
                if slot.generation == generation {
                    slot.connection = None;
                }
            }
        }
        Err(error)
    }

    fn note_success(&self) {
        let trouble = self.shared.trouble.lock().take();
        if let Some(trouble) = &trouble {
            let (link, was) = (&self.shared.name, &trouble.outage);
            tracing::debug!(link, %was, "connected to Redis");
        }
        if let Some((number, notices)) = &self.shared.notices
            && (trouble.is_some() || notices.is_away())
        {
            notices.worked(*number);
        }
    }

    fn note_allowed(&self, command: impl Fn() -> String) {
        let mut refusal = self.shared.refusal.lock();
        if refusal
            .as_ref()
            .is_some_and(|refusal| refusal.command == command())
        {
            *refusal = None;
        }
    }

    fn note_refusal(&self, command: String, text: &str, error: &LinkError) {
        let refusal = Refusal {
            exact: !command.starts_with(SCRIPT),
            command,
            text: text.to_owned(),
        };
        let is_news = Refusal::note(&mut self.shared.refusal.lock(), refusal);
        if is_news && let Some((_, notices)) = &self.shared.notices {
            notices.refused(error);
        }
    }

    fn note_trouble(&self, error: &LinkError, step: Step) {
        let outage = match error {
            LinkError::Down(outage) => outage.clone(),
            error => Outage::not_now(error.to_string()),
        };
        let text = outage.to_string();
        let mut trouble = self.shared.trouble.lock();
        let since = trouble
            .as_ref()
            .map_or_else(Instant::now, |trouble| trouble.since);
        let before = trouble.replace(Trouble { outage, since });
        drop(trouble);
        if before.is_none_or(|before| before.outage.to_string() != text) {
            tracing::debug!(link = self.shared.name, "{text}");
        }
        if let Some((number, notices)) = &self.shared.notices {
            notices.failed(*number, step, error);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(command: &str) -> Refusal {
        Refusal {
            command: command.to_owned(),
            text: format!("{command} is refused"),
            exact: !command.starts_with(SCRIPT),
        }
    }

    #[test]
    fn the_command_that_is_refused_is_named_until_it_is_allowed() {
        let link = Link::new(
            RedisUrl::parse("redis://127.0.0.1:1", None).expect("a URL"),
            "test".to_owned(),
            Duration::ZERO,
        );
        let script = format!("{SCRIPT} RENEW)");
        let note = |command: &str| Refusal::note(&mut link.shared.refusal.lock(), refusal(command));
        let named = || link.shared.refusal.lock().as_ref().map(|now| now.command.clone());
        assert!(note(&script));
        assert!(note("XADD"), "it is exact");
        for other in ["XDEL", &script] {
            assert!(!note(other), "the first is named");
        }
        link.note_allowed(|| "XDEL".to_owned());
        assert_eq!(named().as_deref(), Some("XADD"));
        link.note_allowed(|| "XADD".to_owned());
        assert_eq!(named(), None);
    }
}
