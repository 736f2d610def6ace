//! The URL of a Redis.
//!
//! `redis://[user:password@]host[:port][/db]` is one server; `redis+sentinel://host:port,host:port/service[/db]` is the
//! master that sentinels know under a name; `redis+cluster://host:port,host:port` is a cluster. `rediss` instead of `redis`
//! means TLS; `valkey` and `valkeys` mean the same. `?db=1` selects a database, too; other parameters are refused.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    RedisError, TlsCertificates, TlsMode,
};

use super::socket::Socket;
use crate::process::tls;

/// The port of a server where neither the URL nor its configuration names one.
const PORT: u16 = 6379;

/// The port of a sentinel where the URL names none.
const SENTINEL_PORT: u16 = 26379;

/// A Redis to connect to.
#[derive(Clone)]
pub enum RedisUrl {
    Single(Box<Server>),
    Sentinel(Box<Sentinels>),
    Cluster(Box<Nodes>),
}

#[derive(Clone)]
pub struct Server {
    info: ConnectionInfo,
    certificates: Option<TlsCertificates>,
}

#[derive(Clone)]
pub struct Sentinels {
    nodes: Nodes,
    service: String,
}

/// Several servers with the same login.
#[derive(Clone)]
pub struct Nodes {
    /// Not empty.
    infos: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{url}' is not the URL of a Redis: {problem}; write redis://host:6379, rediss:// for TLS, \
     redis+sentinel://host:26379,host:26379/service or redis+cluster://host:6379,host:6379, with user:password@ \
     before the hosts where a login is needed"
)]
pub struct TargetError {
    /// The URL without its password.
    url: String,
    problem: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UrlKind {
    Single,
    Sentinel,
    Cluster,
}

impl RedisUrl {
    /// The Redis that `url` names, whose certificate one of `authorities` (PEM) must have signed; one of the system's where
    /// that is `None`.
    pub fn parse(url: &str, authorities: Option<Vec<u8>>) -> Result<Self, TargetError> {
        let wrong = |problem: &str| TargetError {
            url: without_password(url),
            problem: problem.to_owned(),
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let (plain, kind) = match scheme.split_once('+') {
            None => (scheme, UrlKind::Single),
            Some((plain, "sentinel")) => (plain, UrlKind::Sentinel),
            Some((plain, "cluster")) => (plain, UrlKind::Cluster),
            Some(_) => return Err(wrong("its scheme is unknown")),
        };
        if !["redis", "rediss", "valkey", "valkeys"].contains(&plain) {
            return Err(wrong("its scheme is unknown"));
        }
        let (login, rest) = rest
            .rsplit_once('@')
            .map_or((String::new(), rest), |(login, rest)| (format!("{login}@"), rest));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (service, path) = match kind {
            UrlKind::Sentinel => path.split_once('/').unwrap_or((path, "")),
            UrlKind::Single | UrlKind::Cluster => ("", path),
        };
        let path = database(path, query).map_err(|problem| wrong(&problem))?;
        let info = |host: &str| {
            let port = if kind == UrlKind::Sentinel && !host.contains(':') {
                format!(":{SENTINEL_PORT}")
            } else {
                String::new()
            };
            let info = format!("{plain}://{login}{host}{port}/{path}")
                .into_connection_info()
                .map_err(|error| wrong(&error.to_string()))?;
            // A user may not be allowed to name the client library.
            let settings = info.redis_settings().clone().set_skip_set_lib_name();
            Ok(info.set_redis_settings(settings))
        };
        let infos = hosts
            .split(',')
            .map(|host| match host {
                "" => Err(wrong("it names no host")),
                host => info(host),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if ["rediss", "valkeys"].contains(&plain) {
            // The client uses the process's provider of cryptography. Installing it twice changes nothing.
            tls::install_provider();
        }
        let certificates = authorities.map(|authorities| TlsCertificates {
            client_tls: None,
            root_cert: Some(authorities),
        });
        match (kind, infos) {
            (UrlKind::Single, infos) => match <[ConnectionInfo; 1]>::try_from(infos) {
                Ok([info]) => Ok(Self::Single(Box::new(Server { info, certificates }))),
                Err(_) => Err(wrong(
                    "it names several hosts, which only sentinels and clusters have",
                )),
            },
            (UrlKind::Sentinel, _) if service.is_empty() => {
                Err(wrong("it does not name the sentinels' service"))
            }
            (UrlKind::Sentinel, infos) => Ok(Self::Sentinel(Box::new(Sentinels {
                nodes: Nodes { infos, certificates },
                service: service.to_owned(),
            }))),
            (UrlKind::Cluster, _) if !path.is_empty() => Err(wrong("a cluster has no numbered databases")),
            (UrlKind::Cluster, infos) => Ok(Self::Cluster(Box::new(Nodes { infos, certificates }))),
        }
    }

    /// What to do where no server answers.
    pub fn advice(&self) -> String {
        match self {
            Self::Single(server) => match server.info.addr() {
                ConnectionAddr::Tcp(host, port) if is_this_machine(host) => {
                    let option = match *port {
                        PORT => String::new(),
                        port => format!(" --port {port}"),
                    };
                    format!("is it running? `redis-server{option}` starts one, and --redis names another")
                }
                _ => "is it running? --redis names another".to_owned(),
            },
            Self::Sentinel(_) => {
                "are the sentinels running, and do they know the service? --redis names others".to_owned()
            }
            Self::Cluster(_) => "is the cluster running? --redis names another".to_owned(),
        }
    }

    /// `patience` is the timeout of commands on the connection.
    ///
    /// # Errors
    /// What the client library reports.
    pub(super) async fn connect(&self, patience: Duration, timeout: Duration) -> Result<Socket, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(patience))
            .set_connection_timeout(Some(timeout));
        match self {
            Self::Single(server) => server.connect(&config).await.map(Socket::Single),
            Self::Sentinel(sentinels) => sentinels.connect(&config).await.map(Socket::Single),
            Self::Cluster(nodes) => nodes.connect(patience, timeout).await.map(Socket::Cluster),
        }
    }
}

impl Server {
    async fn connect(&self, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
        let info = self.info.clone().set_tcp_settings(tcp_settings());
        let client = match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }?;
        client.get_multiplexed_async_connection_with_config(config).await
    }
}

impl Sentinels {
    /// Asks for the master each time, which follows a failover.
    async fn connect(&self, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
        let addresses = self.nodes.infos.iter().map(|info| info.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, &self.service, SentinelServerType::Master)?;
        builder = builder
            .set_client_to_redis_tcp_settings(tcp_settings())
            .set_client_to_sentinel_tcp_settings(tcp_settings());
        let first = self.nodes.first()?;
        if let ConnectionAddr::TcpTls { .. } = first.addr() {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.nodes.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        let login = first.redis_settings();
        builder = builder.set_client_to_redis_db(login.db());
        if let Some(user) = login.username() {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = login.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        builder.build()?.get_async_connection_with_config(config).await
    }
}

impl Nodes {
    fn first(&self) -> Result<&ConnectionInfo, RedisError> {
        let none = || RedisError::from((ErrorKind::InvalidClientConfig, "no host is named"));
        self.infos.first().ok_or_else(none)
    }

    async fn connect(&self, patience: Duration, timeout: Duration) -> Result<ClusterConnection, RedisError> {
        let mut builder = ClusterClientBuilder::new(self.infos.clone())
            .connection_timeout(timeout)
            .response_timeout(patience)
            .tcp_settings(tcp_settings())
            // Callers retry, because only they know whether a command may be repeated.
            .retries(1);
        if let Some(certificates) = &self.certificates {
            builder = builder.certs(certificates.clone());
        }
        builder.build()?.get_async_connection().await
    }
}

fn is_this_machine(host: &str) -> bool {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// The system notices a peer that vanished, and small commands are sent at once.
fn tcp_settings() -> TcpSettings {
    const IDLE: Duration = Duration::from_secs(10);
    const INTERVAL: Duration = Duration::from_secs(5);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(IDLE)
        .with_interval(INTERVAL);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

/// The database in a URL's path or query; empty where there is none.
fn database(path: &str, query: &str) -> Result<String, String> {
    let mut database = path.trim_end_matches('/').to_owned();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=').unwrap_or((parameter, "")) {
            ("db", number) if number.parse::<u32>().is_err() => {
                return Err(format!("db={number} does not name a database by its number"));
            }
            ("db", number) if database.is_empty() => number.clone_into(&mut database),
            ("db", number) if number == database => {}
            ("db", _) => return Err("it names two databases".to_owned()),
            (name, _) => {
                return Err(format!(
                    "the parameter '{name}' is unknown; the only one is db, as in redis://host:6379?db=1"
                ));
            }
        }
    }
    Ok(database)
}

/// The URL without its password and without the values of parameters.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (login, rest) = rest
        .rsplit_once('@')
        .map_or(("", rest), |(_, rest)| ("***@", rest));
    let (hosts, query) = rest
        .split_once('?')
        .map_or((rest, ""), |(hosts, _)| (hosts, "?***"));
    format!("{scheme}://{login}{hosts}{query}")
}

/// Hosts and service, never a login.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, infos, service) = match self {
            Self::Single(server) => ("", std::slice::from_ref(&server.info), None),
            Self::Sentinel(sentinels) => ("sentinel ", &sentinels.nodes.infos[..], Some(&sentinels.service)),
            Self::Cluster(nodes) => ("cluster ", &nodes.infos[..], None),
        };
        let hosts: Vec<String> = infos.iter().map(|info| info.addr().to_string()).collect();
        write!(f, "{kind}{}", hosts.join(","))?;
        service.map_or(Ok(()), |service| write!(f, "/{service}"))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> String {
        RedisUrl::parse(url, None).expect(url).to_string()
    }

