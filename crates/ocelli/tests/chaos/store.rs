//! The Redis of a scenario: a server, Sentinels or a cluster.

use crate::support::redis::{Binary, Cluster, Options, RedisServer, Sentinels};

/// Servers that run until their keys have expired.
pub(crate) enum Store {
    One(Box<RedisServer>),
    Sentinels(Box<Sentinels>),
    Cluster(Box<Cluster>),
}

/// A key and its TTL in milliseconds, negative if it has none.
pub(crate) type Left = (String, i64);

impl Store {
    pub(crate) async fn one(binary: &Binary, options: Options) -> Self {
        Self::One(Box::new(RedisServer::start(binary, options).await))
    }

    /// The URL for processes.
    pub(crate) fn url(&self) -> String {
        let hosts = |urls: Vec<String>| {
            let hosts: Vec<_> = urls
                .iter()
                .filter_map(|url| url.strip_prefix("redis://"))
                .collect();
            hosts.join(",")
        };
        match self {
            Self::One(server) => server.url(),
            Self::Sentinels(all) => format!("redis+sentinel://{}/{}", hosts(all.urls()), Sentinels::MASTER),
            Self::Cluster(all) => format!("redis+cluster://{}", hosts(all.urls())),
        }
    }

    /// The only server.
    pub(crate) fn server(&mut self) -> &mut RedisServer {
        match self {
            Self::One(server) => server,
            Self::Sentinels(_) | Self::Cluster(_) => panic!("it has several"),
        }
    }

    /// All keys.
    pub(crate) async fn left(&mut self) -> Vec<Left> {
        let mut left = Vec::new();
        match self {
            Self::One(server) => left_on(server, &mut left).await,
            Self::Sentinels(all) => {
                let master = all.master().await;
                left_on(all.server(master), &mut left).await;
            }
            Self::Cluster(all) => {
                for key in all.keys().await {
                    let ends_in: i64 = all.command(&key, &["PTTL", &key]).await;
                    left.push((key, ends_in));
                }
                left.retain(|&(_, ends_in)| ends_in != GONE);
            }
        }
        left
    }
}

/// The result of `PTTL` for a missing key.
const GONE: i64 = -2;

async fn left_on(server: &RedisServer, left: &mut Vec<Left>) {
    for key in server.keys().await {
        let ends_in: i64 = server.command(&["PTTL", &key]).await;
        if ends_in != GONE {
            left.push((key, ends_in));
        }
    }
}
