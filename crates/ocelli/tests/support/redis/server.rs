//! A server for one test: its configuration, lifecycle and commands.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult};
use tempfile::TempDir;

use super::process::{Process, Stop};
use super::tls::{self, Certificates};
use super::{Binary, Options, ports};
use crate::support::{comes_to_hold, eventually};

/// Number of ports to try if other processes take them first.
const PORTS_TO_TRY: u32 = 10;

/// Maximum time of a test's command. The client's default of half a second is too short for a machine that is compiling.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// The data of a restarted server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Data {
    /// Keep all data; needs [`Options::durable`].
    Kept,
    /// Lose all data except the identity in a cluster.
    Lost,
}

/// A server on the loopback, and its folder. Drop removes both.
pub(crate) struct RedisServer {
    binary: Binary,
    arguments: &'static [&'static str],
    options: Options,
    port: u16,
    tls: Option<Tls>,
    process: Option<Process>,
    folder: TempDir,
}

/// The TLS port of a server, which also has a plain port.
struct Tls {
    port: u16,
    certificates: Certificates,
}

impl RedisServer {
    /// Starts it on a free port; returns when it answers.
    pub(crate) async fn start(binary: &Binary, options: Options) -> Self {
        Self::start_as(binary, &[], options).await
    }

    /// The same, with additional `arguments`.
    pub(super) async fn start_as(
        binary: &Binary,
        arguments: &'static [&'static str],
        options: Options,
    ) -> Self {
        for _ in 0..PORTS_TO_TRY {
            let folder = tempfile::tempdir().unwrap();
            let tls = options.tls.then(|| Tls {
                port: ports::free(),
                certificates: tls::make(folder.path()),
            });
            let mut server = Self {
                binary: binary.clone(),
                arguments,
                options: options.clone(),
                port: ports::free(),
                tls,
                process: None,
                folder,
            };
            server.configure();
            if server.launch().await {
                return server;
            }
        }
        panic!("other processes took each of {PORTS_TO_TRY} free ports");
    }

    /// The URL for clients, with the password; `rediss://` with [`Options::tls`].
    pub(crate) fn url(&self) -> String {
        self.url_at(self.address())
    }

    /// The same, at another address: that of a proxy.
    pub(crate) fn url_at(&self, address: SocketAddr) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        self.options.url(scheme, address)
    }

    /// The address for clients and proxies.
    pub(crate) fn address(&self) -> SocketAddr {
        let port = self.tls.as_ref().map_or(self.port, |tls| tls.port);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// The PEM file of the CA that clients must trust with [`Options::tls`].
    pub(crate) fn authority(&self) -> &Path {
        let tls = self.tls.as_ref().expect("it has Options::tls()");
        &tls.certificates.authority
    }

    /// The plain port, which identifies the server.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Sends a command, such as `["XLEN", "a stream"]`, on a new connection.
    pub(crate) async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let answer = self.try_command(words).await;
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same, for a command that may be refused or a server that may be down.
    pub(crate) async fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(COMMAND_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT));
        let plain = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let client = Client::open(self.options.url("redis", plain))?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let (name, arguments) = words.split_first().unwrap();
        let mut command = redis::cmd(name);
        command.arg(arguments);
        command.query_async(&mut connection).await
    }

    /// A field of `INFO`; empty if there is none.
    pub(crate) async fn info(&self, field: &str) -> String {
        self.try_info(field).await.unwrap()
    }

    /// All keys, in order.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.command(&["KEYS", "*"]).await;
        keys.sort();
        keys
    }

    /// Stops the server; returns when it has ended. The port stays reserved.
    pub(crate) async fn stop(&mut self, how: Stop) {
        if let Some(process) = self.process.take() {
            process.stop(how).await;
        }
    }

    /// Restarts it on the same port, killing it first if it is running; returns when it answers.
    pub(crate) async fn restart(&mut self, data: Data) {
        self.stop(Stop::Kill).await;
        match data {
            Data::Kept => assert_eq!(
                self.options.get("appendonly"),
                Some("yes"),
                "only Options::durable() keeps its data"
            ),
            Data::Lost => {
                fs::remove_dir_all(self.folder.path().join("data")).unwrap();
                fs::create_dir(self.folder.path().join("data")).unwrap();
            }
        }
        // Another process may hold the port for a moment.
        eventually("the server gets its port back", async || self.launch().await).await;
    }

    /// Freezes it: its connections stay, and nothing is answered.
    pub(crate) fn pause(&mut self) {
        self.process.as_mut().expect("it runs").pause();
    }

    /// Ends [`RedisServer::pause`].
    pub(crate) fn resume(&mut self) {
        self.process.as_mut().expect("it runs").resume();
    }

    /// Whether it should answer: it is neither stopped nor paused.
    pub(crate) fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.is_paused())
    }

    /// Its log since the first start.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Writes its configuration file, which the server may rewrite.
    fn configure(&self) {
        let folder = self.folder.path();
        fs::create_dir(folder.join("data")).unwrap();
        let mut lines = format!(
            "port {}\nbind 127.0.0.1\ndir {}/data\n",
            self.port,
            folder.display()
        );
        if self.arguments.is_empty() {
            lines += "save \"\"\n";
        }
        if let Some(Tls { port, certificates }) = &self.tls {
            lines += &format!(
                "tls-port {port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n",
                certificates.certificate.display(),
                certificates.key.display(),
                certificates.authority.display(),
            );
        }
        lines += &self.options.lines();
        fs::write(folder.join("redis.conf"), lines).unwrap();
    }

    /// Starts the process; true when it answers, false when its port is not free. Anything else is the test's fault, and
    /// ends it.
    async fn launch(&mut self) -> bool {
        let said_before = self.log().len();
        let folder = self.folder.path();
        let log = File::options().append(true).create(true).open(folder.join("log"));
        let config = folder.join("redis.conf");
        let mut process = Process::spawn(&self.binary, &config, self.arguments, log.unwrap());
        let mut ended = false;
        let settled = comes_to_hold(async || {
            ended = process.has_ended();
            ended || self.is_process(process.id()).await
        });
        assert!(settled.await, "it runs and does not answer:\n{}", self.log());
        if ended {
            let log = self.log();
            let taken = log[said_before..].contains("Address already in use");
            assert!(taken, "{} ended at once:\n{log}", self.binary.name);
            return false;
        }
        self.process = Some(process);
        true
    }

    /// Whether this process answers on the port and has loaded its data. Another server may hold the port.
    async fn is_process(&self, id: u32) -> bool {
        self.try_command::<String>(&["PING"]).await.is_ok()
            && self
                .try_info("process_id")
                .await
                .is_ok_and(|found| found == id.to_string())
    }

    async fn try_info(&self, field: &str) -> RedisResult<String> {
        let info: String = self.try_command(&["INFO"]).await?;
        let mut lines = info.lines();
        let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.unwrap_or_default().to_owned())
    }
}