    #[test]
    fn each_kind_of_redis_has_its_url() {
        assert_eq!(parsed("redis://10.0.0.1"), "10.0.0.1:6379");
        assert_eq!(parsed("rediss://user:secret@cache:7000/2"), "cache:7000");
        assert_eq!(parsed("valkey://cache"), "cache:6379");
        assert_eq!(
            parsed("redis+sentinel://a,b:5/mymaster/1"),
            "sentinel a:26379,b:5/mymaster"
        );
        assert_eq!(parsed("redis+cluster://:pw@a:1,b:2"), "cluster a:1,b:2");
    }

    #[test]
    fn where_nothing_answers_the_advice_fits_the_url() {
        for (url, says) in [
            ("redis://localhost", "`redis-server` starts one"),
            ("redis://:secret@127.0.0.1:6380", "`redis-server --port 6380`"),
            ("redis://[::1]", "`redis-server` starts one"),
            ("redis://cache", "is it running? --redis"),
            ("rediss://localhost", "is it running? --redis"),
            ("redis+sentinel://localhost/main", "know the service"),
            ("redis+cluster://localhost", "is the cluster running"),
        ] {
            let advice = RedisUrl::parse(url, None).expect(url).advice();
            assert!(
                advice.contains(says) && advice.contains("--redis names"),
                "{url}: {advice}"
            );
        }
    }

