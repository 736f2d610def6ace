//! One server process, from its configuration to its end.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

use super::{Binary, ports};
use crate::support::{comes_to_hold, eventually};

/// How often a start tries another port because somebody else was faster.
const PORTS_TO_TRY: u32 = 10;

/// How long a command may take that a test sends. The client's own limit of half a second is short for a machine that
/// compiles meanwhile.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// What a server is to be like. Without settings: nothing is saved, anybody may enter, memory has no limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    settings: Vec<(String, String)>,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// SIGTERM: it says goodbye to its clients and replicas.
    Term,
    /// SIGKILL.
    Kill,
}

/// What a server that comes back knows of its former life.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Data {
    /// All of it. Only of a server that is [`Options::durable`].
    Kept,
    /// Nothing but who it is (in a cluster).
    Lost,
}

/// A server on this machine's loopback, and its folder. Both are gone when it is dropped.
pub(crate) struct RedisServer {
    binary: Binary,
    arguments: &'static [&'static str],
    options: Options,
    port: u16,
    folder: TempDir,
    child: Option<Child>,
}

impl Options {
    /// A line of the configuration file, such as `set("maxmemory", "64mb")`.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Each write is in a file before it is answered: it survives the end of the process, however sudden.
    pub(crate) fn durable(self) -> Self {
        self.set("appendonly", "yes")
    }

    /// The last value that was given to a setting.
    fn get(&self, name: &str) -> Option<&str> {
        let mut settings = self.settings.iter().rev();
        settings.find_map(|(set, value)| (set == name).then_some(value.as_str()))
    }
}

impl RedisServer {
    /// Starts it on a free port; returns when it answers.
    pub(crate) async fn start(binary: &Binary, options: Options) -> Self {
        Self::start_as(binary, &[], options).await
    }

    /// The same, with `arguments` that say what kind of server it is.
    pub(super) async fn start_as(
        binary: &Binary,
        arguments: &'static [&'static str],
        options: Options,
    ) -> Self {
        for _ in 0..PORTS_TO_TRY {
            let mut server = Self {
                binary: binary.clone(),
                arguments,
                options: options.clone(),
                port: ports::free(),
                folder: tempfile::tempdir().unwrap(),
                child: None,
            };
            server.configure();
            if server.launch().await {
                return server;
            }
        }
        panic!("somebody else took each of {PORTS_TO_TRY} ports that were free");
    }

    /// What a client connects to, password included.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.address())
    }

    /// The same, at another address: that of a proxy.
    pub(crate) fn url_at(&self, address: SocketAddr) -> String {
        let password = self.options.get("requirepass");
        let user = password.map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis://{user}{address}")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Sends a command, `["XLEN", "a stream"]`, on a connection of its own.
    pub(crate) async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let answer = self.try_command(words).await;
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same, where it may be refused or nobody may be there.
    pub(crate) async fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(COMMAND_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT));
        let client = Client::open(self.url())?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let (name, arguments) = words.split_first().unwrap();
        let mut command = redis::cmd(name);
        command.arg(arguments);
        command.query_async(&mut connection).await
    }

    /// A field of what `INFO` says; empty where there is none.
    pub(crate) async fn info(&self, field: &str) -> String {
        self.try_info(field).await.unwrap()
    }

    /// All keys there are, in order.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.command(&["KEYS", "*"]).await;
        keys.sort();
        keys
    }

    /// Stops it; returns when it has ended. The port stays its own.
    pub(crate) async fn stop(&mut self, how: Stop) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        match how {
            Stop::Term => kill_process(Pid::from_child(&child), Signal::TERM).unwrap(),
            Stop::Kill => child.kill().unwrap(),
        }
        eventually("the server ends", async || child.try_wait().unwrap().is_some()).await;
    }

    /// Starts it again on the same port, after killing it if it still runs; returns when it answers.
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
        // Whoever has taken the port meanwhile was told as little as we that it is not free.
        eventually("the server gets its port back", async || self.launch().await).await;
    }

    /// Freezes it: its connections stay, and nothing is answered.
    pub(crate) fn pause(&self) {
        let process = Pid::from_child(self.child.as_ref().expect("it runs"));
        kill_process(process, Signal::STOP).unwrap();
        // Until the last of its threads stands still.
        waitpid(Some(process), WaitOptions::UNTRACED).unwrap();
    }

    /// Lets it go on after [`RedisServer::pause`].
    pub(crate) fn resume(&self) {
        let process = Pid::from_child(self.child.as_ref().expect("it runs"));
        kill_process(process, Signal::CONT).unwrap();
    }

    /// What it has logged since it was first started.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Writes the file that it reads, and that it rewrites where it learns something that must last.
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
        for (name, value) in &self.options.settings {
            lines += &format!("{name} {value}\n");
        }
        fs::write(folder.join("redis.conf"), lines).unwrap();
    }

    /// Starts the process; true when it answers, false when its port is not free. Anything else is the test's fault, and
    /// ends it.
    async fn launch(&mut self) -> bool {
        let said_before = self.log().len();
        let folder = self.folder.path();
        let log = File::options().append(true).create(true).open(folder.join("log"));
        let child = Command::new(&self.binary.path)
            .arg(folder.join("redis.conf"))
            .args(self.arguments)
            .stdin(Stdio::null())
            .stdout(log.unwrap())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", self.binary.path.display()));
        let id = child.id().to_string();
        let mut ended = false;
        let settled = comes_to_hold(async || {
            ended = child.try_wait().unwrap().is_some();
            ended || self.is_process(&id).await
        });
        let settled = settled.await;
        self.child = Some(child);
        assert!(settled, "it runs and does not answer:\n{}", self.log());
        if ended {
            self.child = None;
            let log = self.log();
            let taken = log[said_before..].contains("Address already in use");
            assert!(taken, "{} ended at once:\n{log}", self.binary.name);
        }
        !ended
    }

    /// Whether who answers on the port is that process, and has loaded its data. Another server may have been faster.
    async fn is_process(&self, id: &str) -> bool {
        self.try_command::<String>(&["PING"]).await.is_ok()
            && self.try_info("process_id").await.is_ok_and(|found| found == id)
    }

    async fn try_info(&self, field: &str) -> RedisResult<String> {
        let info: String = self.try_command(&["INFO"]).await?;
        let mut lines = info.lines();
        let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.unwrap_or_default().to_owned())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
