//! A Redis Cluster: masters, with or without replicas.

use super::{Binary, Data, Options, RedisServer, Stop};
use crate::support::eventually;

/// Number of hash slots of a cluster, by specification.
const SLOTS: usize = 16_384;

/// Milliseconds of silence after which other nodes consider a node failed.
const NODE_TIMEOUT_MS: &str = "1500";

/// Nodes that know each other. The first ones are the masters at the start; then come their replicas, in the same order.
pub(crate) struct Cluster {
    nodes: Vec<RedisServer>,
}

/// A master that one node considers alive.
struct Master<'a> {
    port: u16,
    slots: Vec<&'a str>,
}

impl Cluster {
    /// Starts that many masters, each with `replicas` replicas; returns when all of them call the cluster whole.
    pub(crate) async fn start(binary: &Binary, masters: usize, replicas: usize, options: Options) -> Self {
        let options = options
            .set("cluster-enabled", "yes")
            // Outside the data folder, so that identity and peers survive a loss of the data.
            .set("cluster-config-file", "../nodes.conf")
            .set("cluster-node-timeout", NODE_TIMEOUT_MS)
            .set("repl-diskless-sync-delay", "0");
        let mut nodes = Vec::new();
        for _ in 0..masters * (1 + replicas) {
            nodes.push(RedisServer::start(binary, options.clone()).await);
        }
        let cluster = Self { nodes };
        cluster.meet().await;
        cluster.share_slots(masters).await;
        cluster.follow(masters).await;
        eventually("the cluster is whole", async || cluster.is_whole().await).await;
        cluster
    }

    /// An address of each node. Clients need one live node.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    pub(crate) fn node(&mut self, index: usize) -> &mut RedisServer {
        &mut self.nodes[index]
    }

    /// Kills a node, without waiting for the others to notice.
    pub(crate) async fn kill_node(&mut self, index: usize) {
        self.nodes[index].stop(Stop::Kill).await;
    }

    /// Restarts a node, without waiting for the others to notice.
    pub(crate) async fn restart_node(&mut self, index: usize, data: Data) {
        self.nodes[index].restart(data).await;
    }

    /// The master of a key, once all running nodes agree.
    pub(crate) async fn owner(&self, key: &str) -> usize {
        let mut owner = None;
        eventually("the nodes agree on who has the key", async || {
            owner = self.agreed_owner(key).await;
            owner.is_some()
        })
        .await;
        owner.unwrap()
    }

    /// Sends a command to the master of `key`.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, key: &str, words: &[&str]) -> T {
        let owner = self.owner(key).await;
        self.nodes[owner].command(words).await
    }

    /// All keys on running nodes, in order and without duplicates.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            keys.extend(node.keys().await);
        }
        keys.sort();
        keys.dedup();
        keys
    }

    /// Whether every node runs, calls the cluster whole, and follows its master if it has one.
    pub(crate) async fn is_whole(&self) -> bool {
        if !self.nodes.iter().all(RedisServer::is_running) {
            return false;
        }
        for node in &self.nodes {
            let info: String = node.command(&["CLUSTER", "INFO"]).await;
            let beliefs: String = node.command(&["CLUSTER", "NODES"]).await;
            let all = format!("cluster_known_nodes:{}\r", self.nodes.len());
            let whole =
                info.contains("cluster_state:ok\r") && info.contains(&all) && !beliefs.contains("fail");
            if !whole || node.info("master_link_status").await == "down" {
                return false;
            }
        }
        true
    }

    /// Connects all nodes. Each gets its own epoch, because otherwise they would have to agree on one first.
    async fn meet(&self) {
        for (epoch, node) in (1_u32..).zip(&self.nodes) {
            node.command::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()])
                .await;
        }
        for node in &self.nodes[1..] {
            let port = node.port().to_string();
            self.nodes[0]
                .command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port])
                .await;
        }
        for node in &self.nodes {
            eventually("a node knows all others", async || {
                let beliefs: String = node.command(&["CLUSTER", "NODES"]).await;
                beliefs.lines().count() == self.nodes.len() && !beliefs.contains("handshake")
            })
            .await;
        }
    }

    /// Assigns the slots to the masters.
    async fn share_slots(&self, masters: usize) {
        for (index, node) in self.nodes[..masters].iter().enumerate() {
            let slots = SLOTS * index / masters..SLOTS * (index + 1) / masters;
            let slots: Vec<_> = slots.map(|slot| slot.to_string()).collect();
            let mut words = vec!["CLUSTER", "ADDSLOTS"];
            words.extend(slots.iter().map(String::as_str));
            node.command::<()>(&words).await;
        }
    }

    /// Makes all other nodes replicas of the masters.
    async fn follow(&self, masters: usize) {
        for (index, node) in self.nodes.iter().enumerate().skip(masters) {
            let master: String = self.nodes[index % masters].command(&["CLUSTER", "MYID"]).await;
            node.command::<()>(&["CLUSTER", "REPLICATE", &master]).await;
        }
    }

    async fn agreed_owner(&self, key: &str) -> Option<usize> {
        let mut agreed = None;
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            let slot = node.command(&["CLUSTER", "KEYSLOT", key]).await;
            let beliefs: String = node.command(&["CLUSTER", "NODES"]).await;
            let mut masters = beliefs.lines().filter_map(Master::parse);
            let port = masters.find(|master| master.has(slot))?.port;
            if *agreed.get_or_insert(port) != port {
                return None;
            }
        }
        let owner = self.nodes.iter().position(|node| Some(node.port()) == agreed)?;
        self.nodes[owner].is_running().then_some(owner)
    }
}

impl Master<'_> {
    /// What a line of `CLUSTER NODES` says: `ID HOST:PORT@BUS FLAGS OF PING PONG EPOCH LINK SLOTS...`. Nothing if the
    /// node is no master, or believed dead.
    fn parse(line: &str) -> Option<Master<'_>> {
        let fields: Vec<_> = line.split(' ').collect();
        let [_, address, flags, _, _, _, _, _, ref slots @ ..] = fields[..] else {
            panic!("CLUSTER NODES says {line:?}");
        };
        let (_, port) = address.split('@').next()?.rsplit_once(':')?;
        let lives = flags.contains("master") && !flags.contains("fail");
        lives.then(|| Master {
            port: port.parse().unwrap(),
            slots: slots.to_vec(),
        })
    }

    fn has(&self, slot: usize) -> bool {
        self.slots.iter().any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let is_in = |first: usize, last: usize| (first..=last).contains(&slot);
            // A migrating slot, `[93->-...]`, does not parse, and its owner lists it as well.
            first
                .parse()
                .is_ok_and(|first| last.parse().is_ok_and(|last| is_in(first, last)))
        })
    }
}
