//! A master, a replica, and three sentinels that watch them.

use std::collections::HashMap;

use super::{Binary, Options, RedisServer, Stop};
use crate::support::eventually;

/// Number of sentinels. One may be down: two must agree that the master is down.
const SENTINELS: usize = 3;

/// Milliseconds of silence after which a sentinel considers the master down.
const DOWN_AFTER_MS: &str = "1000";

/// Milliseconds after which a failed failover is retried.
const FAILOVER_TIMEOUT_MS: &str = "4000";

/// Two servers, one of which the sentinels make the master.
pub(crate) struct Sentinels {
    servers: [RedisServer; 2],
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// The sentinels' name for the master.
    pub(crate) const MASTER: &str = "ocelli";

    /// Starts them; returns when each sentinel knows the others and the replica, so that a failover can succeed. Server 0
    /// is the master. The options are those of the two servers; sentinels ask for no password.
    pub(crate) async fn start(binary: &Binary, options: Options) -> Self {
        let options = options.set("repl-diskless-sync-delay", "0");
        let password = options.get("requirepass").map(str::to_owned);
        let options = match &password {
            Some(password) => options.set("masterauth", password),
            None => options,
        };
        let master = RedisServer::start(binary, options.clone()).await;
        let port = master.port();
        let follow = options.set("replicaof", &format!("127.0.0.1 {port}"));
        let replica = RedisServer::start(binary, follow).await;
        eventually("the replica follows", async || {
            replica.info("master_link_status").await == "up"
        })
        .await;
        let name = Self::MASTER;
        let mut watch = Options::default()
            .set("sentinel monitor", &format!("{name} 127.0.0.1 {port} 2"))
            .set(
                "sentinel down-after-milliseconds",
                &format!("{name} {DOWN_AFTER_MS}"),
            )
            .set(
                "sentinel failover-timeout",
                &format!("{name} {FAILOVER_TIMEOUT_MS}"),
            );
        if let Some(password) = password {
            watch = watch.set("sentinel auth-pass", &format!("{name} {password}"));
        }
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(RedisServer::start_as(binary, &["--sentinel"], watch.clone()).await);
        }
        for sentinel in &sentinels {
            eventually("a sentinel knows everybody", async || {
                knows_everybody(sentinel).await
            })
            .await;
        }
        Self {
            servers: [master, replica],
            sentinels,
        }
    }

    /// The URLs of the sentinels, for clients that look up [`Sentinels::MASTER`].
    pub(crate) fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }

    /// The sentinels, for tests that stop or pause them.
    pub(crate) fn sentinels(&mut self) -> &mut [RedisServer] {
        &mut self.sentinels
    }

    /// One of the two servers, 0 or 1.
    pub(crate) fn server(&mut self, index: usize) -> &mut RedisServer {
        &mut self.servers[index]
    }

    /// The index of the master, once all running sentinels and the server itself agree.
    pub(crate) async fn master(&self) -> usize {
        let mut master = None;
        eventually("the sentinels agree on a master", async || {
            master = self.agreed().await;
            let Some(index) = master else { return false };
            let server = &self.servers[index];
            server.is_running() && server.info("role").await == "master"
        })
        .await;
        master.unwrap()
    }

    /// Kills the master; returns its index when the other one has been promoted. Restarted,
    /// it calls itself a master for about ten seconds more, until the sentinels make it a replica.
    pub(crate) async fn kill_master(&mut self) -> usize {
        let killed = self.master().await;
        self.servers[killed].stop(Stop::Kill).await;
        let promoted = self.master().await;
        assert_ne!(promoted, killed);
        killed
    }

    /// The server that all running sentinels name as the master.
    async fn agreed(&self) -> Option<usize> {
        let mut agreed = None;
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.is_running()) {
            let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::MASTER];
            let (_, port): (String, u16) = sentinel.command(&ask).await;
            if *agreed.get_or_insert(port) != port {
                return None;
            }
        }
        self.servers
            .iter()
            .position(|server| Some(server.port()) == agreed)
    }
}

/// Whether a sentinel could start a failover now.
async fn knows_everybody(sentinel: &RedisServer) -> bool {
    let master: HashMap<String, String> = sentinel.command(&["SENTINEL", "MASTER", Sentinels::MASTER]).await;
    master["flags"] == "master"
        && master["num-slaves"] == "1"
        && master["num-other-sentinels"] == (SENTINELS - 1).to_string()
}