    #[test]
    fn a_database_is_a_path_or_a_parameter() {
        let of = |url: &str| match RedisUrl::parse(url, None).expect(url) {
            RedisUrl::Single(server) => server.info.redis_settings().db(),
            RedisUrl::Sentinel(sentinels) => sentinels.nodes.infos[0].redis_settings().db(),
            RedisUrl::Cluster(nodes) => nodes.infos[0].redis_settings().db(),
        };
        for (url, database) in [
            ("redis://a", 0),
            ("redis://a/", 0),
            ("redis://a?", 0),
            ("redis://a/3", 3),
            ("redis://a?db=1", 1),
            ("redis://u:p@a:7000/?db=1", 1),
            ("redis://a/1?db=1", 1),
            ("redis+sentinel://a/s?db=2", 2),
            ("redis+sentinel://a/s/2", 2),
        ] {
            assert_eq!(of(url), database, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, says) in [
            ("localhost:6379", "no scheme"),
            ("http://:secret@localhost", "scheme is unknown"),
            ("redis+ring://localhost", "scheme is unknown"),
            ("redis+sentinel://:secret@a,b", "service"),
            ("redis+cluster://a/3", "numbered databases"),
            ("redis://:secret@a,b", "several hosts"),
            ("redis+cluster://a,,b", "names no host"),
            ("redis://:secret@a:notaport", "redis://***@a"),
            ("redis://a?db=x", "by its number"),
            ("redis://a/2?db=1", "two databases"),
            ("redis://a?db=1&db=2", "two databases"),
            (
                "redis://a/2?protocol=resp3",
                "'protocol' is unknown; the only one is db",
            ),
            ("redis://a?password=secret", "'password' is unknown"),
            ("redis+cluster://a?db=3", "numbered databases"),
            ("redis+sentinel://a/s?timeout=3", "'timeout' is unknown"),
        ] {
            let error = RedisUrl::parse(url, None).expect_err(url).to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
